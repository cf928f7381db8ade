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
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.reformatter import VideoReformatter
from torch import Tensor

from avts_ext.data import timeline
from avts_ext.data.clips import ClipSource, ClipSpec, Seconds
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.resample import margin, resample

# Audio is decoded in blocks of this length, each by a fresh decoder from a fixed packet on: what a
# decoder puts out may depend on its past (AAC draws its noise bands from a running generator), and
# a clip must not depend on what was read before it.
AUDIO_BLOCK_S = 4
# Decoding begins this much ahead of a block, for overlapped windows and bit reservoirs to settle,
# and ends a little behind it, for the resampling filter.
_AUDIO_LEAD = Fraction(3, 10)
_AUDIO_TAIL = Fraction(1, 10)
_AUDIO_BLOCKS_KEPT = 8

# PyAV finds the end of a frame's list of channels by a null that is not there beyond eight of them.
_MAX_CHANNELS = 8

_AVFMT_TS_DISCONT = 0x0200  # FFmpeg's flag of formats whose time stamps begin anywhere

# PyAV before 19 refuses files whose tags are not UTF-8 unless told otherwise; 19 takes them as is.
_PYAV_MAJOR = int(av.__version__.split(".")[0])
_OPEN_OPTIONS: Any = {"metadata_errors": "replace"} if _PYAV_MAJOR < 19 else {}

Tracks = Literal["both", "video", "audio"]

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


@dataclass(frozen=True)
class AudioBlock:
    """Block number i holds samples [i * N, (i + 1) * N) of the grid n / sample_rate.

    Attributes:
        samples: (N,) float32 mono with N = AUDIO_BLOCK_S * sample_rate, zero where missing.
        missing: (K, 2) int64 half-open ranges of samples that the file does not have.
        is_last: True if the file holds no audio after this block.
    """

    samples: np.ndarray
    missing: np.ndarray
    is_last: bool

    @property
    def is_empty(self) -> bool:
        """True if the file has none of these samples."""
        return self.missing.tolist() == [[0, len(self.samples)]]


