"""Records of how well the two towers agree: synchrony on fixed questions, and retrieval."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from avts_ext.data.fingerprint import decode_fingerprint
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.recordings import Recording, distances, untrained_network
from avts_ext.evaluation.report import Result, clip_card
from avts_ext.evaluation.retrieval import RANKS, embed_middles, recall_at
from avts_ext.evaluation.sync_sets import (
    OffsetBin,
    SyncSet,
    accuracy_by_offset,
    score_kinds,
)
from avts_ext.models.avts import AVTS
from avts_ext.models.pretrained import model_hash

__all__ = ["offset_table", "score_retrieval", "score_sync"]


def score_sync(
    model: AVTS,
    asked: SyncSet,
    cache_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    command: str = "",
) -> tuple[list[Result], list[OffsetBin]]:
    """Accuracy and area under the ROC curve of every kind of question and of all together.

    Args:
        model: the trained network.
        asked: the questions.
        cache_dir: where decoded media are kept.
        seed: of the random network beside it.
        command: the command line that repeats it.

    Returns:
        The records, and the trained network's accuracy by offset.
    """
    recordings = asked.recordings(model.config.clip, cache_dir)
    untrained = untrained_network(model, recordings, seed)
    found, beside = (
        {kind: distances(network, recordings, q) for kind, q in asked.questions.items()}
        for network in (model, untrained)
    )
    scores, baselines = score_kinds(found), score_kinds(beside)
    card = _card(model) | {"question_hash": asked.hash, "question_seed": asked.seed}
    card |= {"media": len(asked.media)}
    common: dict[str, Any] = {"seeds": (seed,), "chance": 0.5, "command": command, "card": card}
    results = []
    for kind, score in scores.items():
        name, baseline = kind.replace("_", "-"), baselines[kind]
        results.append(
            Result(
                f"sync-{name}/1",
                score.accuracy,
                score.n,
                baseline=baseline.accuracy,
                interval=score.interval,
                **common,
            )
        )
        results.append(
            Result(f"sync-{name}-auc/1", score.auc, score.n, baseline=baseline.auc, **common)
        )
    return results, accuracy_by_offset(asked.questions, found)


def score_retrieval(
    model: AVTS, recordings: Sequence[Recording], seed: int = 0, command: str = ""
) -> list[Result]:
    """Recall at `retrieval.RANKS`, from sound to picture and from picture to sound.

    Args:
        model: the trained network.
        recordings: one clip of each is used.
        seed: of the random network beside it.
        command: the command line that repeats it.
    """
    untrained = untrained_network(model, recordings, seed)
    found, beside = (embed_middles(network, recordings) for network in (model, untrained))
    n = len(recordings)
    card = _card(model) | {"media": n, "clips": "one of each, from the middle"}
    ways: dict[str, Callable[[tuple[NDArray, NDArray]], list[float]]] = {
        "audio-to-video": lambda pair: recall_at(pair[1], pair[0]),
        "video-to-audio": lambda pair: recall_at(*pair),
    }
    return [
        Result(
            f"retrieval-{way}-at-{k}/1",
            value,
            n,
            (seed,),
            chance=min(1.0, k / n),
            baseline=baseline,
            interval=wilson_interval(value * n, n),
            command=command,
            card=card,
        )
        for way, recall in ways.items()
        for k, value, baseline in zip(RANKS, recall(found), recall(beside), strict=True)
    ]


def offset_table(bins: Sequence[OffsetBin]) -> str:
    """Accuracy by offset as a Markdown table."""
    lines = [
        "| offset of the wrong sound (s) | accuracy | 95 % interval | n |",
        "|---|---|---|---|",
    ]
    for one in bins:
        low, high = one.interval
        lines.append(
            f"| {one.from_s:.2f}–{one.to_s:.2f} | {one.accuracy:.3f} | {low:.3f}–{high:.3f} | "
            f"{one.n} |"
        )
    return "\n".join(lines) + "\n"


def _card(model: AVTS) -> dict[str, Any]:
    return {
        "model_hash": model_hash(model),
        "clip": clip_card(model.config.clip),
        "crops": "centre",
        "decoder": decode_fingerprint(),
    }
