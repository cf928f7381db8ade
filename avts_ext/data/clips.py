"""What a clip is: its specification, its tensors, and the interface every clip source offers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from avts_ext.data.placement import Extent, PastEnd, Placement, check_past_end, place_clip
from avts_ext.data.timeline import Seconds, check_samples_present, exact_seconds, sample_window

_Source = TypeVar("_Source", bound="ClipSource")


@dataclass(frozen=True)
class ClipSpec:
    """Shape of a clip.

    Attributes:
        n_frames: frames in a clip.
        fps: frames per second, exact: an int, a Fraction or a string such as "30000/1001".
        height: frame height in pixels.
        width: frame width in pixels.
        sample_rate: samples per second of the mono waveform.
    """

    n_frames: int = 8
    fps: Fraction = Fraction(8)
    height: int = 64
    width: int = 64
    sample_rate: int = 16000

    def __post_init__(self) -> None:
        for name in ("n_frames", "height", "width", "sample_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if isinstance(self.fps, float) and not self.fps.is_integer():
            raise ValueError(
                f"fps must be exact, got the float {self.fps}: write it as a fraction, "
                'for instance "30000/1001"'
            )
        try:
            fps = Fraction(self.fps)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"fps must be a number or a fraction, got {self.fps!r}") from None
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        object.__setattr__(self, "fps", fps)

    @property
    def duration(self) -> Fraction:
        """Length in seconds, exact."""
        return self.n_frames / self.fps

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.duration)

    @property
    def n_samples(self) -> int:
        """Samples in the waveform, rounded to the nearest integer."""
        return round(self.duration * self.sample_rate)

    def frame_times(self, start: Fraction) -> list[Fraction]:
        """When each frame of a clip from `start` on is looked at."""
        first, step = start.numerator * self.fps.numerator, start.denominator * self.fps.denominator
        unit = start.denominator * self.fps.numerator
        return [Fraction(first + k * step, unit) for k in range(self.n_frames)]


@dataclass(frozen=True)
class Clip:
    """Frames and waveform of the same stretch of time. Times are seconds of the file's clock.

    Attributes:
        frames: (T, H, W, 3) uint8, RGB.
        waveform: (S,) float32 mono in [-1, 1].
        start_s: where the clip begins: what was asked for, but for the policy "shift".
        end_s: where it ends.
        frame_times_s: (T,) float64, when each frame came on display; of a clip with a frame rate,
            frame k is the one on display at `start_s + k / fps`.
        frame_ends_s: (T,) float64, when the next one took its place.
        audio_start_s: time of the first sample: the point of the sample grid nearest to `start_s`.
        audio_end_s: one sample period after the last sample.
        past_end: the policy that had to act because the request left the file; None if it did not.
        n_filled_frames: frames that stand in for missing ones, under "repeat" and "silence".
        n_filled_samples: samples that do.
    """

    frames: Tensor
    waveform: Tensor
    start_s: float
    end_s: float
    frame_times_s: Tensor
    frame_ends_s: Tensor
    audio_start_s: float
    audio_end_s: float
    past_end: PastEnd | None = None
    n_filled_frames: int = 0
    n_filled_samples: int = 0

    @property
    def audio_residual_s(self) -> float:
        """First sample minus start, at most half a sample period either way."""
        return self.audio_start_s - self.start_s


@dataclass(frozen=True)
class Pictures:
    """Frames and how long each is on display, in seconds of the file's clock.

    Attributes:
        frames: (T, H, W, 3) uint8, RGB.
        times_s: (T,) float64, when each comes on display.
        ends_s: (T,) float64, when the next one takes its place.
    """

    frames: Tensor
    times_s: Tensor
    ends_s: Tensor

    def __getitem__(self, rows: Sequence[int]) -> Pictures:
        """These rows; the tensors themselves, not copies, if `rows` are all of them in order."""
        if list(rows) == list(range(len(self.times_s))):
            return self
        index = torch.tensor(rows, dtype=torch.int64)
        return Pictures(self.frames[index], self.times_s[index], self.ends_s[index])


class ClipSource(abc.ABC):
    """Something that serves clips of one medium: the file itself or its decoded cache.

    Times are seconds of the file's clock. A request that leaves the file raises `MediaError` with
    `Fault.OUT_OF_RANGE`, unless a policy says otherwise.
    """

    path: str

    @abc.abstractmethod
    def frames_at(self, times: Sequence[Fraction], height: int, width: int) -> Pictures:
        """The frame on display at each of `times`, which ascend."""

    @abc.abstractmethod
    def onsets(self, start: Fraction, end: Fraction) -> list[Fraction]:
        """When each frame comes on display that is seen in [start, end)."""

    @abc.abstractmethod
    def samples(self, first: int, last: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples [first, last) of the grid n / sample_rate.

        Returns:
            (S,) float32, zero where the file has nothing, and (K, 2) int64, the half-open ranges
            of the grid, perhaps beyond those asked for, where it has nothing.
        """

    @abc.abstractmethod
    def extent(self, sample_rate: int) -> Extent:
        """Where there is picture, and where sound, from time zero on."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back the open file. Closing twice is allowed."""

    def read_clip(self, start_s: Seconds, spec: ClipSpec, past_end: PastEnd = "error") -> Clip:
        """Exactly `spec.n_frames` frames and `spec.n_samples` samples from `start_s` on.

        Args:
            start_s: beginning of the clip.
            spec: its shape.
            past_end: what to do if the clip does not lie within the file, see `PastEnd`.
        """
        return self.read_clips([start_s], spec, past_end)[0]

    def read_clips(
        self, starts_s: Sequence[Seconds], spec: ClipSpec, past_end: PastEnd = "error"
    ) -> list[Clip]:
        """`read_clip` for each start, in the order given; no frame is decoded twice for it."""
        check_past_end(past_end)
        extent = None if past_end == "error" else self.extent(spec.sample_rate)
        starts = [exact_seconds(start_s, "start_s") for start_s in starts_s]
        places = [place_clip(start, spec, past_end, extent, self.path) for start in starts]
        if len(places) == 1 and places[0].past_end is None:  # what follows, at once
            pictures = self.frames_at(places[0].frame_times, spec.height, spec.width)
            return [self._clip(places[0], pictures, spec.sample_rate)]
        times = sorted({time for place in places for time in place.frame_times})
        row = {time: i for i, time in enumerate(times)}
        pictures = self.frames_at(times, spec.height, spec.width)
        return [
            self._clip(place, pictures[[row[time] for time in place.frame_times]], spec.sample_rate)
            for place in places
        ]

    def read_native_clip(
        self, start_s: Seconds, duration_s: Seconds, height: int, width: int, sample_rate: int
    ) -> Clip:
        """Every frame that is seen in a stretch of time, once each, and its sound.

        The first frame may have come on display before `start_s`; the number of frames is the
        file's affair, the number of samples is round(duration_s * sample_rate).
        """
        start, duration = (
            exact_seconds(start_s, "start_s"),
            exact_seconds(duration_s, "duration_s"),
        )
        first, last = sample_window(start, duration, sample_rate)
        times = [max(onset, start) for onset in self.onsets(start, start + duration)]
        pictures = self.frames_at(times, height, width)
        # A track may announce frames that are never shown (VP8's hidden references).
        is_new = torch.diff(pictures.times_s, prepend=pictures.times_s[:1] - 1) > 0
        place = Placement(start, start + duration, times, (first, last), (first, last))
        return self._clip(place, pictures[is_new.nonzero()[:, 0].tolist()], sample_rate)

    def read_frames(self, start_s: Seconds, spec: ClipSpec) -> tuple[Tensor, Tensor]:
        """Frames (T, H, W, 3) uint8 and the times (T,) float64 in seconds they came on display."""
        times = spec.frame_times(exact_seconds(start_s, "start_s"))
        pictures = self.frames_at(times, spec.height, spec.width)
        return pictures.frames, pictures.times_s

    def read_audio(
        self, start_s: Seconds, duration_s: Seconds, sample_rate: int
    ) -> tuple[Tensor, float]:
        """Mono waveform (S,) float32 with S = round(duration_s * sample_rate).

        The second value is the time of its first sample, on the grid n / sample_rate.
        """
        first, last = sample_window(start_s, duration_s, sample_rate)
        samples, missing = self.samples(first, last, sample_rate)
        check_samples_present(self.path, missing, first, last, sample_rate)
        return torch.from_numpy(samples), first / sample_rate

    def _clip(self, place: Placement, pictures: Pictures, sample_rate: int) -> Clip:
        first, last = place.samples
        begin, end = place.samples_read
        samples, missing = self.samples(begin, end, sample_rate)
        check_samples_present(self.path, missing, begin, end, sample_rate)
        return Clip(
            frames=pictures.frames,
            waveform=torch.from_numpy(place.fill(samples)),
            start_s=float(place.start),
            end_s=float(place.end),
            frame_times_s=pictures.times_s,
            frame_ends_s=pictures.ends_s,
            audio_start_s=first / sample_rate,
            audio_end_s=last / sample_rate,
            past_end=place.past_end,
            n_filled_frames=place.n_filled_frames,
            n_filled_samples=(last - first) - (end - begin),
        )

    def __enter__(self: _Source) -> _Source:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