class MediaReader(ClipSource):
    """Clips from one media file, which stays open between requests.

    Frames are scaled in one swscale pass so that they cover height x width, keeping their
    proportions, and what hangs over is cut off equally on both sides. The waveform is the mean of
    all channels, resampled at exact positions of the grid n / sample_rate.

    Attributes:
        container: PyAV's input container.
        origin: the container's time stamp, in seconds, at which this file's clock shows zero.

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
        self._reformatter = VideoReformatter()
        self._audio_blocks: dict[tuple[int, int], AudioBlock] = {}
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

    def read_frames(self, start_s: Seconds, spec: ClipSpec) -> tuple[Tensor, Tensor]:
        """See `ClipSource.read_frames`."""
        start = timeline.exact_seconds(start_s, "start_s")
        time_base = time_base_of(self.video)
        limits = timeline.display_limits(start, spec, time_base, self.origin)
        with self.decoding(start):
            picked = timeline.frames_on_display(self.frames_from(limits[0]), limits)
            timeline.check_frames_present(self.path, len(picked), start, spec)
            pictures = {pts: self.picture(frame, spec.height, spec.width) for pts, frame in picked}
        frames = np.stack([pictures[pts] for pts, _ in picked])
        times_s = [float(pts * time_base - self.origin) for pts, _ in picked]
        return torch.from_numpy(frames), torch.tensor(times_s, dtype=torch.float64)

    def read_audio(
        self, start_s: Seconds, duration_s: Seconds, sample_rate: int
    ) -> tuple[Tensor, float]:
        """See `ClipSource.read_audio`."""
        first, last = timeline.sample_window(start_s, duration_s, sample_rate)
        size = AUDIO_BLOCK_S * sample_rate
        parts = []
        for index in range(first // size, (last - 1) // size + 1):
            block, offset = self.audio_block(index, sample_rate), index * size
            missing = block.missing + offset
            timeline.check_samples_present(self.path, missing, first, last, sample_rate)
            parts.append(block.samples[max(first - offset, 0) : last - offset])
        return torch.from_numpy(np.concatenate(parts)), first / sample_rate

    def picture(self, frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB: scaled to cover, then cut centrally."""
        scale = max(Fraction(height, frame.height), Fraction(width, frame.width))
        scaled_height = max(height, round(frame.height * scale))
        scaled_width = max(width, round(frame.width * scale))
        scaled = self._reformatter.reformat(
            frame, width=scaled_width, height=scaled_height, format="rgb24", threads=1
        )
        top, left = (scaled_height - height) // 2, (scaled_width - width) // 2
        return scaled.to_ndarray()[top : top + height, left : left + width]

    def packets(self, *streams: Stream) -> Iterator[av.Packet]:
        """Packets of some streams from where the file stands."""
        try:
            yield from self.container.demux(*streams)
        except IndexError:  # PyAV's answer to a track that its list of tracks does not have
            message = "a track turns up in the middle of the file"
            raise self.error(Fault.UNREADABLE, message) from None

    def decode(self, packet: av.Packet) -> list:
        """Frames that the decoder gives back for a packet; raises if any of it is damaged."""
        frames = packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            time_s = self.seconds(packet.stream, packet.pts or packet.dts or 0)
            raise self.error(Fault.DECODE, f"damaged {packet.stream.type} data at {time_s:.3f} s")
        return frames

    def frames_from(self, pts: int) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(pts, end pts, frame) in display order from the last key frame at or before `pts` on."""
        packets, first_pts = self._packets_from(self.video, pts)
        last_pts: int | None = None
        for frame in itertools.chain.from_iterable(map(self.decode, packets)):
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

    def audio_block(self, index: int, sample_rate: int) -> AudioBlock:
        """Block `index` of the waveform; the last few are remembered."""
        key = (index, sample_rate)
        if key not in self._audio_blocks:
            if len(self._audio_blocks) == _AUDIO_BLOCKS_KEPT:
                del self._audio_blocks[next(iter(self._audio_blocks))]
            with self.decoding(Fraction(index * AUDIO_BLOCK_S)):
                self._audio_blocks[key] = self._decode_block(index, sample_rate)
        return self._audio_blocks[key]

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
        self._video: av.VideoStream | None = None
        self._audio: av.AudioStream | None = None
        try:
            if self._tracks != "audio":
                self._video = self._first_stream("video", Fault.NO_VIDEO)
                self._video.codec_context.thread_count = self._threads
            if self._tracks != "video":
                self._audio = self._first_stream("audio", Fault.NO_AUDIO)
                self._audio.codec_context.thread_count = 1
        except MediaError:
            self.container.close()
            raise
        starts_anywhere = self.container.format.flags & _AVFMT_TS_DISCONT
        start_time = self.container.start_time or 0 if starts_anywhere else 0
        self.origin = Fraction(start_time, av.time_base)
        self._audio_decoder_is_fresh = True

    def _reopen(self) -> None:
        self.container.close()
        self._open()

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
            self._reopen()
            return False
        return True

    def _audio_frames(self, start: Fraction, end: Fraction) -> Iterator[tuple[int, AudioFrame]]:
        """(pts, frame) from a fresh decoder fed from the packet at `start` on.

        Stops after the first frame that begins at or after `end`. Both are container times.
        """
        if not self._audio_decoder_is_fresh:
            self._reopen()
        time_base = time_base_of(self.audio)
        first_pts, end_pts = math.ceil(start / time_base), math.ceil(end / time_base)
        packets, _ = self._packets_from(self.audio, first_pts)
        self._audio_decoder_is_fresh = False
        for packet in packets:
            if packet.pts is not None and packet.pts < first_pts:
                continue
            for frame in self.decode(packet):
                if frame.pts is None:
                    raise self.error(Fault.TIMESTAMPS, "an audio packet has no time stamp")
                n_channels = frame.layout.nb_channels
                if n_channels > _MAX_CHANNELS:
                    message = f"{n_channels} channels of sound, at most {_MAX_CHANNELS} can be read"
                    raise self.error(Fault.DECODE, message)
                yield frame.pts, frame
                if frame.pts >= end_pts:
                    return

    def _decode_block(self, index: int, sample_rate: int) -> AudioBlock:
        start = self.origin + index * AUDIO_BLOCK_S
        end = start + AUDIO_BLOCK_S + _AUDIO_TAIL
        frames = list(self._audio_frames(start - _AUDIO_LEAD, end))
        n_out = AUDIO_BLOCK_S * sample_rate
        if not frames:
            return AudioBlock(np.zeros(n_out, np.float32), np.array([[0, n_out]]), is_last=True)
        native_rate = frames[0][1].sample_rate
        if any(frame.sample_rate != native_rate for _, frame in frames):
            raise self.error(Fault.DECODE, "the audio changes its sample rate on the way")
        pad = margin(native_rate, sample_rate)
        native = np.zeros(AUDIO_BLOCK_S * native_rate + 2 * pad + 2, np.float32)
        known = np.zeros(len(native), bool)
        waves = [mono(frame) for _, frame in frames]
        placed = self._place(frames, waves, start - Fraction(pad, native_rate), native_rate)
        for first, wave in zip(placed.tolist(), waves, strict=True):
            part = slice(max(first, 0), max(first + len(wave), 0))
            native[part] = wave[max(-first, 0) :][: len(native[part])]
            known[part] = True
        if not np.isfinite(native).all():
            message = f"the audio holds NaN or infinity near {index * AUDIO_BLOCK_S} s"
            raise self.error(Fault.NOT_FINITE, message)
        samples = resample(native, native_rate, sample_rate, n_out)
        present = timeline.present_after_resampling(known[pad:], native_rate, sample_rate, n_out)
        samples[~present] = 0
        # If there is more sound, the last frame reaches beyond the block: decoding went on past it.
        is_last = placed[-1] + len(waves[-1]) <= pad + AUDIO_BLOCK_S * native_rate
        return AudioBlock(samples, timeline.missing_spans(present), bool(is_last))

    def _place(
        self,
        frames: list[tuple[int, AudioFrame]],
        waves: list[np.ndarray],
        zero: Fraction,
        native_rate: int,
    ) -> np.ndarray:
        """Index of the first sample of each wave, counted from the container time `zero`."""
        time_base = time_base_of(self.audio)
        tick, zero_in_samples = float(time_base * native_rate), float(zero * native_rate)
        return timeline.place_samples(
            np.array([pts for pts, _ in frames]) * tick - zero_in_samples,
            np.array([len(wave) for wave in waves]),
            float(timeline.rounding(time_base) * native_rate),
            float(timeline.AUDIO_JITTER * native_rate),
        )


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise `MediaError` unless this is a regular file with something in it."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise MediaError(path, Fault.UNREADABLE, str(error.strerror)) from None
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, Fault.UNREADABLE, "it is not a regular file")
    if status.st_size == 0:
        raise MediaError(path, Fault.UNREADABLE, "the file is empty")


def open_container(path: str) -> InputContainer:
    """Open a media file, or say in a `MediaError` why that is impossible."""
    check_file(path)
    try:
        # An absolute path cannot be mistaken for a protocol name followed by a colon.
        return av.open(os.path.abspath(path), **_OPEN_OPTIONS)
    except av.FFmpegError as error:
        message = f"it cannot be opened as a media file ({error.strerror})"
        raise MediaError(path, Fault.UNREADABLE, message) from None


def track_list(container: InputContainer) -> str:
    """What a container holds, for messages."""
    return ", ".join(stream.type for stream in container.streams) or "none"


def time_base_of(stream: Stream) -> Fraction:
    """Seconds per tick of a stream's time stamps."""
    return Fraction(stream.time_base or Fraction(1, av.time_base))


def frame_ticks(stream: av.VideoStream) -> int:
    """Nominal time between frames, in ticks: the length of a frame that does not say its own."""
    rate = stream.average_rate or stream.guessed_rate
    return max(1, round(1 / (rate * time_base_of(stream)))) if rate else 1


def mono(frame: AudioFrame) -> np.ndarray:
    """(S,) float32: the mean of the channels, integer formats scaled to [-1, 1]."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    samples = samples.astype(np.float32, copy=False)
    sample_format = frame.format.packed.name
    if sample_format in _FULL_SCALE:
        samples = (samples - 128.0 * (sample_format == "u8")) / _FULL_SCALE[sample_format]
    return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
