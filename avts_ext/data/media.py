"""Clips from a media file."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
import torch

from avts_ext.data import timeline
from avts_ext.data.audio_blocks import AUDIO_BLOCK_S
from avts_ext.data.clips import Pictures
from avts_ext.data.container import frame_ticks, time_base_of
from avts_ext.data.decoded_file import DecodedFile
from avts_ext.data.extent import find_extent
from avts_ext.data.gop import Run, close_together
from avts_ext.data.media_file import Tracks
from avts_ext.data.placement import Extent
from avts_ext.data.source import ClipSource

# Codecs of one frame per packet in which frames that no other is built on can be told and left out.
_SKIPPING_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
# Frames wanted no further apart than this are read in one go, others by seeking to their key frame.
_READ_ON = Fraction(1)


class MediaReader(DecodedFile, ClipSource):
    """Clips from one media file, which stays open between requests.

    Frames become pictures as `make_picture` says. The waveform is the mean of all channels,
    resampled at exact positions of the grid n / sample_rate.

    Args:
        path: the file.
        threads: decoder threads; 1 suits data loader workers.
        tracks: what the file must have, and all that is read of it: "both", "video" or "audio".

    Raises:
        MediaError: the file cannot be opened or lacks a track.
        ValueError: `threads` is less than 1, or `tracks` is unknown.
    """

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, tracks: Tracks = "both"
    ) -> None:
        super().__init__(path, threads, tracks)
        self._extents: dict[int, Extent] = {}

    def frames_at(self, times: Sequence[Fraction], height: int, width: int) -> Pictures:
        """See `ClipSource.frames_at`."""
        time_base = time_base_of(self.video)
        limits = timeline.display_limits(times, time_base, self.origin)
        frames = np.empty((len(times), height, width, 3), np.uint8)
        spans: list[tuple[int, int]] = []
        n_wanted = 0
        for run in self._runs(limits):
            with self.decoding(times[n_wanted]):
                spans += self._show(run, frames[n_wanted:])
            n_wanted += len(run.limits)
            if len(spans) < n_wanted:
                break
        timeline.check_frames_present(self.path, len(spans), times)
        return Pictures(
            torch.from_numpy(frames),
            *(
                torch.tensor(
                    timeline.seconds_of(stamps, time_base, self.origin), dtype=torch.float64
                )
                for stamps in zip(*spans, strict=True)
            ),
        )

    def onsets(self, start: Fraction, end: Fraction) -> list[Fraction]:
        """See `ClipSource.onsets`; goes by packets, of which some may turn out not to be shown."""
        time_base = time_base_of(self.video)
        limits = timeline.display_limits([start, end], time_base, self.origin)
        packets, first_pts = self.packets_from(self.video, limits[0])
        key = next(packets, None)
        if key is None:
            return []
        run = Run(key, first_pts)
        run.read_on(packets, limits[1])
        stamps = [p.pts for p in run.packets if p.pts is not None and not p.is_discard]
        seconds = [pts * time_base - self.origin for pts in sorted(stamps)]
        return timeline.seen_between(seconds, start, end, timeline.rounding(time_base))

    def samples(self, first: int, last: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """See `ClipSource.samples`."""
        size = AUDIO_BLOCK_S * sample_rate
        parts, missing = [], []
        for index in range(first // size, (last - 1) // size + 1):
            offset = index * size
            n_needed = min(last - offset, size)
            block = self.audio_block(index, sample_rate, n_needed)
            missing.append(block.missing + offset)
            parts.append(block.samples[max(first - offset, 0) : n_needed])
        return np.concatenate(parts), np.concatenate(missing)

    def extent(self, sample_rate: int) -> Extent:
        """See `ClipSource.extent`; found by reading all packets, and remembered."""
        if sample_rate not in self._extents:
            with self.decoding(Fraction(0)):
                self._extents[sample_rate] = find_extent(self, sample_rate)
        return self._extents[sample_rate]

    def _runs(self, limits: Sequence[int]) -> Iterator[Run]:
        """Packets for frames that are wanted, decoding nothing and none of them twice."""
        run: Run | None = None
        for group in close_together(limits, math.floor(_READ_ON / time_base_of(self.video))):
            packets, first_pts = self.packets_from(self.video, group[0])
            key = next(packets, None)
            if key is None:
                break
            if run is not None and run.holds(key):
                packets = itertools.dropwhile(run.holds, packets)
            else:
                if run is not None:
                    yield run
                run = Run(key, first_pts)
            run.limits += group
            run.read_on(packets, group[-1])
        if run is not None:
            yield run

    def _show(self, run: Run, out: np.ndarray) -> list[tuple[int, int]]:
        """Put the picture for each limit of a run into `out` (T, H, W, 3).

        Returns:
            The (pts, end pts) of each, less if the run's frames end too early.
        """
        height, width = out.shape[1:3]
        wanted = run.wanted(frame_ticks(self.video))
        if wanted is not None:
            rows: dict[int, slice] = {}
            for row, (pts, _) in enumerate(wanted):
                rows[pts] = slice(rows[pts].start if pts in rows else row, row + 1)
            for pts, _, frame in self._decode_run(run, rows.keys()):
                if pts in rows:
                    out[rows.pop(pts)] = self.picture(frame, height, width)
            if not rows:
                return wanted
        # Some packets hold less than a frame (fields, hidden references): see what comes out.
        frames = timeline.frames_on_display(self._decode_run(run, None), run.limits)
        for row, (_, _, frame) in enumerate(frames):
            out[row] = self.picture(frame, height, width)
        return [(pts, end) for pts, end, _ in frames]

    def _decode_run(
        self, run: Run, wanted: Collection[int] | None
    ) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(pts, end pts, frame) in display order; if only some are wanted, perhaps few others."""
        context, packets = self.video.codec_context, run.packets
        needless: set[int | None] = set()
        if wanted is not None:
            wanted = set(wanted)  # which may change while frames are taken
            n_needed = max((i + 1 for i, p in enumerate(packets) if p.pts in wanted), default=0)
            packets = packets[:n_needed]
            if context.name in _SKIPPING_CODECS:
                needless = {packet.pts for packet in packets} - wanted

        def frames() -> Iterator[av.VideoFrame]:
            context.flush_buffers()
            try:
                for packet in packets:
                    context.skip_frame = "NONREF" if packet.pts in needless else "DEFAULT"
                    yield from self.decode(packet, context.decode)
            finally:
                context.skip_frame = "DEFAULT"
            yield from context.decode(None)

        return self.in_order(frames(), run.first_pts)
