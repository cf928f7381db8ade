"""The protocol of ESC-50 and DCASE2014: linear classifiers on clips, scored by recording.

Protocol "…-svm-…/1": every clip of a training recording is an example; one linear SVM per class is
trained on standardised features (`linear_svm`); the scores of a test recording's clips are averaged
and the largest tells its class. C is chosen on the training recordings alone, by the same score
over the inner folds. Clips follow their recording, so none of a test recording is ever trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from avts_ext.evaluation.labelled import Fold
from avts_ext.evaluation.linear_svm import LinearSVM, fit_one_vs_all

__all__ = ["COSTS", "FoldScores", "score_folds"]

COSTS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_TOLERANCE = 1e-4
_SEARCH_TOLERANCE = 1e-3  # tells which C is better in half of the time


@dataclass(frozen=True)
class FoldScores:
    """Answers to the test recordings of each fold.

    Attributes:
        accuracies: share of right answers in each fold.
        chosen_c: C of each fold.
        right, n: right answers and answers over all folds.
    """

    accuracies: tuple[float, ...]
    chosen_c: tuple[float, ...]
    right: int
    n: int

    @property
    def mean(self) -> float:
        """Mean accuracy over the folds."""
        return fmean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the folds (n - 1 in the denominator); None for one fold."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None


def score_folds(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: Sequence[Fold],
    costs: Sequence[float] = COSTS,
) -> FoldScores:
    """Train and test on every fold.

    Args:
        features: (N, K, D) of N recordings with K clips each.
        labels: (N,) in [0, classes), every class in the training part of every fold.
        folds: ways to part the recordings.
        costs: values of C to choose from, increasing.

    Raises:
        ValueError: shapes do not agree, features are not finite, or a recording is on both sides.
    """
    if features.ndim != 3 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features: got shape {features.shape} for {labels.shape} labels, expected (N, K, D)"
        )
    trainer = _Trainer(torch.from_numpy(features), torch.from_numpy(labels))
    accuracies, chosen, right, n = [], [], 0, 0
    for fold in tqdm(folds, f"folds, {features.shape[2]} features", unit="fold", leave=False):
        if both := set(fold.train.tolist()) & set(fold.test.tolist()):
            raise ValueError(f"folds: recording {min(both)} is on both sides of {fold.name}")
        cost = _choose_cost(trainer, fold, tuple(costs))
        hits = trainer.hits(fold.train, fold.test, (cost,), _TOLERANCE)[0]
        accuracies.append(hits / len(fold.test))
        chosen.append(cost)
        right, n = right + hits, n + len(fold.test)
    return FoldScores(tuple(accuracies), tuple(chosen), right, n)


class _Trainer:
    """Trains on recordings of a set, once on the same ones.

    Where each fold is the test set once and the others are its inner folds, every two folds share
    an inner training set: all but these two.

    Args:
        clips: (N, K, D) features.
        labels: (N,).
    """

    def __init__(self, clips: Tensor, labels: Tensor) -> None:
        self.clips, self.labels = clips, labels
        self._fitted: dict[tuple[bytes, tuple[float, ...], float], list[LinearSVM]] = {}

    def hits(
        self,
        train: NDArray[np.int64],
        test: NDArray[np.int64],
        costs: tuple[float, ...],
        tolerance: float,
    ) -> list[int]:
        """Right answers to the test recordings for each C."""
        asked, truth = self.clips[test].flatten(0, 1), self.labels[test]
        scores = [machine.scores(asked) for machine in self._machines(train, costs, tolerance)]
        n_clips = self.clips.shape[1]
        answers = [each.unflatten(0, (-1, n_clips)).mean(1).argmax(1) for each in scores]
        return [int((answer == truth).sum()) for answer in answers]

    def _machines(
        self, rows: NDArray[np.int64], costs: tuple[float, ...], tolerance: float
    ) -> list[LinearSVM]:
        key = (rows.tobytes(), costs, tolerance)
        if key not in self._fitted:
            self._fitted[key] = fit_one_vs_all(
                self.clips[rows].flatten(0, 1),
                self.labels[rows].repeat_interleave(self.clips.shape[1]),
                int(self.labels.max()) + 1,
                list(costs),
                tolerance=tolerance,
            )
        return self._fitted[key]


def _choose_cost(trainer: _Trainer, fold: Fold, costs: tuple[float, ...]) -> float:
    """The C with most right answers over the inner folds; of equals the smallest."""
    if len(costs) == 1:
        return costs[0]
    hits = np.zeros(len(costs), dtype=np.int64)
    labels = trainer.labels
    for part in np.unique(fold.inner):
        train, test = fold.train[fold.inner != part], fold.train[fold.inner == part]
        if len(labels[train].unique()) < len(labels[fold.train].unique()):
            raise ValueError(f"folds: {fold.name} has too few recordings of a class to choose C")
        hits += trainer.hits(train, test, costs, _SEARCH_TOLERANCE)
    return costs[int(hits.argmax())]
