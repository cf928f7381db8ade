"""The interface that whatever serves clips of a medium offers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from avts_ext.data.clips import Clip, ClipSpec, PastEnd, Pictures
from avts_ext.data.placement import Extent, Placement, check_past_end, place_clip
from avts_ext.data.timeline import Seconds, check_samples_present, exact_seconds, sample_window

_Source = TypeVar("_Source", bound="ClipSource")


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
