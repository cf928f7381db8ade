"""Linear probe: what classes can be read off frozen audio features.

Protocol "audio-probe/1": features are standardised and given to one linear support vector machine
per class; C is chosen by cross-validation inside the training set. From each class N labelled
examples are drawn; several draws show how much the choice of examples matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, cat

from avts_ext.evaluation.inference import apply_in_batches, inference
from avts_ext.models.avts import AVTS

__all__ = ["ProbeResult", "conv5_features", "draw_per_class", "fit_probe", "probe"]

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1)
MAX_FOLDS = 4


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of a probe over several draws of labelled examples.

    Attributes:
        accuracies: (draws,) share of test items given the right class.
        chosen_c: (draws,) regularisation chosen by cross-validation.
        n_test: number of test items.
    """

    accuracies: tuple[float, ...]
    chosen_c: tuple[float, ...]
    n_test: int

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard deviation over draws (n - 1 in the denominator); 0 for a single draw."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


def conv5_features(model: AVTS, waveforms: Tensor, batch_size: int = 64) -> NDArray[np.float32]:
    """Features of the last audio convolution, pooled over time.

    Args:
        model: with ``audio_input(waveform)`` and ``audio_features(x)``, as ``models.AVTS``.
        waveforms: (N, S) float32.
        batch_size: waveforms at a time; does not change the result.

    Returns:
        (N, 2 * C * m) float32: of the (C, m, time) map, the mean over time, then the maximum.
    """

    def pooled(batch: Tensor) -> Tensor:
        features = model.audio_features(model.audio_input(batch))
        return cat([features.mean(-1).flatten(1), features.amax(-1).flatten(1)], 1)

    with inference(model):
        return apply_in_batches(pooled, waveforms, batch_size).float().cpu().numpy()


def draw_per_class(labels: Sequence[int] | NDArray, per_class: int, seed: int) -> NDArray[np.int64]:
    """Indices of ``per_class`` items of every class in ``labels`` (N,), drawn without replacement.

    A class's draw is a function of the seed and its label, and smaller draws are prefixes of
    larger ones.

    Raises:
        ValueError: a class with too few items, or ``per_class`` below 1.
    """
    labels = np.asarray(labels)
    if per_class < 1:
        raise ValueError(f"per_class: got {per_class}, expected at least 1")
    drawn = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            raise ValueError(
                f"per_class: got {per_class}, but class {label} has only {len(members)} items"
            )
        rng = np.random.default_rng([seed, int(label)])
        drawn.append(rng.permutation(members)[:per_class])
    return np.concatenate(drawn)


def fit_probe(features: NDArray, labels: NDArray, seed: int = 0) -> GridSearchCV:
    """Standardise, choose C by cross-validation, and fit one linear SVM per class.

    Args:
        features: (N, D) finite.
        labels: (N,) int, at least two classes of at least two items.
        seed: of the folds and of the solver.

    Returns:
        A fitted scikit-learn estimator with ``score`` and ``predict``.
    """
    _check_features("features", features, labels)
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    if smallest < 2:
        raise ValueError(f"labels: a class has {smallest} item, cross-validation needs 2 of each")
    folds = StratifiedKFold(min(MAX_FOLDS, smallest), shuffle=True, random_state=seed)
    svm = LinearSVC(dual="auto", max_iter=20000, random_state=seed)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), svm), {"linearsvc__C": list(C_GRID)}, cv=folds
    )
    return search.fit(features, labels)


def probe(
    train_features: NDArray,
    train_labels: NDArray,
    test_features: NDArray,
    test_labels: NDArray,
    *,
    per_class: int,
    draws: int = 3,
    seed: int = 0,
) -> ProbeResult:
    """Accuracy on the test set of probes trained on ``per_class`` examples of each class.

    Args:
        train_features, test_features: (N, D) and (M, D) finite.
        train_labels, test_labels: (N,) and (M,) int.
        per_class: labelled examples of each class in a draw.
        draws: number of draws; draw k uses seed ``seed + k``.
        seed: of the first draw.
    """
    _check_features("train_features", train_features, train_labels)
    _check_features("test_features", test_features, test_labels)
    if draws < 1:
        raise ValueError(f"draws: got {draws}, expected at least 1")
    accuracies, chosen_c = [], []
    for draw in range(seed, seed + draws):
        rows = draw_per_class(train_labels, per_class, draw)
        fitted = fit_probe(train_features[rows], train_labels[rows], draw)
        accuracies.append(float(fitted.score(test_features, test_labels)))
        chosen_c.append(float(fitted.best_params_["linearsvc__C"]))
    return ProbeResult(tuple(accuracies), tuple(chosen_c), len(test_labels))


def _check_features(name: str, features: NDArray, labels: NDArray) -> None:
    if features.ndim != 2 or len(features) != len(labels):
        raise ValueError(
            f"{name}: got shape {features.shape} for {len(labels)} labels, expected (N, D) and N"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{name}: got NaN or infinity, expected finite values")
