import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from avts_ext.evaluation.linear_svm import fit_one_vs_all


def problem(n=120, width=7, n_classes=4, seed=0, overlap=1.5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, width, generator=generator, dtype=torch.float64)
    # Features of very different sizes, far from zero: they are to be standardised.
    return 100 * (centres[labels] + overlap * noise) + torch.arange(width) * 1000, labels


def reference(features, labels, cost):
    """Weights (K, D + 1) of scikit-learn on standardised features."""
    x = features.double().numpy()
    std = x.std(0)
    x = (x - x.mean(0)) / np.where(std > 0, std, np.inf)
    machine = LinearSVC(C=cost, dual=False, tol=1e-9, max_iter=100_000)
    rows = []
    for k in range(int(labels.max()) + 1):
        machine.fit(x, (labels == k).numpy())
        rows.append([*machine.coef_[0], machine.intercept_[0]])
    return torch.tensor(np.array(rows))


def objectives(machine, features, labels, cost):
    """(K,) what scikit-learn minimises, and its gradient (K, D + 1), in float64."""
    x = (features.double() - machine.mean) * machine.scale
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    weights = machine.weights.double().requires_grad_()
    signs = 2 * torch.nn.functional.one_hot(labels).double() - 1
    slack = (1 - signs * (x @ weights.T)).clamp_min(0)
    found = weights.square().sum(1) / 2 + cost * slack.square().sum(0)
    found.sum().backward()
    return found.detach(), weights.grad


@pytest.mark.parametrize("cost", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(120, 7, 4), (30, 60, 3), (41, 1, 2)])
def test_solutions_are_those_of_scikit_learn(shape, cost):
    features, labels = problem(*shape)
    machine = fit_one_vs_all(features, labels, shape[2], [cost], tolerance=1e-14)[0]
    torch.testing.assert_close(
        machine.weights, reference(features, labels, cost), atol=1e-5, rtol=1e-4
    )


def test_float32_and_the_tolerance_of_the_protocol_give_the_same_answers():
    features, labels = problem(2000, 40, 10, overlap=3.0)
    rough = fit_one_vs_all(features.float(), labels, 10, [1e-3, 1e-2])
    for cost, machine in zip([1e-3, 1e-2], rough, strict=True):
        weights = reference(features, labels, cost)
        x = (features - features.mean(0)) / features.std(0, correction=0)
        expected = x @ weights[:, :-1].T + weights[:, -1]
        found = machine.scores(features.float())
        assert (found.argmax(1) == expected.argmax(1)).double().mean() > 0.995
        torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0)


def test_a_warm_start_does_not_change_the_solution():
    features, labels = problem()
    warm = fit_one_vs_all(features, labels, 4, [1e-4, 1.0], tolerance=1e-14)[1]
    cold = fit_one_vs_all(features, labels, 4, [1.0], tolerance=1e-14)[0]
    torch.testing.assert_close(warm.weights, cold.weights, atol=1e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 50), st.integers(1, 20), st.integers(2, 5), st.integers(0, 9), st.floats(-6, 3)
)
def test_the_gradient_vanishes_at_the_solution(n, width, n_classes, seed, exponent):
    features, labels = problem(n + n_classes, width, n_classes, seed)
    cost = 10**exponent
    machine = fit_one_vs_all(features, labels, n_classes, [cost], tolerance=1e-14)[0]
    found, gradient = objectives(machine, features, labels, cost)
    # Strongly convex with modulus 1: the minimum is at most that far below.
    assert (gradient.square().sum(1) / 2 <= 1e-6 * found).all()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_tolerance_is_the_way_to_the_minimum(tolerance):
    features, labels = problem(2000, 40, 10, overlap=3.0)
    costs = [1e-4, 1e-2, 1.0]
    best = fit_one_vs_all(features, labels, 10, costs, tolerance=1e-14)
    rough = fit_one_vs_all(features.float(), labels, 10, costs, tolerance=tolerance)
    for cost, exact, found in zip(costs, best, rough, strict=True):
        least, reached = (objectives(m, features, labels, cost)[0] for m in (exact, found))
        assert (reached <= (1 + 5 * tolerance) * least).all()


def test_features_that_never_change_tell_nothing():
    features, labels = problem()
    machine = fit_one_vs_all(features, labels, 4, [0.1])[0]
    with_constant = torch.cat([features, torch.full((len(features), 1), 3.0)], 1)
    again = fit_one_vs_all(with_constant, labels, 4, [0.1])[0]
    torch.testing.assert_close(again.scores(with_constant + 0), machine.scores(features))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, c: (x[:5], y, c), "features: got shape"),
        (lambda x, y, c: (x / 0, y, c), "features: got NaN"),
        (lambda x, y, c: (x, y + 1, c), r"labels: expected values in \[0, 4\)"),
        (lambda x, y, c: (x[y > 0], y[y > 0], c), "labels: class 0 has no example"),
        (lambda x, y, c: (x, y, [0.0]), "costs"),
        (lambda x, y, c: (x, y, []), "costs"),
    ],
)
def test_bad_input_is_refused(change, message):
    features, labels, costs = change(*problem(), [1.0])
    with pytest.raises(ValueError, match=message):
        fit_one_vs_all(features, labels, 4, costs)
