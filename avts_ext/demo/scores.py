"""All scores of a network on held-out videos, as records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from avts_ext.demo.plan import LABELS_FOR_FINETUNING, LABELS_FOR_PROBE
from avts_ext.evaluation.report import Result
from avts_ext.evaluation.sync import KINDS
from avts_ext.evaluation.world_scores import (
    CLASS_CHANCE,
    OFFSET_CHANCE,
    Score,
    WorldSet,
    as_result,
    audio_probe,
    finetuned_accuracy,
    offset_hits,
    sync_accuracy,
)
from avts_ext.localization.scores import FrameScores
from avts_ext.localization.world_maps import localization_results, map_world
from avts_ext.models.avts import AVTS

__all__ = ["HeldOut", "place_results", "score_results"]


@dataclass(frozen=True)
class HeldOut:
    """Videos that no network has seen: with labels for the probes to learn from, and for tests."""

    labelled: WorldSet
    test: WorldSet


def score_results(
    trained: AVTS,
    untrained: AVTS,
    held_out: HeldOut,
    *,
    n_questions: int,
    draws: int,
    seed: int,
    command: str,
) -> list[Result]:
    """Sync accuracy by kind of negative, offset, linear probe and fine-tuning."""
    labelled, test = held_out.labelled, held_out.test

    def sync(kind: str) -> Callable[[AVTS], Score]:
        return lambda model: sync_accuracy(model, test, kind, n_questions=n_questions, seed=seed)

    def probe(model: AVTS) -> Score:
        return audio_probe(
            model, labelled, test, per_class=LABELS_FOR_PROBE, draws=draws, seed=seed
        )

    def finetuned(model: AVTS) -> Score:
        return finetuned_accuracy(
            model, labelled, test, per_class=LABELS_FOR_FINETUNING, draws=draws, seed=seed
        )

    protocols: dict[str, tuple[Callable[[AVTS], Score], float]] = {
        f"sync-{kind.replace('_', '-')}/1": (sync(kind), 0.5) for kind in KINDS
    }
    protocols["offset-within-125ms/1"] = (lambda model: offset_hits(model, test), OFFSET_CHANCE)
    protocols[f"audio-probe-{LABELS_FOR_PROBE}/1"] = (probe, CLASS_CHANCE)
    protocols[f"finetune-{LABELS_FOR_FINETUNING}/1"] = (finetuned, CLASS_CHANCE)
    return [
        as_result(protocol, score_of, trained, untrained, chance=chance, seed=seed, command=command)
        for protocol, (score_of, chance) in tqdm(protocols.items(), desc="scores", unit="score")
    ]


def place_results(
    trained: AVTS,
    untrained: AVTS,
    videos: WorldSet,
    scene: str,
    *,
    seed: int,
    command: str,
) -> list[Result]:
    """Localization on one kind of scene, with its controls."""
    scores: dict[str, list[FrameScores]] = {}
    for index in tqdm(range(len(videos)), desc=f"maps of {scene} scenes", unit="video"):
        maps = map_world(trained, untrained, videos, index)
        for condition in maps.maps:
            scores.setdefault(condition, []).append(maps.score(condition))
    return localization_results(scores, scene, seed=seed, command=command)
