"""What listening to a file and watching it tells: silence, a picture that stands still, damage."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import av
import numpy as np

from avts_ext.data.audio_blocks import AUDIO_BLOCK_S
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.media import MediaReader
from avts_ext.data.media_file import Tracks
from avts_ext.data.probe import AudioInfo, MediaInfo, probe_open
from avts_ext.data.spans import Span, merge, subtract, total_s

# Sound is silent where no sample of a window passes -60 dBFS.
SILENCE_LEVEL = 1e-3
_WINDOWS_PER_S = 10
# Shorter pauses belong to the sound: speech and steps are full of them.
SHORTEST_SILENCE_S = 1.0

# A picture moves when a pixel of its thumbnail leaves its first value by more than coding noise.
_THUMBNAIL = 32
_COUNTS_AS_MOVED = 8
# Frames out of order do not show before the first B-frames.
_FEWEST_FRAMES = 8
# One frame alone has no duration but what its container makes up.
_FEWEST_FRAMES_OF_USE = 1.5


@dataclass(frozen=True)
class Examination:
    """What is known of a file after it was decoded. Times are seconds of the file's clock.

    Attributes:
        info: what the file holds.
        silence_share: part of its sound in silent stretches of at least `SHORTEST_SILENCE_S`, of
            0 to 1; None if it was not listened to.
        is_static: whether its picture never changes; None if it was not watched.
        damaged_s: (begin, end) of the stretches that cannot be decoded.
        usable_s: (begin, end) of the stretches of at least one frame that hold all that was asked
            for, are not damaged and, where synchrony is to be learned, not silent.
    """

    info: MediaInfo
    silence_share: float | None
    is_static: bool | None
    damaged_s: tuple[Span, ...]
    usable_s: tuple[Span, ...]

    @property
    def fault(self) -> tuple[Fault, str] | None:
        """Why this file is of no use though it can be read, if so.

        Silence and a still picture teach nothing of synchrony, but do not hinder whoever asks for
        one track alone.
        """
        video = self.info.video
        if video is not None and self.info.duration_s * video.fps < _FEWEST_FRAMES_OF_USE:
            return Fault.TOO_SHORT, f"its tracks last {self.info.duration_s:.3f} s together"
        has_both = self.info.audio is not None and self.info.video is not None
        if has_both and self.silence_share == 1.0:
            return Fault.SILENT, "no sample passes -60 dBFS"
        if has_both and self.is_static:
            return Fault.STATIC, "its picture never changes"
        if not self.usable_s:
            message = "what is neither damaged nor silent is shorter than a frame"
            return (Fault.DECODE if self.damaged_s else Fault.TOO_SHORT), message
        return None


def examine(
    path: str | os.PathLike[str], tracks: Tracks = "both", every_frame: bool = False
) -> Examination:
    """Listen to all of a file's sound, and watch its picture until it moves.

    Args:
        path: the file.
        tracks: what the file must have, and all that is examined: "both", "video" or "audio".
        every_frame: watch to the end, which finds all damage but takes several times as long.

    Raises:
        MediaError: the file is unusable; its `fault` says why.
    """
    with MediaReader(path, tracks=tracks) as reader:
        info = probe_open(reader)
        sound = _listen(reader, info.audio) if info.audio else _Sound(None, [], [], [])
    picture = _watch(path, every_frame) if info.video else _Picture(None, [])
    joint = [(info.start_s, info.end_s)]
    damaged = sound.damaged_s + picture.damaged_s
    silent = sound.silent_s if info.video else []
    usable = subtract(joint, sound.missing_s + silent + damaged)
    shortest_s = 1 / info.video.fps if info.video else 0.0
    return Examination(
        info=info,
        silence_share=sound.silence_share,
        is_static=picture.is_static,
        damaged_s=tuple(subtract(joint, subtract(joint, damaged))),
        usable_s=tuple((begin, end) for begin, end in usable if end - begin >= shortest_s),
    )


@dataclass(frozen=True)
class _Sound:
    silence_share: float | None
    missing_s: list[Span]
    silent_s: list[Span]
    damaged_s: list[Span]


@dataclass(frozen=True)
class _Picture:
    is_static: bool | None
    damaged_s: list[Span]


def _listen(reader: MediaReader, audio: AudioInfo) -> _Sound:
    """Decode all sound, in the very blocks in which clips will be read."""
    rate, missing, quiet, damaged = audio.sample_rate, [], [], []
    edges = np.arange(AUDIO_BLOCK_S * _WINDOWS_PER_S) * rate // _WINDOWS_PER_S
    first, last = (math.floor(t / AUDIO_BLOCK_S) for t in (audio.start_s, audio.end_s))
    for index in range(first, last + 1):
        begin_s = float(index * AUDIO_BLOCK_S)
        try:
            block = reader.audio_block(index, rate)
        except MediaError:
            damaged.append((begin_s, begin_s + AUDIO_BLOCK_S))
            continue
        missing += [(begin_s + a / rate, begin_s + b / rate) for a, b in block.missing.tolist()]
        loudest = np.maximum.reduceat(np.abs(block.samples), edges)
        starts = begin_s + np.flatnonzero(loudest <= SILENCE_LEVEL) / _WINDOWS_PER_S
        quiet += [(start, start + 1 / _WINDOWS_PER_S) for start in starts.tolist()]
    heard = subtract([(audio.start_s, audio.end_s)], missing + damaged)
    loud = subtract(heard, merge(quiet, gap_s=1e-6))
    silent = [s for s in subtract(heard, loud) if s[1] - s[0] >= SHORTEST_SILENCE_S - 1e-6]
    share = total_s(silent) / total_s(heard) if heard else 0.0
    return _Sound(share, missing, silent, damaged)


def _watch(path: str | os.PathLike[str], every_frame: bool) -> _Picture:
    """Decode frames until one differs from the first, or all of them.

    Where one cannot be decoded, all that is built on the same key frame counts as damaged.
    """
    damaged, moves, first, n_frames = [], False, None, 0
    last_pts, key_s, is_broken = -math.inf, -math.inf, False
    with MediaReader(path, tracks="video") as reader:
        for packet in reader.packets(reader.video):
            if packet.is_keyframe:
                stamp = packet.dts if packet.pts is None else packet.pts
                before_s, key_s = key_s, reader.seconds(reader.video, stamp or 0)
                if is_broken:
                    damaged.append((before_s, key_s))
                    is_broken = False
            elif is_broken:
                continue
            try:
                frames = reader.decode(packet)
            except (MediaError, av.FFmpegError):
                reader.video.codec_context.flush_buffers()
                is_broken = True
                continue
            for frame in frames:
                if frame.pts is None or frame.pts <= last_pts:
                    raise reader.error(Fault.TIMESTAMPS, "its frames have no time stamps in order")
                last_pts, n_frames = frame.pts, n_frames + 1
                thumbnail = reader.picture(frame, _THUMBNAIL, _THUMBNAIL).astype(np.int16)
                first = thumbnail if first is None else first
                moves = moves or bool(np.abs(thumbnail - first).max() > _COUNTS_AS_MOVED)
            if moves and n_frames >= _FEWEST_FRAMES and not every_frame:
                break
    if is_broken:
        damaged.append((key_s, math.inf))
    return _Picture(is_static=n_frames > 0 and not moves, damaged_s=damaged)
