"""Time arithmetic, apart from decoding: which frame is on display, where a sample belongs.

Everything here is exact (integers and fractions) except where a container's own rounding has to be
undone. The reader and the decoded cache both go through these functions, hence agree.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np

from avts_ext.data.faults import Fault, MediaError

# A container that rounds time stamps to its ticks (Matroska: 1 ms) moves a frame by half a tick;
# the cap keeps coarse but exact ticks (AVI: one per frame) from being taken for rounded ones.
MAX_ROUNDING = Fraction(1, 2000)
# Time stamps of consecutive audio packets may jitter by this much and still be one signal.
AUDIO_JITTER = Fraction(2, 1000)

Seconds = float | Fraction
_Item = TypeVar("_Item")


def exact_seconds(value: Seconds, name: str) -> Fraction:
    """`value` as a fraction; raises if it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        raise TypeError(f"{name} must be a number of seconds, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return Fraction(value)


def rounding(time_base: Fraction) -> Fraction:
    """How far, in seconds, a container with this tick may have moved a time stamp."""
    return min(time_base / 2, MAX_ROUNDING)


def display_limits(times: Sequence[Fraction], time_base: Fraction, origin: Fraction) -> list[int]:
    """For each time the largest pts that is on display by then.

    Half a tick of rounding by the container is forgiven, which also absorbs the rounding of a time
    given as float64.
    """
    # Whole numbers: sums of fractions would cost as much as decoding a frame.
    shift = origin + rounding(time_base)
    a, b = shift.numerator * time_base.denominator, shift.denominator * time_base.numerator
    c = shift.denominator * time_base.denominator
    return [(time.numerator * c + time.denominator * a) // (time.denominator * b) for time in times]


def seconds_of(stamps: Iterable[int], time_base: Fraction, origin: Fraction) -> list[float]:
    """Time stamps in seconds after `origin`, each the float64 nearest to the exact value."""
    a, b = time_base.numerator * origin.denominator, origin.numerator * time_base.denominator
    c = time_base.denominator * origin.denominator
    return [(stamp * a - b) / c for stamp in stamps]


def frames_on_display(
    frames: Iterable[tuple[int, int, _Item]], limits: Sequence[int]
) -> list[tuple[int, int, _Item]]:
    """Pick for each limit the last frame whose pts does not exceed it.

    Args:
        frames: (pts, end pts, anything) in display order; read no further than needed.
        limits: ascending, from `display_limits`.

    Returns:
        One (pts, end pts, anything) per limit, where the end is the next frame's pts if there is
        a next frame; shorter than `limits` if the frames end too early, empty if the first frame
        comes after the first limit.
    """
    picked: list[tuple[int, int, _Item]] = []
    shown: tuple[int, int, _Item] | None = None
    for frame in frames:
        while len(picked) < len(limits) and frame[0] > limits[len(picked)]:
            if shown is None:
                return []
            picked.append((shown[0], frame[0], shown[2]))
        if len(picked) == len(limits):
            return picked
        shown = frame
    if shown is not None:
        picked += [shown for limit in limits[len(picked) :] if limit < shown[1]]
    return picked


def seen_between(
    onsets: Sequence[Fraction], start: Fraction, end: Fraction, slack: Fraction
) -> list[Fraction]:
    """Onsets of the frames seen in [start, end): the one on display at `start` and those after.

    Args:
        onsets: ascending, when each frame comes on display.
        start: seconds of the file's clock.
        end: likewise.
        slack: a frame that comes on display no more than this after a time is on display by then.
    """
    first = max(bisect.bisect_right(onsets, start + slack) - 1, 0)
    return [onset for onset in onsets[first:] if onset < end - slack]


def place_samples(
    starts: np.ndarray,
    counts: np.ndarray,
    rounding: float,
    jitter: float,
    grid: tuple[float, int] | None = None,
) -> np.ndarray:
    """Index of the first sample of each packet on the grid of the stream's own sample rate.

    Args:
        starts: (P,) float64, time stamps in sample periods.
        counts: (P,) samples in each packet.
        rounding: how far rounding by the container may have moved a time stamp, in sample periods.
        jitter: how far muxers are known to misplace packets of an unbroken signal, likewise.
        grid: (first, period) if packets of `period` samples begin at first + k * period, unless
            some are missing. Without it the same packet may be placed a few samples off when it is
            seen among others.

    Packets that follow each other up to rounding and jitter are one unbroken run of samples. Each
    time stamp confines the start of its run to +-rounding; the run starts in the middle of what
    they all allow, or at the median of what they say when they contradict each other.
    """
    placed = np.empty(len(starts), np.int64)
    for first, last in _runs(starts, counts, 2 * rounding + jitter):
        run = slice(first, last)
        offsets = np.cumsum(counts[run]) - counts[run]
        implied = starts[run] - offsets
        low, high = implied.max() - rounding, implied.min() + rounding
        start = (low + high) / 2 if low <= high else float(np.median(implied))
        if grid is not None and grid[1] in counts[run]:
            full = start + offsets[counts[run].tolist().index(grid[1])]
            off = (full - grid[0] + grid[1] / 2) % grid[1] - grid[1] / 2
            start -= off if abs(off) <= 2 * rounding + jitter else 0.0
        placed[run] = math.floor(start + 0.5) + offsets
    return placed


def _runs(starts: np.ndarray, counts: np.ndarray, tolerance: float) -> list[tuple[int, int]]:
    """(first, last + 1) of each stretch of packets without a jump between neighbours."""
    jumps = np.abs(np.diff(starts) - counts[:-1]) > tolerance
    borders = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(starts)]
    return list(itertools.pairwise(borders))


def missing_spans(known: np.ndarray) -> np.ndarray:
    """(K, 2) int64 half-open index ranges where the mask `known` (N,) is False."""
    edges = np.diff(np.concatenate(([True], known, [True])).astype(np.int8))
    return np.stack([np.flatnonzero(edges == -1), np.flatnonzero(edges == 1)], axis=1)


def present_after_resampling(
    known: np.ndarray, old_rate: int, new_rate: int, n_out: int
) -> np.ndarray:
    """(n_out,) bool: which output samples fall on input samples that are known.

    Input sample i lasts from i to i + 1 periods. An output sample at most half an output period
    ahead of the first known input still counts: requests are rounded to the output grid.
    """
    if known.all():
        return np.ones(n_out, bool)
    if old_rate == new_rate:
        return known[:n_out].copy()
    twice = 2 * np.arange(n_out, dtype=np.int64)
    at, shortly_after = twice * old_rate // (2 * new_rate), (twice + 1) * old_rate // (2 * new_rate)
    return known[at] | known[shortly_after]


def sample_window(start_s: Seconds, duration_s: Seconds, sample_rate: int) -> tuple[int, int]:
    """First and last + 1 index on the grid n / sample_rate of the window nearest to the request."""
    start = exact_seconds(start_s, "start_s")
    n_samples = round(exact_seconds(duration_s, "duration_s") * sample_rate)
    if n_samples < 1:
        raise ValueError(f"duration_s must span at least one sample, got {float(duration_s)}")
    first = math.floor(start * sample_rate + Fraction(1, 2))
    return first, first + n_samples


def check_frames_present(path: str, n_picked: int, times: Sequence[Fraction]) -> None:
    """Raise `MediaError` unless a frame was found for each of the times."""
    if n_picked < len(times):
        message = f"no frame is on display at {float(times[n_picked]):.3f} s"
        raise MediaError(path, Fault.OUT_OF_RANGE, message)


def check_samples_present(
    path: str, missing: np.ndarray, first: int, last: int, sample_rate: int
) -> None:
    """Raise `MediaError` if one of the `missing` (K, 2) ranges meets [first, last)."""
    for begin, end in missing.tolist():
        if begin < last and end > first:
            begin_s, end_s = max(begin, first) / sample_rate, min(end, last) / sample_rate
            message = f"there is no audio from {begin_s:.3f} to {end_s:.3f} s"
            raise MediaError(path, Fault.OUT_OF_RANGE, message)
