"""Resampling onto a fixed grid of samples.

A library resampler starts its phase at the first sample it is given, so the answer would depend on
where decoding began. Here output sample j always sits at j / new_rate seconds.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from avts_ext._extension import _C

# Zero crossings of the sinc on each side, at least, and the pass band as a part of the lower
# Nyquist rate.
_ZERO_CROSSINGS = 16
_ROLLOFF = 0.94
_KAISER_BETA = 8.0
# A filter has twice as many taps as a multiple of this: whole vectors of the compiled loop.
_HALF_VECTOR = 8


def margin(old_rate: int, new_rate: int) -> int:
    """Input samples needed on each side of the stretch that is resampled."""
    if old_rate == new_rate:
        return 0
    needed = math.ceil(_ZERO_CROSSINGS * max(1.0, old_rate / new_rate) / _ROLLOFF)
    return needed + -(needed + 1) % _HALF_VECTOR


def resample(samples: np.ndarray, old_rate: int, new_rate: int, n_out: int) -> np.ndarray:
    """Band-limited interpolation at exact positions.

    Args:
        samples: float32 at `old_rate`, beginning `margin` samples ahead of output sample 0 and
            reaching `margin` + 1 samples beyond the last one.
        old_rate: samples per second of the input.
        new_rate: samples per second of the output.
        n_out: number of output samples.

    Returns:
        (n_out,) float32; output j is the signal at input position margin + j * old_rate / new_rate.
    """
    if old_rate == new_rate:
        return samples[:n_out].copy()
    out = np.empty(n_out, np.float32)
    step = old_rate // math.gcd(old_rate, new_rate)
    _C.resample(np.ascontiguousarray(samples), _filters(old_rate, new_rate), step, out)
    return out


@lru_cache(maxsize=8)
def _filters(old_rate: int, new_rate: int) -> np.ndarray:
    """(phases, taps) float32, a Kaiser-windowed sinc per fractional position, each summing to 1."""
    divisor = math.gcd(old_rate, new_rate)
    n_phases, step = new_rate // divisor, old_rate // divisor
    half = margin(old_rate, new_rate)
    fractions = (np.arange(n_phases) * step % n_phases) / n_phases
    distance = np.arange(-half, half + 2)[None, :] - fractions[:, None]
    cutoff = _ROLLOFF * min(1.0, new_rate / old_rate)
    inside = np.clip(1.0 - (distance / (half + 1)) ** 2, 0.0, None)
    taps = np.sinc(cutoff * distance) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
