"""What this machine's decoder makes of known clips: two runs compare only if it is the same."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from fractions import Fraction
from importlib.resources import as_file, files

import av
import numpy as np

from avts_ext.data.clips import ClipSpec
from avts_ext.data.media import MediaReader

_LIBRARIES = ("libavformat", "libavcodec", "libavutil", "libswscale")
# The mp4 has B-frames and an edit list, the webm ticks of a millisecond and 48 kHz: both are cut,
# scaled and resampled.
_KNOWN_CLIPS = ("h264_aac.mp4", "vp8_opus.webm")
_SPEC = ClipSpec(n_frames=9, fps=Fraction(12), height=40, width=40, sample_rate=16000)
_START_S = Fraction(1, 8)


@functools.cache
def _fingerprint() -> tuple[tuple[str, str], ...]:
    versions = {name: ".".join(map(str, av.library_versions[name])) for name in _LIBRARIES}
    clips = {name: _hash_of_clip(name) for name in _KNOWN_CLIPS}
    return tuple({"backend": f"PyAV {av.__version__}", **versions, **clips}.items())


def decode_fingerprint() -> dict[str, str]:
    """The backend, versions of FFmpeg's libraries, and hashes of known clips by name."""
    return dict(_fingerprint())


def clips_hash() -> str:
    """One hash of how the known clips decode, 16 hexadecimal digits, whatever the versions."""
    found = decode_fingerprint()
    return _hash(*(found[name].encode() for name in _KNOWN_CLIPS))


def decoder_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is different between two fingerprints, in one line; empty if nothing is."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not names:
        return ""
    changes = ", ".join(f"{n} {before.get(n)} is now {now.get(n)}" for n in names)
    if any(name in _KNOWN_CLIPS for name in names):
        return f"the decoder gives other pictures or sound than before: {changes}"
    return f"the decoder changed, but decodes the known clips as before: {changes}"


def _hash_of_clip(name: str) -> str:
    with (
        as_file(files("avts_ext.data") / "known_clips" / name) as path,
        MediaReader(path) as reader,
    ):
        clip = reader.read_clip(_START_S, _SPEC)
    # Sound as 16 bit integers: the last bits of floats differ between processors.
    sound = (clip.waveform.numpy() * 2.0**15).round().astype("<i2")
    return _hash(np.ascontiguousarray(clip.frames.numpy()).tobytes(), sound.tobytes())


def _hash(*parts: bytes) -> str:
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()
