"""Where a clip lies in its file, and what is done about one that runs past an end of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

import numpy as np

from avts_ext.data.clips import ClipSpec, PastEnd
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.timeline import sample_window


@dataclass(frozen=True)
class Extent:
    """Where a file has picture and sound, in seconds of its clock, from time zero on.

    Attributes:
        video: when the first frame comes on display and when the last one vanishes.
        video_last: a moment at which the last frame is on display.
        audio: first and last + 1 sample of the grid n / sample_rate.
    """

    video: tuple[Fraction, Fraction]
    video_last: Fraction
    audio: tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """What is read for a clip.

    Attributes:
        start: of the clip, seconds of the file's clock.
        end: of the clip.
        frame_times: when its frames are looked at; under "repeat" these need not ascend.
        samples: first and last + 1 sample of the clip.
        samples_read: those of them that are read from the file.
        past_end: the policy that acted, if one did.
        n_filled_frames: frames that stand in for others.
    """

    start: Fraction
    end: Fraction
    frame_times: list[Fraction]
    samples: tuple[int, int]
    samples_read: tuple[int, int]
    past_end: PastEnd | None = None
    n_filled_frames: int = 0

    def fill(self, read: np.ndarray) -> np.ndarray:
        """The waveform of the clip out of the samples that were read."""
        if self.samples == self.samples_read:
            return read
        (first, last), (begin, end) = self.samples, self.samples_read
        if self.past_end == "repeat":
            return read[(np.arange(first, last) - begin) % len(read)]
        return np.pad(read, (begin - first, last - end))


def check_past_end(past_end: str) -> None:
    """Raise `ValueError` for an unknown policy."""
    if past_end not in get_args(PastEnd):
        raise ValueError(f"past_end must be one of {get_args(PastEnd)}, got {past_end!r}")


def place_clip(
    start: Fraction, spec: ClipSpec, past_end: PastEnd, extent: Extent | None, path: str
) -> Placement:
    """Where to read a clip.

    Args:
        start: asked for, seconds of the file's clock.
        spec: shape of the clip.
        past_end: what to do if it does not lie in the file.
        extent: of the file, on the grid of `spec.sample_rate`; None under "error", where reading
            will tell.
        path: of the file, for messages.

    Raises:
        MediaError: the policy has nothing to work with.
    """
    placed = _as_asked(start, spec)
    if extent is None or _is_inside(placed, extent):
        return placed
    if past_end == "shift":
        return _shifted(start, spec, extent, path)
    first, last = placed.samples
    video_first = math.ceil(extent.video[0] * spec.sample_rate)
    video_last = math.floor(extent.video[1] * spec.sample_rate)
    begin = max(first, extent.audio[0], video_first)
    end = min(last, extent.audio[1], video_last)
    if begin >= end:
        raise _outside(start, spec, path, "nothing of it lies within sound and picture")
    if past_end == "repeat":
        return _repeated(placed, begin, end, spec, extent)
    return _silenced(placed, extent)


def _as_asked(start: Fraction, spec: ClipSpec) -> Placement:
    window = sample_window(start, spec.duration, spec.sample_rate)
    return Placement(start, start + spec.duration, spec.frame_times(start), window, window)


def _is_inside(placed: Placement, extent: Extent) -> bool:
    (first, last), (begin, end) = placed.samples, extent.audio
    times = placed.frame_times
    has_picture = extent.video[0] <= times[0] and times[-1] <= extent.video_last
    return has_picture and begin <= first and last <= end


def _shifted(start: Fraction, spec: ClipSpec, extent: Extent, path: str) -> Placement:
    rate, (begin, end) = spec.sample_rate, extent.audio
    earliest = max(extent.video[0], Fraction(begin, rate))
    latest = min(extent.video[1] - spec.duration, Fraction(end - spec.n_samples, rate))
    if latest < earliest:
        raise _outside(start, spec, path, "the file has less than that of sound and picture")
    moved = _as_asked(min(max(start, earliest), latest), spec)
    return Placement(
        moved.start, moved.end, moved.frame_times, moved.samples, moved.samples, "shift"
    )


def _repeated(placed: Placement, begin: int, end: int, spec: ClipSpec, extent: Extent) -> Placement:
    # The period is whole samples long, so that the sound can be repeated exactly. The first sample
    # may lie half a sample after the time it was asked for.
    low, period = (
        Fraction(2 * begin - 1, 2 * spec.sample_rate),
        Fraction(end - begin, spec.sample_rate),
    )
    times = [low + (time - low) % period for time in placed.frame_times]
    n_filled = sum(a != b for a, b in zip(times, placed.frame_times, strict=True))
    times = _within(times, extent)
    window = placed.samples
    return Placement(placed.start, placed.end, times, window, (begin, end), "repeat", n_filled)


def _silenced(placed: Placement, extent: Extent) -> Placement:
    (first, last), (begin, end) = placed.samples, extent.audio
    times = _within(placed.frame_times, extent)
    n_filled = sum(a != b for a, b in zip(times, placed.frame_times, strict=True))
    read = (max(first, begin), min(last, end))
    return Placement(placed.start, placed.end, times, placed.samples, read, "silence", n_filled)


def _within(times: list[Fraction], extent: Extent) -> list[Fraction]:
    return [min(max(time, extent.video[0]), extent.video_last) for time in times]


def _outside(start: Fraction, spec: ClipSpec, path: str, why: str) -> MediaError:
    message = f"no clip of {spec.duration_s} s at {float(start):.3f} s: {why}"
    return MediaError(path, Fault.OUT_OF_RANGE, message)
