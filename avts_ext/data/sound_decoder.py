"""Decoding sound from any packet on by a decoder without a past."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec import CodecContext

# Flushing these decoders, which seeking does, leaves nothing of what they have seen. The others
# keep something (AC-3 its dither), and the file has to be opened anew.
_FORGET_WHEN_FLUSHED = ("pcm_", "mp1", "mp2", "mp3", "opus", "libopus", "vorbis", "flac", "alac")


def forgets_when_flushed(codec: str) -> bool:
    """Whether a decoder that was flushed is as good as new."""
    return codec.startswith(_FORGET_WHEN_FLUSHED)


def lead(codec: str, sample_rate: int) -> Fraction:
    """How long ahead, in seconds, decoding has to begin for the output to be right."""
    if codec.startswith("mp3"):
        # A reservoir of 255 bytes at 8 kbit/s, and two frames of 72 ms.
        return Fraction(1, 2)
    if codec == "aac":
        # Two frames with overlapping windows, the first perhaps not whole; spectral band
        # replication doubles their length.
        return Fraction(3 * 2048, sample_rate)
    return Fraction(3, 10)


class FreshDecoder:
    """A decoder of AAC without a past, much cheaper than opening the file anew for one.

    AAC keeps its noise generator when flushed, but is set up by few data.

    Args:
        context: the decoder of the track.
    """

    CODEC = "aac"

    def __init__(self, context: AudioCodecContext) -> None:
        self._context = cast(AudioCodecContext, CodecContext.create(self.CODEC, "r"))
        self._context.extradata = context.extradata
        self._context.sample_rate = context.sample_rate
        self._context.layout = context.layout
        self._is_cutting = False

    def decode(self, packet: av.Packet) -> list[AudioFrame]:
        """Frames of a packet."""
        if packet.has_sidedata("skip_samples"):
            # Little-endian: samples to cut off at the beginning, and at the end.
            skip = bytes(packet.get_sidedata("skip_samples"))
            self._is_cutting = int.from_bytes(skip[:4], "little") > 0
        return self._context.decode(packet)

    def cut(self, frame: AudioFrame) -> int:
        """Samples cut off ahead of a new frame, which its time stamp does not tell here."""
        was_cutting, self._is_cutting = self._is_cutting, False
        return max(self._context.frame_size - frame.samples, 0) if was_cutting else 0
