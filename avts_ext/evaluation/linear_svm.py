"""Linear support vector machines, one per class against all others, solved for all classes at once.

The problem is that of ``sklearn.svm.LinearSVC(C=c)``: squared hinge loss, and a bias that is one
more weight, regularised like the others,

    min_w  |w|^2 / 2  +  C sum_n max(0, 1 - y_n (w . x_n))^2,     y_n = +1 in the class, -1 outside.

liblinear solves one class after the other and reads all features again for each. Here Newton's
method advances all classes together, so that each pass over the features is one matrix product:
that is what makes a search over C, nested in five folds of 20,000 clips, a matter of minutes. The
solutions are those of scikit-learn, to the tolerance.

Source: Keerthi and DeCoste, "A Modified Finite Newton Method for Fast Solution of Large Scale
Linear SVMs", JMLR 2005; the inner equations are solved by conjugate gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LinearSVM", "fit_one_vs_all"]

_MAX_STEPS = 100
_MAX_INNER_STEPS = 200
_MAX_HALVINGS = 30
_FORCING = 0.1  # how well the inner equations are solved, relative to the gradient


@dataclass(frozen=True)
class LinearSVM:
    """K classifiers over standardised features.

    Attributes:
        mean, scale: (D,) subtracted from features, and then multiplied with.
        weights: (D + 1, K); the last row is the bias.
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Signed distances (N, K) of features (N, D); the largest of a row tells the class."""
        # Folded into the weights, so that the features need not be copied.
        weights = self.scale[:, None] * self.weights[:-1]
        return features @ weights + (self.weights[-1] - self.mean @ weights)


def fit_one_vs_all(
    features: Tensor,
    labels: Tensor,
    n_classes: int,
    costs: list[float],
    *,
    tolerance: float = 1e-3,
) -> list[LinearSVM]:
    """Fit on standardised features, once for each C; each fit begins at the one before.

    Args:
        features: (N, D) float32 or float64.
        labels: (N,) int64 in [0, n_classes).
        n_classes: K, at least 2.
        costs: values of C, positive.
        tolerance: a class is done when its gradient is that much shorter than at zero weights.

    Returns:
        One machine for each C.

    Raises:
        ValueError: shapes do not agree, features are not finite, a class without an example, or a
            C that is not positive.
        ArithmeticError: a fit did not get to the tolerance.
    """
    _check(features, labels, n_classes, costs)
    mean = features.mean(0)
    std = features.std(0, correction=0)
    scale = torch.where(std > 0, 1 / std, 0.0)  # what never changes tells nothing
    x = torch.cat([(features - mean) * scale, features.new_ones(len(features), 1)], 1)
    signs = 2 * torch.nn.functional.one_hot(labels, n_classes).to(x) - 1
    weights = x.new_zeros(x.shape[1], n_classes)
    machines = []
    for cost in costs:
        weights = _solve(x, signs, cost, weights, tolerance)
        machines.append(LinearSVM(mean, scale, weights))
    return machines


def _solve(x: Tensor, signs: Tensor, cost: float, weights: Tensor, tolerance: float) -> Tensor:
    """Newton's method from given weights (D + 1, K), each class with its own step length."""
    goal = tolerance * (2 * cost * (x.T @ signs)).norm(dim=0)
    margins = signs * (x @ weights)
    for _ in range(_MAX_STEPS):
        slack = (1 - margins).clamp_min(0)
        gradient = weights - 2 * cost * (x.T @ (signs * slack))
        open_ = (gradient.norm(dim=0) > goal).nonzero().squeeze(1)
        if len(open_) == 0:
            return weights
        inside = (slack[:, open_] > 0).to(x)
        step = _newton_step(x, inside, cost, gradient[:, open_])
        moved = signs[:, open_] * (x @ step)
        lengths = _step_lengths(
            weights[:, open_], step, margins[:, open_], moved, cost, gradient[:, open_]
        )
        weights, margins = weights.clone(), margins.clone()
        weights[:, open_] += lengths * step
        margins[:, open_] += lengths * moved
    raise ArithmeticError(
        f"C = {cost}: {len(open_)} of {signs.shape[1]} classes are not solved after {_MAX_STEPS} "
        "steps; expected features of moderate size"
    )


def _newton_step(x: Tensor, inside: Tensor, cost: float, gradient: Tensor) -> Tensor:
    """Solve (1 + 2 C X' diag(inside) X) step = -gradient for every class by conjugate gradients."""
    step, residual = torch.zeros_like(gradient), -gradient
    direction, squared = residual, residual.square().sum(0)
    goal = _FORCING**2 * squared
    for _ in range(_MAX_INNER_STEPS):
        if (squared <= goal).all():
            break
        bent = direction + 2 * cost * (x.T @ (inside * (x @ direction)))
        length = squared / (direction * bent).sum(0)
        # A class that is done stays where it is.
        length = torch.where(squared > goal, length, 0.0)
        step, residual = step + length * direction, residual - length * bent
        before, squared = squared, residual.square().sum(0)
        direction = residual + squared / before * direction
    return step


def _step_lengths(
    weights: Tensor, step: Tensor, margins: Tensor, moved: Tensor, cost: float, gradient: Tensor
) -> Tensor:
    """(K,) lengths in 1, 1/2, 1/4 ... that lower the objective enough (Armijo's rule)."""

    def objective(lengths: Tensor) -> Tensor:
        slack = (1 - margins - lengths * moved).clamp_min(0)
        return (weights + lengths * step).square().sum(0) / 2 + cost * slack.square().sum(0)

    slope = (gradient * step).sum(0)
    lengths = torch.ones_like(slope)
    at_start = objective(torch.zeros_like(slope))
    for _ in range(_MAX_HALVINGS):
        # At the end of a fit, differences of the objective drown in rounding.
        rounding = 4 * torch.finfo(weights.dtype).eps * at_start
        too_long = objective(lengths) > at_start + 1e-4 * lengths * slope + rounding
        if not too_long.any():
            break
        lengths = torch.where(too_long, lengths / 2, lengths)
    return lengths


def _check(features: Tensor, labels: Tensor, n_classes: int, costs: list[float]) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features: got shape {tuple(features.shape)} for labels of {tuple(labels.shape)}, "
            "expected (N, D) for (N,)"
        )
    if not features.isfinite().all():
        raise ValueError("features: got NaN or infinity, expected finite values")
    if n_classes < 2:
        raise ValueError(f"n_classes: got {n_classes}, expected at least 2")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"labels: expected values in [0, {n_classes})")
    empty = [k for k, n in enumerate(torch.bincount(labels, minlength=n_classes)) if n == 0]
    if empty:
        raise ValueError(f"labels: class {empty[0]} has no example, expected some of each")
    if not costs or min(costs) <= 0:
        raise ValueError(f"costs: got {costs}, expected positive values of C")
