"""What the demo must show: the effects of pretraining, each with the bound it is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from avts_ext.demo.plan import LABELS_FOR_FINETUNING, LABELS_FOR_PROBE
from avts_ext.evaluation.report import Result

__all__ = ["check_effects"]

_Figure = Callable[[dict[str, Result], Sequence[dict[str, Any]]], float]


@dataclass(frozen=True)
class _Effect:
    """One claim about the records, by protocol, and the rows of the table of subset sizes.

    The bounds lie below what three seeds gave (docs/results/demo.md); a quick run trains on half of
    the videos for a third of the steps, so that it is asked for less.
    """

    name: str
    claim: str
    figure: _Figure
    full: float
    quick: float
    at_most: bool = False

    def check(
        self, results: dict[str, Result], subsets: Sequence[dict[str, Any]], quick: bool
    ) -> dict[str, Any]:
        """An entry of the report's "effects"."""
        measured, bound = self.figure(results, subsets), self.quick if quick else self.full
        return {
            "name": self.name,
            "claim": self.claim,
            "expected": f"{'at most' if self.at_most else 'at least'} {bound:.2f}",
            "measured": f"{measured:.3f}",
            "holds": measured <= bound if self.at_most else measured >= bound,
        }


def _value(protocol: str) -> _Figure:
    return lambda results, _: results[protocol].value


def _gain(protocol: str) -> _Figure:
    """Over the untrained network."""

    def gain(results: dict[str, Result], _: Sequence[dict[str, Any]]) -> float:
        result = results[protocol]
        assert result.baseline is not None
        return result.value - result.baseline

    return gain


def _over_wrong_audio(protocol: str) -> _Figure:
    return lambda results, _: results[protocol].value - results[protocol].controls["wrong audio"]


def _rise(_: dict[str, Result], subsets: Sequence[dict[str, Any]]) -> float:
    return subsets[-1]["sync_hard"]["value"] - subsets[0]["sync_hard"]["value"]


_EFFECTS = (
    _Effect(
        "Synchrony, same video",
        "The network tells the sound of a moment from that of another moment of the same video.",
        _value("sync-hard/1"),
        full=0.85,
        quick=0.75,
    ),
    _Effect(
        "Synchrony, other video",
        "It tells the sound of a moment from that of another video.",
        _value("sync-easy/1"),
        full=0.85,
        quick=0.75,
    ),
    _Effect(
        "Offset",
        "It finds by how much a sound is off, within an eighth of a second.",
        _value("offset-within-125ms/1"),
        full=0.78,
        quick=0.50,
    ),
    _Effect(
        "Audio features",
        "Features learned from synchrony alone name the kind of sound better than those of an "
        "untrained network; the figure is the gain.",
        _gain(f"audio-probe-{LABELS_FOR_PROBE}/1"),
        full=0.10,
        quick=0.05,
    ),
    _Effect(
        "Fine-tuning",
        "With few labels, a pretrained video network learns to name objects better than one that "
        "starts from nothing; the figure is the gain.",
        _gain(f"finetune-{LABELS_FOR_FINETUNING}/1"),
        full=0.08,
        quick=0.04,
    ),
    _Effect(
        "More videos",
        "Training on all videos gives better synchrony than training on the smallest part, for as "
        "many epochs; the figure is the rise.",
        _rise,
        full=0.08,
        quick=0.04,
    ),
    _Effect(
        "Localization near events",
        "The map points at the sounding object.",
        _value("boxes-solo, source, event frames/1"),
        full=0.85,
        quick=0.70,
    ),
    _Effect(
        "Localization at all times",
        "It goes on doing so between events.",
        _value("boxes-solo, source, all frames/1"),
        full=0.78,
        quick=0.65,
    ),
    _Effect(
        "Silent mover",
        "The map does not point at the object that moves without a sound.",
        _value("boxes-solo, silent, all frames/1"),
        full=0.03,
        quick=0.08,
        at_most=True,
    ),
    _Effect(
        "Listening",
        "Where two objects show events and one is heard, the map points at the heard one more "
        "often than with the sound of another video; the figure is the difference.",
        _over_wrong_audio("boxes-duet, source, event frames/1"),
        full=0.20,
        quick=0.10,
    ),
)


def check_effects(
    results: Sequence[Result], subsets: Sequence[dict[str, Any]], *, quick: bool
) -> list[dict[str, Any]]:
    """Hold every effect against its bound.

    Args:
        results: the records of a run.
        subsets: rows of its table of subset sizes, from the smallest to all videos.
        quick: whether it was a quick run.

    Returns:
        The report's "effects": name, claim, "expected" and "measured" as text, and "holds".
    """
    by_protocol = {result.protocol: result for result in results}
    return [effect.check(by_protocol, subsets, quick) for effect in _EFFECTS]
