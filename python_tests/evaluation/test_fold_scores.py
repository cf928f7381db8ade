import numpy as np
import pytest

from avts_ext.evaluation import fold_scores as module
from avts_ext.evaluation.fold_scores import score_folds
from avts_ext.evaluation.labelled import Fold

N_CLASSES, PER_PART, N_CLIPS, WIDTH = 5, 8, 4, 12


def five_folds():
    """Labels (200,), and folds of which each holds 8 recordings of every class."""
    labels = np.tile(np.repeat(np.arange(N_CLASSES), PER_PART), 5)
    part = np.repeat(np.arange(5), N_CLASSES * PER_PART)
    folds = []
    for k in range(5):
        train = np.flatnonzero(part != k)
        folds.append(Fold(f"fold{k + 1}", train, np.flatnonzero(part == k), part[train]))
    return labels, folds


def clips_around(centres, noise, seed=0):
    rng = np.random.default_rng(seed)
    clips = centres[:, None] + noise * rng.normal(size=(len(centres), N_CLIPS, WIDTH))
    return clips.astype(np.float32)


def test_a_planted_signal_is_found_completely():
    labels, folds = five_folds()
    centres = np.random.default_rng(1).normal(size=(N_CLASSES, WIDTH))[labels]
    scores = score_folds(clips_around(centres, 0.1), labels, folds)
    assert scores.accuracies == (1.0,) * 5 and scores.mean == 1.0 and scores.spread == 0.0
    assert (scores.right, scores.n) == (200, 200)


def test_labels_drawn_at_random_give_chance():
    """Drawn, not permuted: what a permutation puts into training is missing in the test set."""
    labels, folds = five_folds()
    centres = np.random.default_rng(1).normal(size=(N_CLASSES, WIDTH))[labels]
    features = clips_around(centres, 0.1)
    means = []
    for seed in range(5):
        drawn = np.random.default_rng(seed).integers(N_CLASSES, size=len(labels))
        means.append(score_folds(features, drawn, folds).mean)
    # 1000 answers: three standard deviations of chance, 1 in 5.
    assert np.mean(means) == pytest.approx(0.2, abs=3 * (0.2 * 0.8 / 1000) ** 0.5)


def test_clips_of_a_recording_never_leak_from_training_to_test():
    """What tells recordings apart but not classes is worth nothing, unless clips were parted."""
    labels, folds = five_folds()
    own = 10 * np.random.default_rng(2).normal(size=(len(labels), 200))
    features = own[:, None] + np.random.default_rng(3).normal(size=(len(labels), N_CLIPS, 200))
    features = features.astype(np.float32)
    assert score_folds(features, labels, folds, [1e-2]).mean < 0.35
    # The same features with the clips of every recording parted between the two sides: a leak.
    clips = features.reshape(-1, 1, 200)
    rows = np.arange(len(clips))
    leaking = Fold("leak", rows[rows % 2 == 0], rows[rows % 2 == 1], rows[rows % 2 == 0] % 5)
    assert score_folds(clips, labels.repeat(N_CLIPS), [leaking], [1e-2]).mean > 0.9


def test_a_recording_on_both_sides_is_refused():
    labels, folds = five_folds()
    fold = folds[0]
    bad = Fold("bad", fold.train, np.append(fold.test, fold.train[3]), fold.inner)
    with pytest.raises(ValueError, match=f"recording {fold.train[3]} is on both sides of bad"):
        score_folds(clips_around(np.zeros((200, WIDTH)), 1.0), labels, [bad])


def test_scores_are_averaged_over_clips():
    """A recording whose clips are noise around its class: more clips, more right answers."""
    labels, folds = five_folds()
    centres = np.random.default_rng(1).normal(size=(N_CLASSES, WIDTH))[labels]
    features = clips_around(centres, 3.0)
    one = score_folds(features[:, :1], labels, folds, [1e-4]).mean
    four = score_folds(features, labels, folds, [1e-4]).mean
    assert four > one + 0.1


def test_c_is_chosen_without_the_test_recordings(monkeypatch):
    labels, folds = five_folds()
    centres = np.random.default_rng(1).normal(size=(N_CLASSES, WIDTH))[labels]
    features = clips_around(centres, 2.0)
    before = score_folds(features, labels, folds[:1]).chosen_c
    changed = features.copy()
    changed[folds[0].test] = 1e3 * np.random.default_rng(5).normal(
        size=changed[folds[0].test].shape
    )
    assert score_folds(changed, labels, folds[:1]).chosen_c == before


def test_c_matters_and_the_better_one_is_chosen():
    """Few examples in many dimensions, of which one counts: strong regularisation averages."""
    rng = np.random.default_rng(0)
    labels, folds = five_folds()
    centres = rng.normal(size=(N_CLASSES, 150))[labels]
    features = (centres + 6 * rng.normal(size=(200, 150)))[:, None].astype(np.float32)
    costs = [1e-5, 10.0]
    each = [score_folds(features, labels, folds, [cost]).mean for cost in costs]
    assert each[0] > each[1] + 0.05
    scores = score_folds(features, labels, folds, costs)
    assert scores.chosen_c.count(1e-5) >= 4


def test_folds_share_their_inner_training_sets(monkeypatch):
    """Ten pairs of folds are left out for the search, five folds for the test: none twice."""
    labels, folds = five_folds()
    features = clips_around(np.random.default_rng(1).normal(size=(N_CLASSES, WIDTH))[labels], 0.1)
    sizes = []
    monkeypatch.setattr(
        module, "fit_one_vs_all", lambda x, *a, f=module.fit_one_vs_all, **k: sizes.append(len(x))
        or f(x, *a, **k),
    )  # fmt: skip
    score_folds(features, labels, folds)
    per_fold = N_CLASSES * PER_PART * N_CLIPS
    assert sorted(sizes) == [3 * per_fold] * 10 + [4 * per_fold] * 5


def test_bad_shapes_are_refused():
    labels, folds = five_folds()
    with pytest.raises(ValueError, match="features: got shape"):
        score_folds(np.zeros((200, WIDTH), np.float32), labels, folds)
