"""Encodes a picture and a sound as one MP4 file, H.264 and AAC."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np

# One thread and the bit-exact flags: the same input gives the same bytes.
_BIT_EXACT = {"flags": "+bitexact", "threads": "1"}
# High quality, because grain must not smear. Macroblock-tree rate control is off: with B-frames,
# its choices at the beginning of a file depend on uninitialised memory, seen in x264 165.
_VIDEO_OPTIONS = _BIT_EXACT | {"preset": "veryfast", "crf": "20", "bf": "2", "mbtree": "0"}
# Perceptual noise substitution would replace noise by other noise, anew at each decoding.
_AUDIO_OPTIONS = _BIT_EXACT | {"aac_pns": "0", "aac_coder": "fast"}
_AUDIO_BIT_RATE = 96_000
_AAC_FRAME = 1024


def encode_mp4(
    frames: Iterable[np.ndarray], fps: Fraction | int, waveform: np.ndarray, sample_rate: int
) -> bytes:
    """Encode a video whose picture and sound both begin at time zero.

    Args:
        frames: at least one (H, W, 3) uint8 RGB, H and W even; frame f is on display in
            [f, f + 1) / fps.
        fps: Frames per second.
        waveform: (S,) float mono in [-1, 1]; sample n is at n / sample_rate.
        sample_rate: Samples per second, one that AAC knows.

    Returns:
        The content of the file: the same bytes for the same arguments.

    Raises:
        ValueError: No frame.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise ValueError("frames: got none, expected at least one")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps, options=_VIDEO_OPTIONS)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.gop_size = max(1, round(fps))  # a key frame a second keeps random access cheap
        audio = container.add_stream("aac", rate=sample_rate, layout="mono", options=_AUDIO_OPTIONS)
        audio.bit_rate = _AUDIO_BIT_RATE
        container.mux(_encode_video(video, itertools.chain([first], rest), fps))
        container.mux(_encode_audio(audio, waveform, sample_rate))
    return buffer.getvalue()


def _encode_video(
    stream: av.VideoStream, frames: Iterable[np.ndarray], fps: Fraction | int
) -> list[av.Packet]:
    packets = []
    for index, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, 1 / Fraction(fps)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _encode_audio(
    stream: av.AudioStream, waveform: np.ndarray, sample_rate: int
) -> list[av.Packet]:
    samples = np.asarray(waveform, dtype=np.float32)
    packets = []
    for start in range(0, len(samples), _AAC_FRAME):
        part = np.ascontiguousarray(samples[None, start : start + _AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate = sample_rate
        frame.pts, frame.time_base = start, Fraction(1, sample_rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)
