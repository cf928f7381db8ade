"""What the packets of a file decode to: frames in display order, and sound in blocks."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame

from avts_ext.data import timeline
from avts_ext.data.audio_blocks import (
    AUDIO_BLOCK_S,
    AUDIO_TAIL,
    AudioBlock,
    Waves,
    make_block,
    mono,
)
from avts_ext.data.container import frame_ticks, time_base_of
from avts_ext.data.faults import Fault
from avts_ext.data.media_file import MediaFile, Tracks
from avts_ext.data.picture import make_picture
from avts_ext.data.sound_decoder import FreshDecoder, forgets_when_flushed, lead

_AUDIO_BLOCKS_KEPT = 32
# Packets that tell where the grid of packets lies: enough for rounding to average out.
_ANCHOR_PACKETS = 50

# PyAV finds the end of a frame's list of channels by a null that is not there beyond eight of them.
_MAX_CHANNELS = 8


class DecodedFile(MediaFile):
    """A file whose frames and sound are decoded; arguments and errors as of `MediaFile`.

    Attributes:
        n_decoded_frames: video frames that were decoded so far.
    """

    n_decoded_frames: int

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, tracks: Tracks = "both"
    ) -> None:
        super().__init__(path, threads, tracks)
        self.n_decoded_frames = 0
        self._audio_blocks: dict[tuple[int, int], AudioBlock] = {}
        self._audio_anchors: dict[tuple[int, int], float] = {}
        self._pixel_aspect = Fraction((self.has_video and self.video.sample_aspect_ratio) or 1)

    def frames_from(self, pts: int) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(pts, end pts, frame) in display order from the last key frame at or before `pts` on."""
        packets, first_pts = self.packets_from(self.video, pts)
        frames = itertools.chain.from_iterable(map(self.decode, packets))
        return self.in_order(frames, first_pts)

    def in_order(
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

    def picture(self, frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB, see `make_picture`."""
        return make_picture(frame, self._pixel_aspect, height, width)

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
        packets, _ = self.packets_from(self.audio, first_pts)
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
            packets, _ = self.packets_from(self.audio, self.audio.start_time or 0)
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
