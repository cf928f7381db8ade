"""What a clip is: its specification and its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

# What is done about a clip that runs past an end of its file. "error": a `MediaError`. "shift": the
# clip is moved by the least that brings it into the file. "repeat": what the file has of the clip
# is repeated in both directions, sound and picture together, which so stay in sync. "silence": the
# picture stands still and the sound is zero.
PastEnd = Literal["error", "shift", "repeat", "silence"]


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
