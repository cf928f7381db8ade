"""What every model of an ablation is scored on: data that none of them is trained on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from avts_ext.data import ClipSpec
from avts_ext.evaluation.audio_transfer import audio_transfer
from avts_ext.evaluation.features import FeatureSettings
from avts_ext.evaluation.labelled import LabelledSet, open_labelled
from avts_ext.evaluation.recordings import Recording, answer
from avts_ext.evaluation.report import Result
from avts_ext.evaluation.sync_sets import SyncSet, read_sync_set
from avts_ext.evaluation.world_scores import (
    Score,
    WorldSet,
    curve_scores,
    finetuned_accuracy,
    open_world,
)
from avts_ext.models.avts import AVTS

__all__ = ["CLIPS_OF", "MeasureConfig", "Measures"]

CLIPS_OF = {"esc50": 10, "dcase2014": 60}


@dataclass(frozen=True)
class MeasureConfig:
    """Which scores are taken; at least one.

    Attributes:
        world: folder of a generated world of another seed than that of pretraining: linear probe
            of the sounds' classes, and sync accuracy against other moments of the same video.
        world_labelled: so many of its videos from the beginning are what the probe learns from;
            all others are tests.
        per_class: labelled videos of each class for the probe.
        finetune_per_class: labelled videos of each class that the video tower is fine-tuned on; 0
            leaves this slow score out.
        draws: draws of labelled videos.
        n_questions: sync questions about the world.
        esc50: folder of ESC-50: linear SVM on pooled conv5 features.
        dcase2014: folder of DCASE2014, likewise.
        questions: file that `avts evaluate sync` wrote: accuracy by kind of question.
        allow_partial: score what is there of an incomplete data set.
        cache_dir: where decoded media and features are kept.
    """

    world: str | None = None
    world_labelled: int = 300
    per_class: int = 20
    finetune_per_class: int = 0
    draws: int = 3
    n_questions: int = 600
    esc50: str | None = None
    dcase2014: str | None = None
    questions: str | None = None
    allow_partial: bool = False
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        if not (self.world or self.esc50 or self.dcase2014 or self.questions):
            raise ValueError(
                "measure: give at least one of world, esc50, dcase2014 and questions to score on"
            )

    def plain(self) -> dict[str, Any]:
        """What decides over the scores, as JSON types."""
        return {name: value for name, value in asdict(self).items() if name != "cache_dir"}


class Measures:
    """The data of a `MeasureConfig`, opened when it is first needed.

    Args:
        config: what to score.
        spec: of the clips that the models take.

    Raises:
        ValueError: data that is not there or not complete.
        OSError: likewise.
    """

    def __init__(self, config: MeasureConfig, spec: ClipSpec) -> None:
        self._config, self._spec = config, spec
        if config.world and not 0 < config.world_labelled < len(self._world):
            raise ValueError(
                f"world_labelled: got {config.world_labelled}, expected between 1 and "
                f"{len(self._world) - 1}, because {config.world!r} holds {len(self._world)} videos"
            )
        for name in ("esc50", "dcase2014"):
            if getattr(config, name):
                self._labelled(name)

    def score(self, model: AVTS, seed: int) -> dict[str, Score]:
        """All scores of a model, by name; draws follow from the seed."""
        config, scores = self._config, dict[str, Score]()
        if config.world:
            scores |= self._scores_on_world(model, seed)
        for name in ("esc50", "dcase2014"):
            if getattr(config, name):
                scores[name] = self._transfer(model, name)
        if config.questions:
            asked, recordings = self._asked
            for kind, questions in asked.questions.items():
                found = answer(model, recordings, questions)
                scores[f"sync_{kind}"] = Score(found.accuracy, found.n, found.interval)
        return scores

    def _scores_on_world(self, model: AVTS, seed: int) -> dict[str, Score]:
        config, n = self._config, self._config.world_labelled
        labelled, test = self._world[:n], self._world[n:]
        scores = curve_scores(
            model,
            labelled,
            test,
            per_class=config.per_class,
            n_questions=config.n_questions,
            draws=config.draws,
            seed=seed,
        )
        if config.finetune_per_class:
            scores["finetune"] = finetuned_accuracy(
                model,
                labelled,
                test,
                per_class=config.finetune_per_class,
                draws=config.draws,
                seed=seed,
            )
        return scores

    def _transfer(self, model: AVTS, name: str) -> Score:
        (result,) = audio_transfer(
            model,
            self._labelled(name),
            FeatureSettings("audio", n_clips=CLIPS_OF[name]),
            poolings=("pooled",),
            random_networks=0,
            allow_partial=self._config.allow_partial,
            cache_dir=self._cache("features"),
        )
        return _score_of(result)

    def _labelled(self, name: str) -> LabelledSet:
        root = getattr(self._config, name)
        return open_labelled(name, root, allow_partial=self._config.allow_partial)

    @cached_property
    def _world(self) -> WorldSet:
        return open_world(self._config.world or "", self._spec, self._cache("media"))

    @cached_property
    def _asked(self) -> tuple[SyncSet, list[Recording]]:
        asked = read_sync_set(self._config.questions or "")
        return asked, asked.recordings(self._spec, self._cache("media"))

    def _cache(self, name: str) -> str | None:
        folder = self._config.cache_dir
        return None if folder is None else os.path.join(folder, name)


def _score_of(result: Result) -> Score:
    assert result.interval is not None
    return Score(result.value, result.n, result.interval, result.spread_over_folds)
