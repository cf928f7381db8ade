"""Can the network tell sound in step from sound out of step, and by how much it is off?

Protocol "sync-pairs/1": a question is one video clip and two sounds, the clip's own and a wrong
one; the answer is right when the clip's own is nearer in the embedding space. Wrong sounds are

- *easy*: the same seconds of another recording;
- *hard*: the same recording, at least ``min_gap_s`` between the edges of the two clips;
- *super_hard*: the same recording, clips that overlap, starts at least ``min_offset_s`` apart.

Protocol "offset/1": the sound of a recording is tried at several offsets; the one with the
smallest distance, refined by a parabola, is the estimate. **Sign: positive = audio late**, that
is, the sound that belongs to the picture at t is found in the file at t + offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avts_ext.evaluation.intervals import wilson_interval

__all__ = [
    "KINDS",
    "PairScore",
    "SyncQuestions",
    "offset_curve",
    "pair_auc",
    "parabolic_minimum",
    "score_pairs",
    "sync_questions",
]

Floats = NDArray[np.floating]

KINDS = ("easy", "hard", "super_hard")


@dataclass(frozen=True)
class SyncQuestions:
    """Q questions of one kind. Starts are seconds from the beginning of the common time.

    Attributes:
        kind: of the wrong sound, one of ``KINDS``.
        media: (Q,) int64 recording of the picture and of the right sound.
        start_s: (Q,) float64 start of both.
        wrong_media: (Q,) int64 recording of the wrong sound.
        wrong_start_s: (Q,) float64 start of the wrong sound.
    """

    kind: str
    media: NDArray[np.int64]
    start_s: NDArray[np.float64]
    wrong_media: NDArray[np.int64]
    wrong_start_s: NDArray[np.float64]


@dataclass(frozen=True)
class PairScore:
    """Answers to questions of one kind; chance is 0.5 for both figures.

    Attributes:
        accuracy: share of right answers, a tie counts one half.
        interval: 95 % interval (low, high) of ``accuracy``.
        auc: area under the ROC curve with one distance threshold for all questions.
        n: number of questions.
    """

    accuracy: float
    interval: tuple[float, float]
    auc: float
    n: int


def sync_questions(
    durations_s: Sequence[float] | Floats,
    kind: str,
    n_questions: int,
    *,
    clip_s: float = 1.0,
    min_gap_s: float = 0.5,
    min_offset_s: float = 0.25,
    seed: int = 0,
) -> SyncQuestions:
    """Fixed questions, a pure function of the arguments; question q is about recording q mod N.

    Args:
        durations_s: (N,) common duration of picture and sound of each recording.
        kind: of the wrong sounds, one of ``KINDS``.
        n_questions: number of questions; fewer questions are a prefix of more.
        clip_s: length of a clip.
        min_gap_s: least distance of the edges of two clips of one recording (hard).
        min_offset_s: least distance of the starts (super_hard).
        seed: of the draws.

    Raises:
        ValueError: an unknown kind, or a recording too short for a question of this kind.
    """
    durations = np.asarray(durations_s, dtype=np.float64)
    nearest, farthest = _start_distances(kind, clip_s, min_gap_s, min_offset_s)
    _check_durations(durations, kind, clip_s + nearest, n_questions)
    draws = [
        _question(q, durations, kind, nearest, farthest, clip_s, seed) for q in range(n_questions)
    ]
    media, start_s, wrong_media, wrong_start_s = zip(*draws, strict=True)
    return SyncQuestions(
        kind, np.array(media), np.array(start_s), np.array(wrong_media), np.array(wrong_start_s)
    )


def score_pairs(right: Floats, wrong: Floats) -> PairScore:
    """Score questions from the distances (Q,) of the clip to its right and its wrong sound."""
    right, wrong = np.asarray(right, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    _check_distances(right, wrong)
    answers = float((right < wrong).sum() + 0.5 * (right == wrong).sum())
    n = len(right)
    return PairScore(answers / n, wilson_interval(answers, n), pair_auc(right, wrong), n)


def pair_auc(right: Floats, wrong: Floats) -> float:
    """Probability that any right pair is nearer than any wrong one, ties one half.

    Args:
        right, wrong: (P,) and (N,) distances. Source: Mann and Whitney, 1947.
    """
    ordered = np.sort(np.asarray(right, dtype=np.float64))
    nearer = np.searchsorted(ordered, wrong, side="left")
    nearer_or_tied = np.searchsorted(ordered, wrong, side="right")
    return float((nearer + nearer_or_tied).mean() / (2 * len(ordered)))


def offset_curve(video: Floats, audio: Floats) -> Floats:
    """Mean distance of a recording's windows to its sound at each offset.

    Args:
        video: (W, D) embeddings of W windows.
        audio: (W, K, D) embeddings of the sound at K offsets of each window.

    Returns:
        (K,) mean Euclidean distance.
    """
    if video.ndim != 2 or audio.ndim != 3 or (len(video), video.shape[1]) != audio.shape[::2]:
        raise ValueError(
            f"audio: got shape {audio.shape} for video of shape {video.shape}, "
            "expected (W, K, D) for (W, D)"
        )
    return np.linalg.norm(audio - video[:, None], axis=2).mean(0)


def parabolic_minimum(curve: Floats, offsets_s: Floats) -> float:
    """Offset in seconds of the smallest value of ``curve`` (K,); positive = audio late.

    Between equally spaced offsets the minimum is refined by the parabola through the smallest
    value and its two neighbours; at either end there is no parabola and the end is returned.

    Raises:
        ValueError: shapes differ, or ``offsets_s`` is not increasing in equal steps.
    """
    curve, offsets = np.asarray(curve, dtype=np.float64), np.asarray(offsets_s, dtype=np.float64)
    if curve.shape != offsets.shape or curve.ndim != 1 or len(curve) == 0:
        raise ValueError(f"offsets_s: got shape {offsets.shape} for a curve of {curve.shape}")
    steps = np.diff(offsets)
    if len(steps) and (steps.min() <= 0 or not np.allclose(steps, steps[0])):
        raise ValueError("offsets_s: expected increasing values in equal steps")
    best = int(curve.argmin())
    if best in (0, len(curve) - 1):
        return float(offsets[best])
    before, at, after = curve[best - 1 : best + 2]
    bend = before - 2 * at + after
    if bend == 0:
        return float(offsets[best])
    return float(offsets[best] + 0.5 * (before - after) / bend * steps[0])


def _start_distances(
    kind: str, clip_s: float, min_gap_s: float, min_offset_s: float
) -> tuple[float, float]:
    """Least and greatest distance of the two starts, [least, greatest)."""
    if clip_s <= 0 or min_gap_s < 0:
        raise ValueError(f"clip_s, min_gap_s: got {clip_s}, {min_gap_s}, expected > 0 and >= 0")
    if kind == "easy":
        return 0.0, 0.0
    if kind == "hard":
        return clip_s + min_gap_s, np.inf
    if kind != "super_hard":
        raise ValueError(f"kind: got {kind!r}, expected one of {KINDS}")
    if not 0 < min_offset_s < clip_s:
        raise ValueError(f"min_offset_s: got {min_offset_s}, expected between 0 and {clip_s}")
    return min_offset_s, clip_s


def _check_durations(
    durations: NDArray[np.float64], kind: str, needed_s: float, n_questions: int
) -> None:
    if n_questions < 1:
        raise ValueError(f"n_questions: got {n_questions}, expected at least 1")
    if durations.ndim != 1 or len(durations) < 1 + (kind == "easy"):
        raise ValueError(f"durations_s: got shape {durations.shape}, too few for {kind} pairs")
    if durations.min() < needed_s:
        raise ValueError(
            f"durations_s: recording {int(durations.argmin())} lasts {durations.min()} s, "
            f"{kind} pairs need {needed_s} s"
        )


def _question(
    index: int,
    durations: NDArray[np.float64],
    kind: str,
    nearest: float,
    farthest: float,
    clip_s: float,
    seed: int,
) -> tuple[int, float, int, float]:
    rng = np.random.default_rng([seed, KINDS.index(kind), index])
    media = index % len(durations)
    if kind == "easy":
        other = int((media + rng.integers(1, len(durations))) % len(durations))
        start_s = rng.uniform(0, min(durations[media], durations[other]) - clip_s)
        return media, start_s, other, start_s
    last_s = durations[media] - clip_s
    start_s = rng.uniform(0, last_s - nearest)
    wrong_start_s = rng.uniform(start_s + nearest, min(last_s, start_s + farthest))
    # Mirror half of the questions, so that the wrong sound is as often early as late.
    if rng.random() < 0.5:
        start_s, wrong_start_s = last_s - start_s, last_s - wrong_start_s
    return media, start_s, media, wrong_start_s


def _check_distances(right: Floats, wrong: Floats) -> None:
    if right.ndim != 1 or right.shape != wrong.shape or len(right) == 0:
        raise ValueError(
            f"wrong: got shape {wrong.shape} for right of {right.shape}, expected (Q,) both"
        )
    if not (np.isfinite(right).all() and np.isfinite(wrong).all()):
        raise ValueError("right, wrong: got NaN or infinity, expected finite distances")
