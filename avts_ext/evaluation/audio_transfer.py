"""What a frozen audio tower knows of sounds: ESC-50 and DCASE2014 by linear classification.

The protocol is that of `fold_scores` on the clips of `features`, once on pooled and once on
flattened conv5 maps, beside the same on networks that have learned nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from avts_ext.evaluation.features import (
    POOLINGS,
    Features,
    FeatureSettings,
    Pooling,
    extract_features,
    feature_card,
    read_clips,
)
from avts_ext.evaluation.fold_scores import COSTS, FoldScores, score_folds
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.labelled import LabelledSet
from avts_ext.evaluation.random_network import random_network
from avts_ext.evaluation.report import Result, over_seeds
from avts_ext.models.avts import AVTS

__all__ = ["audio_transfer", "untrained_on"]

_CALIBRATION_CLIPS = 32


def audio_transfer(
    model: AVTS,
    data: LabelledSet,
    settings: FeatureSettings,
    *,
    poolings: Sequence[Pooling] = POOLINGS,
    random_networks: int = 3,
    allow_partial: bool = False,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    workers: int = 0,
    command: str = "",
) -> list[Result]:
    """Accuracies of linear classifiers on frozen audio features.

    Args:
        model: the trained network.
        data: from `labelled.open_labelled`.
        settings: clips of a recording.
        poolings: ways to reduce a map, one result for each.
        random_networks: how many networks that have learned nothing are scored beside.
        allow_partial: go on when files turn out to be broken, with the coverage in the record.
        seed: of the record; decides which random networks are beside.
        cache_dir: where features are kept.
        workers: processes that decode.
        command: the command line that repeats it.

    Returns:
        A result for each pooling, and if there are random networks, theirs.

    Raises:
        ValueError: files are broken and `allow_partial` is not given.
    """
    trained = _Scorer(model, data, settings, allow_partial, cache_dir, workers)
    results = [trained.result(pooling, seed, command) for pooling in poolings]
    runs = []
    # Runs with different seeds share no random network, so that their records can be joined.
    for k in range(seed * random_networks, (seed + 1) * random_networks):
        untrained = untrained_on(model, data, settings, k)
        scorer = _Scorer(untrained, data, settings, allow_partial, cache_dir, workers)
        runs.append([scorer.result(pooling, k, command) for pooling in poolings])
    if not runs:
        return results
    means = over_seeds(runs)
    return [
        *(replace(one, baseline=mean.value) for one, mean in zip(results, means, strict=True)),
        *(replace(mean, protocol=f"random network: {mean.protocol}") for mean in means),
    ]


def untrained_on(model: AVTS, data: LabelledSet, settings: FeatureSettings, seed: int) -> AVTS:
    """`random_network`, its audio statistics taken from recordings spread over a set."""
    step = max(1, len(data.paths) // _CALIBRATION_CLIPS)
    paths = data.paths[::step][:_CALIBRATION_CLIPS]
    one = FeatureSettings("audio", settings.clip_s, 1)
    sounds = [read_clips(path, one, model.config.clip)[1] for path in paths]
    device = next(model.parameters()).device
    return random_network(model, None, torch.cat(sounds).to(device), seed)


class _Scorer:
    """One network's features of a data set."""

    def __init__(
        self,
        model: AVTS,
        data: LabelledSet,
        settings: FeatureSettings,
        allow_partial: bool,
        cache_dir: str | os.PathLike[str] | None,
        workers: int,
    ) -> None:
        self._features = extract_features(
            model, data.paths, settings, cache_dir=cache_dir, workers=workers, progress=True
        )
        self._data = data.without(self._features.rows, allow_partial)
        self._made_with = feature_card(model, settings)

    def result(self, pooling: Pooling, seed: int, command: str) -> Result:
        """Train and test on every fold."""
        data = self._data
        scores = score_folds(self._features.of(pooling), data.labels, data.folds)
        return Result(
            f"{data.name}-svm-{pooling}/1",
            scores.mean,
            scores.n,
            (seed,),
            chance=1 / len(data.classes),
            interval=wilson_interval(scores.right, scores.n),
            command=command,
            folds={
                fold.name: accuracy
                for fold, accuracy in zip(data.folds, scores.accuracies, strict=True)
            },
            card=_card(data, self._features, self._made_with, scores),
        )


def _card(
    data: LabelledSet, features: Features, made_with: dict[str, Any], scores: FoldScores
) -> dict[str, Any]:
    """The protocol card: all that the figure depends on."""
    return {
        "data_set": data.name,
        "coverage": data.coverage(),
        "features": made_with | {"hash": features.hash},
        "classifier": "one-vs-all linear SVM, squared hinge loss, standardised features",
        "answer": "class of the largest mean score over the clips of a recording",
        "search": {"C": list(COSTS), "chosen": list(scores.chosen_c), "on": "inner folds"},
    }
