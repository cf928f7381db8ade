"""Random integers as a pure function of what they are for."""

from __future__ import annotations

import numpy as np

_VALIDATION = 4  # keeps this draw apart from others
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hash64(*keys: int | np.ndarray) -> np.ndarray:
    """Uniform uint64 numbers, one per combination of the broadcast integer keys.

    Each key goes through the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            word = np.asarray(key).astype(np.uint64)
            state = _mixed((state ^ word) + _INCREMENT)
    return state


def validation_draws(media_ids: np.ndarray) -> np.ndarray:
    """(N,) float64 in [0, 1): media that draw less than the validation share are not trained on."""
    return (hash64(_VALIDATION, media_ids) >> np.uint64(11)) / 2.0**53


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
