"""The sound of a file in blocks of fixed length, each decoded by itself.

What a decoder puts out may depend on its past (AAC draws its noise bands from a running generator),
and a clip must not depend on what was read before it: so every block is decoded from a fixed packet
on by a decoder without a past.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame

from avts_ext.data import timeline
from avts_ext.data.resample import margin, resample

# Short enough not to decode much more than a clip needs, long enough to spend little on the lead.
AUDIO_BLOCK_S = 1
# Decoding ends a little behind a block, for the resampling filter.
AUDIO_TAIL = Fraction(1, 20)

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


@dataclass(frozen=True)
class AudioBlock:
    """Block number i begins at sample i * AUDIO_BLOCK_S * sample_rate of the grid n / sample_rate.

    Attributes:
        samples: (N,) float32 mono, zero where missing; a whole block has N = AUDIO_BLOCK_S *
            sample_rate, one that is cut short has fewer.
        missing: (K, 2) int64 half-open ranges of samples that the file does not have.
        is_last: True if the file holds no audio after this block, which must be a whole one.
    """

    samples: np.ndarray
    missing: np.ndarray
    is_last: bool

    @property
    def is_empty(self) -> bool:
        """True if the file has none of these samples."""
        return self.missing.tolist() == [[0, len(self.samples)]]


@dataclass(frozen=True)
class Waves:
    """Decoded packets, at least one, all of one sample rate.

    Attributes:
        starts: (P,) float64, time stamp of the first sample of each, in sample periods after the
            block's beginning.
        waves: (S,) float32 mono of each.
        rate: samples per second.
        time_base: seconds per tick of the time stamps.
        grid: (first, period) if packets of `period` samples are known to begin at first + k *
            period, in the unit of `starts`, as long as none is missing.
    """

    starts: np.ndarray
    waves: list[np.ndarray]
    rate: int
    time_base: Fraction
    grid: tuple[float, int] | None = None


def make_block(sound: Waves | None, sample_rate: int, n_out: int) -> AudioBlock:
    """The first `n_out` samples of a block out of what was decoded for them; None is silence.

    A sample that is not finite stays in, for the caller to find.
    """
    if sound is None:
        return AudioBlock(np.zeros(n_out, np.float32), np.array([[0, n_out]]), is_last=True)
    rate, pad = sound.rate, margin(sound.rate, sample_rate)
    native = np.zeros(-(-n_out * rate // sample_rate) + 2 * pad + 2, np.float32)
    known = np.zeros(len(native), bool)
    counts = np.array([len(wave) for wave in sound.waves])
    rounding = float(timeline.rounding(sound.time_base) * rate)
    jitter = float(timeline.AUDIO_JITTER * rate)
    placed = pad + timeline.place_samples(sound.starts, counts, rounding, jitter, sound.grid)
    for first, wave in zip(placed.tolist(), sound.waves, strict=True):
        part = slice(max(first, 0), max(first + len(wave), 0))
        native[part] = wave[max(-first, 0) :][: len(native[part])]
        known[part] = True
    samples = resample(native, rate, sample_rate, n_out)
    present = timeline.present_after_resampling(known[pad:], rate, sample_rate, n_out)
    samples[~present] = 0
    # If there is more sound, the last frame reaches beyond the block: decoding went on past it.
    is_last = placed[-1] + len(sound.waves[-1]) <= pad + AUDIO_BLOCK_S * rate
    return AudioBlock(samples, timeline.missing_spans(present), bool(is_last))


def mono(frame: AudioFrame) -> np.ndarray:
    """(S,) float32: the mean of the channels, integer formats scaled to [-1, 1]."""
    if frame.format.name == "fltp":  # what nearly all decoders give; `to_ndarray` would copy twice
        first, *others = (
            np.frombuffer(memoryview(p), np.float32, frame.samples) for p in frame.planes
        )
        total = first.copy()
        for plane in others:
            total += plane
        return total / np.float32(len(frame.planes)) if others else total
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    samples = samples.astype(np.float32, copy=False)
    sample_format = frame.format.packed.name
    if sample_format in _FULL_SCALE:
        samples = (samples - 128.0 * (sample_format == "u8")) / _FULL_SCALE[sample_format]
    return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
