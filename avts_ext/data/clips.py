"""What a clip is: its specification, its tensors, and the interface every clip source offers."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TypeVar

from torch import Tensor

Seconds = float | Fraction
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


@dataclass(frozen=True)
class Clip:
    """Frames and waveform of the same stretch of time.

    Attributes:
        frames: (T, H, W, 3) uint8, RGB.
        waveform: (S,) float32 mono in [-1, 1].
        start_s: the start asked for, in seconds of the file's clock.
        frame_times_s: (T,) float64, when each frame came on display; frame k is the one on display
            at `start_s + k / fps`.
        audio_start_s: time of the first sample: the point of the sample grid nearest to `start_s`.
    """

    frames: Tensor
    waveform: Tensor
    start_s: float
    frame_times_s: Tensor
    audio_start_s: float

    @property
    def audio_residual_s(self) -> float:
        """First sample minus requested start, at most half a sample period either way."""
        return self.audio_start_s - self.start_s


class ClipSource(abc.ABC):
    """Something that serves clips of one media file: the file itself or its decoded cache.

    Times are seconds of the file's clock. A request that leaves the file raises `MediaError` with
    `Fault.OUT_OF_RANGE`.
    """

    path: str

    @abc.abstractmethod
    def read_frames(self, start_s: Seconds, spec: ClipSpec) -> tuple[Tensor, Tensor]:
        """Frames (T, H, W, 3) uint8 and the times (T,) float64 in seconds they came on display."""

    @abc.abstractmethod
    def read_audio(
        self, start_s: Seconds, duration_s: Seconds, sample_rate: int
    ) -> tuple[Tensor, float]:
        """Mono waveform (S,) float32 with S = round(duration_s * sample_rate).

        The second value is the time of its first sample, on the grid n / sample_rate.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give back the open file. Closing twice is allowed."""

    def read_clip(self, start_s: Seconds, spec: ClipSpec) -> Clip:
        """Exactly `spec.n_frames` frames and `spec.n_samples` samples from `start_s` on."""
        frames, frame_times_s = self.read_frames(start_s, spec)
        waveform, audio_start_s = self.read_audio(start_s, spec.duration, spec.sample_rate)
        return Clip(frames, waveform, float(start_s), frame_times_s, audio_start_s)

    def __enter__(self: _Source) -> _Source:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
