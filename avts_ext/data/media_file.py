"""A media file on one clock: its tracks, and their packets from any moment on.

Sound and picture are placed by the time stamps of one container, as exact fractions: stream start
offsets, edit lists, encoder priming, B-frame order and variable frame rates all come in through
them. Zero is the container's zero, except in formats whose time stamps may begin anywhere (MPEG-TS
and kin), where it is the container's start time.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Literal, get_args

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from avts_ext.data.container import open_container, origin_of, time_base_of, track_list
from avts_ext.data.faults import Fault, MediaError

# Lets demuxers skip tracks that nobody asked for. Not in PyAV 17, all there is for Python 3.10.
_DISCARD = getattr(av.stream, "Discard", None)

Tracks = Literal["both", "video", "audio"]


class MediaFile:
    """An open file with the tracks that were asked for.

    Attributes:
        path: the file.
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

    path: str
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

    def packets_from(self, stream: Stream, pts: int) -> tuple[Iterator[av.Packet], int]:
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

    def _seek(self, stream_index: int, pts: int) -> bool:
        """Go to a key packet near `pts`; where a format cannot, reopen at the start: False."""
        try:
            self.container.seek(pts, stream=self.container.streams[stream_index])
        except av.FFmpegError:
            self.rewind()
            return False
        return True
