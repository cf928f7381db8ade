"""Reading media files on one clock, the container's time stamps.

Sound and picture of a clip are placed by the time stamps of one container, as exact fractions:
stream start offsets, edit lists, encoder priming, B-frame order and variable frame rates all come
in through them. Zero is the container's zero, except in formats whose time stamps may begin
anywhere (MPEG-TS and kin), where it is the container's start time.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.stream import Disposition, Stream

from avts_ext.data import timeline
from avts_ext.data.audio_blocks import (
    AUDIO_BLOCK_S,
    AUDIO_TAIL,
    AudioBlock,
    Waves,
    make_block,
    mono,
)
from avts_ext.data.clips import ClipSource, Pictures
from avts_ext.data.container import (
    frame_ticks,
    open_container,
    origin_of,
    time_base_of,
    track_list,
)
from avts_ext.data.extent import find_extent
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.gop import Run, close_together
from avts_ext.data.picture import make_picture
from avts_ext.data.placement import Extent
from avts_ext.data.sound_decoder import FreshDecoder, forgets_when_flushed, lead

_AUDIO_BLOCKS_KEPT = 32
# Packets that tell where the grid of packets lies: enough for rounding to average out.
_ANCHOR_PACKETS = 50

# Lets demuxers skip tracks that nobody asked for. Not in PyAV 17, all there is for Python 3.10.
_DISCARD = getattr(av.stream, "Discard", None)

# PyAV finds the end of a frame's list of channels by a null that is not there beyond eight of them.
_MAX_CHANNELS = 8

# Codecs of one frame per packet in which frames that no other is built on can be told and left out.
_SKIPPING_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
# Frames wanted no further apart than this are read in one go, others by seeking to their key frame.
_READ_ON = Fraction(1)

Tracks = Literal["both", "video", "audio"]


class MediaReader(ClipSource):
    """Clips from one media file, which stays open between requests.

    Frames become pictures as `make_picture` says. The waveform is the mean of all channels,
    resampled at exact positions of the grid n / sample_rate.

    Attributes:
        container: PyAV's input container.
        origin: the container's time stamp, in seconds, at which this file's clock shows zero.
        n_decoded_frames: video frames that were decoded so far.

    Args:
        path: the file.
        threads: decoder threads; 1 suits data loader workers.
        tracks: what the file must have, and all that is read of it: "both", "video" or "audio".

    Raises:
        MediaError: the file cannot be opened or lacks a track.
        ValueError: `threads` is less than 1, or `tracks` is unknown.
    """

    container: InputContainer
    origin: Fraction
    n_decoded_frames: int

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, tracks: Tracks = "both"
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        if tracks not in get_args(Tracks):
            raise ValueError(f"tracks must be one of {get_args(Tracks)}, got {tracks!r}")
        self.path = os.fspath(path)
        self._threads = threads
        self._tracks = tracks
        self.n_decoded_frames = 0
        self._audio_blocks: dict[tuple[int, int], AudioBlock] = {}
        self._audio_anchors: dict[tuple[int, int], float] = {}
        self._extents: dict[int, Extent] = {}
        self._open()

    @property
    def video(self) -> av.VideoStream:
        """The first video stream; `MediaError` if only the sound is read."""
        if self._video is None:
            raise self.error(Fault.NO_VIDEO, "it was opened for its sound alone")
        return self._video

    @property
    def audio(self) -> av.AudioStream:
        """The first audio stream; `MediaError` if only the picture is read."""
        if self._audio is None:
            raise self.error(Fault.NO_AUDIO, "it was opened for its picture alone")
        return self._audio

    @property
    def has_video(self) -> bool:
        """Whether the picture is read."""
        return self._video is not None

    @property
    def has_audio(self) -> bool:
        """Whether the sound is read."""
        return self._audio is not None

    def close(self) -> None:
        """Close the file."""
        self.container.close()

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
        packets, first_pts = self._packets_from(self.video, limits[0])
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

    def picture(self, frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB, see `make_picture`."""
        return make_picture(frame, self._pixel_aspect, height, width)

    def rewind(self) -> None:
        """Go back to the beginning, whatever the format, with decoders that have no past."""
        self.container.close()
        self._open()

    def packets(self, *streams: Stream) -> Iterator[av.Packet]:
        """Packets of some streams from where the file stands."""
        if _DISCARD is not None:
            for stream in self.container.streams:
                stream.discard = _DISCARD.default if stream in streams else _DISCARD.all
        try:
            yield from self.container.demux(*streams)
        except IndexError:  # PyAV's answer to a track that its list of tracks does not have
            message = "a track turns up in the middle of the file"
            raise self.error(Fault.UNREADABLE, message) from None

    def decode(self, packet: av.Packet, decode: Callable[[av.Packet], list] | None = None) -> list:
        """Frames that a decoder gives back for a packet; raises if any of it is damaged.

        Args:
            packet: of one of the tracks.
            decode: the decoder; by default that of the track.
        """
        frames = decode(packet) if decode else packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            time_s = self.seconds(packet.stream, packet.pts or packet.dts or 0)
            raise self.error(Fault.DECODE, f"damaged {packet.stream.type} data at {time_s:.3f} s")
        return frames

    def frames_from(self, pts: int) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(pts, end pts, frame) in display order from the last key frame at or before `pts` on."""
        packets, first_pts = self._packets_from(self.video, pts)
        frames = itertools.chain.from_iterable(map(self.decode, packets))
        return self._in_order(frames, first_pts)

    def audio_block(self, index: int, sample_rate: int, n_needed: int | None = None) -> AudioBlock:
        """Block `index` of the waveform, at least `n_needed` samples of it; by default all.

        The last few are remembered.
        """
        key, size = (index, sample_rate), AUDIO_BLOCK_S * sample_rate
        n_needed = size if n_needed is None else n_needed
        block = self._audio_blocks.pop(key, None)
        if block is None or len(block.samples) < n_needed:
            # A clip's last block is cut short, but not for a second time.
            n_samples = n_needed if block is None else size
            with self.decoding(Fraction(index * AUDIO_BLOCK_S)):
                sound = self._decoded_sound(index, Fraction(n_samples, sample_rate))
                block = make_block(sound, sample_rate, n_samples)
            if not np.isfinite(block.samples).all():
                message = f"the audio holds NaN or infinity near {index * AUDIO_BLOCK_S} s"
                raise self.error(Fault.NOT_FINITE, message)
        self._audio_blocks[key] = block
        if len(self._audio_blocks) > _AUDIO_BLOCKS_KEPT:
            del self._audio_blocks[next(iter(self._audio_blocks))]
        return block

    def seconds(self, stream: Stream, pts: int) -> float:
        """A stream's time stamp in seconds of this file's clock."""
        return float(pts * time_base_of(stream) - self.origin)

    def error(self, fault: Fault, message: str) -> MediaError:
        """A `MediaError` about this file."""
        return MediaError(self.path, fault, message)

    @contextlib.contextmanager
    def decoding(self, at: Fraction) -> Iterator[None]:
        """Turn FFmpeg's errors into `MediaError`."""
        try:
            yield
        except av.FFmpegError as error:
            message = f"cannot be decoded at {float(at):.3f} s ({error.strerror})"
            raise self.error(Fault.DECODE, message) from None

    def _open(self) -> None:
        self.container = open_container(self.path)
        self.origin = origin_of(self.container)
        self._video: av.VideoStream | None = None
        self._audio: av.AudioStream | None = None
        try:
            if self._tracks != "audio":
                self._video = self._first_stream("video", Fault.NO_VIDEO)
                self._video.codec_context.thread_count = self._threads
                self._pixel_aspect = Fraction(self._video.sample_aspect_ratio or 1)
            if self._tracks != "video":
                self._audio = self._first_stream("audio", Fault.NO_AUDIO)
                self._audio.codec_context.thread_count = 1
        except MediaError:
            self.container.close()
            raise

    def _first_stream(self, kind: str, fault: Fault) -> Any:
        """The first stream of a kind that is not a cover picture."""
        for stream in self.container.streams:
            if stream.type == kind and not stream.disposition & Disposition.attached_pic:
                if stream.codec_context is None:
                    raise self.error(Fault.UNREADABLE, f"there is no decoder for its {kind} track")
                return stream
        raise self.error(fault, f"its tracks are: {track_list(self.container)}")

    def _packets_from(self, stream: Stream, pts: int) -> tuple[Iterator[av.Packet], int]:
        """Packets from the last key packet at or before `pts` on, and that packet's time stamp.

        If the stream begins after `pts`, from its first key packet on.
        """
        second = math.ceil(1 / time_base_of(stream))
        index, target, step = stream.index, pts, second
        while True:
            can_seek = self._seek(index, target)
            stream = self.container.streams[index]  # another object where seeking failed
            # Seeking goes by decoding order, or roughly (MPEG-TS), so it may end up too late. A
            # second ahead of the first time stamp nothing can have been missed.
            at_start = not can_seek or target <= (stream.start_time or 0) - second
            packets = self.packets(stream)
            key = next((packet for packet in packets if packet.is_keyframe), None)
            stamp = None if key is None else key.dts if key.pts is None else key.pts
            if key is not None and stamp is not None and (stamp <= pts or at_start):
                return itertools.chain([key], packets), stamp
            if at_start:
                return iter(()), pts
            target, step = target - step, 2 * step

    def _seek(self, stream_index: int, pts: int) -> bool:
        """Go to a key packet near `pts`; where a format cannot, reopen at the start: False."""
        try:
            self.container.seek(pts, stream=self.container.streams[stream_index])
        except av.FFmpegError:
            self.rewind()
            return False
        return True

    def _runs(self, limits: Sequence[int]) -> Iterator[Run]:
        """Packets for frames that are wanted, decoding nothing and none of them twice."""
        run: Run | None = None
        for group in close_together(limits, math.floor(_READ_ON / time_base_of(self.video))):
            packets, first_pts = self._packets_from(self.video, group[0])
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

        return self._in_order(frames(), run.first_pts)

    def _in_order(
        self, frames: Iterator[av.VideoFrame], first_pts: int
    ) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(pts, end pts, frame) of those that can be decoded; raises if time runs backwards."""
        last_pts: int | None = None
        for frame in frames:
            self.n_decoded_frames += 1
            if frame.pts is None:
                raise self.error(Fault.TIMESTAMPS, "a video frame has no time stamp")
            if frame.pts < first_pts:
                continue  # shown before the key frame, built on frames before it: not decodable
            if last_pts is not None and frame.pts <= last_pts:
                time_s = self.seconds(self.video, frame.pts)
                message = f"frame times do not increase at {time_s:.3f} s"
                raise self.error(Fault.TIMESTAMPS, message)
            last_pts = frame.pts
            yield frame.pts, frame.pts + (frame.duration or frame_ticks(self.video)), frame

    def _decoded_sound(self, index: int, needed: Fraction) -> Waves | None:
        """What is decoded for the first seconds of a block; None if there is no sound there."""
        start = self.origin + index * AUDIO_BLOCK_S
        context, time_base = self.audio.codec_context, time_base_of(self.audio)
        begin = start - lead(context.name, context.sample_rate)
        frames = list(
            self._audio_frames(
                begin, start + needed + AUDIO_TAIL, start + AUDIO_BLOCK_S + AUDIO_TAIL
            )
        )
        if not frames:
            return None
        rate = frames[0][2].sample_rate
        if any(frame.sample_rate != rate for *_, frame in frames):
            raise self.error(Fault.DECODE, "the audio changes its sample rate on the way")
        zero, tick = float(start * rate), float(time_base * rate)
        starts = np.array([pts * tick + cut for pts, cut, _ in frames]) - zero
        waves = [mono(frame) for *_, frame in frames]
        period = max(map(len, waves))
        grid = (self._audio_anchor(period, rate) - zero, period) if tick > 1 else None
        return Waves(starts, waves, rate, time_base, grid)

    def _audio_frames(
        self, start: Fraction, needed: Fraction, end: Fraction
    ) -> Iterator[tuple[int, int, AudioFrame]]:
        """(pts, samples to add to it, frame) from the packet at `start` on.

        Stops after the first frame that begins at or after `end`, or as soon after `needed` as what
        came then would not change the places of the samples before. All are container times.
        """
        context, time_base = self.audio.codec_context, time_base_of(self.audio)
        fresh = FreshDecoder(context) if context.name == FreshDecoder.CODEC else None
        if fresh is None and not forgets_when_flushed(context.name):
            self.rewind()
        first_pts, end_pts = math.ceil(start / time_base), math.ceil(end / time_base)
        packets, _ = self._packets_from(self.audio, first_pts)
        packets = (p for p in packets if p.pts is None or p.pts >= first_pts)
        if fresh is not None and (time_base * context.sample_rate).denominator == 1:
            packets = _enough(packets, math.ceil(needed / time_base), end_pts)
        for packet in packets:
            for frame in self.decode(packet, fresh.decode if fresh else None):
                if frame.pts is None:
                    raise self.error(Fault.TIMESTAMPS, "an audio packet has no time stamp")
                n_channels = frame.layout.nb_channels
                if n_channels > _MAX_CHANNELS:
                    message = f"{n_channels} channels of sound, at most {_MAX_CHANNELS} can be read"
                    raise self.error(Fault.DECODE, message)
                yield frame.pts, (fresh.cut(frame) if fresh else 0), frame
                if frame.pts >= end_pts:
                    return

    def _audio_anchor(self, period: int, rate: int) -> float:
        """Where, in samples of container time, packets of `period` samples begin: there, and so on.

        Judged by the first packets of the track, whose time stamps the container has rounded.
        """
        if (period, rate) not in self._audio_anchors:
            time_base = time_base_of(self.audio)
            packets, _ = self._packets_from(self.audio, self.audio.start_time or 0)
            stamps = [
                p.pts for p in itertools.islice(packets, _ANCHOR_PACKETS) if p.pts is not None
            ]
            starts = np.array(stamps) * float(time_base * rate)
            rounding = float(timeline.rounding(time_base) * rate)
            jitter = float(timeline.AUDIO_JITTER * rate)
            counts = np.full(len(starts), period)
            placed = timeline.place_samples(starts, counts, rounding, jitter)
            self._audio_anchors[period, rate] = float(placed[0])
        return self._audio_anchors[period, rate]


def _enough(packets: Iterator[av.Packet], needed_pts: int, end_pts: int) -> Iterator[av.Packet]:
    """Packets up to the first at or after `needed_pts`, if all up to `end_pts` are one signal.

    Otherwise all of them: where time stamps leave gaps, later ones have a say in where earlier
    samples belong.
    """
    found: list[av.Packet] = []
    n_enough, next_pts = None, None
    for packet in packets:
        found.append(packet)
        pts = packet.pts
        if pts is None or next_pts not in (None, pts):
            return itertools.chain(found, packets)
        if n_enough is None and pts >= needed_pts:
            n_enough = len(found)
        if pts >= end_pts:
            break
        next_pts = pts + (packet.duration or 0)
    return iter(found[:n_enough])
