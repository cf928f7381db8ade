"""Confidence intervals for rates and means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_interval", "wilson_interval"]

CONFIDENCE = 0.95


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """95 % interval of a rate from independent yes/no answers.

    Args:
        successes: number of yes answers in [0, n]; a tie may count one half.
        n: number of answers, at least 1.

    Returns:
        (low, high), inside [0, 1]. Source: Wilson, JASA 22 (1927); unlike the normal
        approximation it stays sensible at rates of 0 and 1.

    Raises:
        ValueError: ``n`` or ``successes`` out of range.
    """
    if n < 1:
        raise ValueError(f"n: got {n}, expected at least 1")
    if not 0 <= successes <= n:
        raise ValueError(f"successes: got {successes}, expected between 0 and n = {n}")
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding must not push an end past the rate itself, which is an end at 0 and at n.
    return min(rate, max(0.0, (centre - half) / scale)), max(
        rate, min(1.0, (centre + half) / scale)
    )


def bootstrap_interval(
    groups: Sequence[NDArray[np.generic]], *, seed: int = 0, draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of the mean over all values, when values of one group hang together.

    Frames of one video are not independent, so whole groups are drawn with replacement.

    Args:
        groups: one 1-D array of values per group; empty groups carry no value and are ignored.
        seed: of the resampling.
        draws: number of resampled sets.

    Returns:
        (low, high), percentiles of the resampled means.

    Raises:
        ValueError: no value at all.
    """
    filled = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if not filled:
        raise ValueError("groups: got no value, expected at least one")
    sums = np.array([group.sum() for group in filled])
    counts = np.array([len(group) for group in filled])
    picks = np.random.default_rng(seed).integers(len(filled), size=(draws, len(filled)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)
