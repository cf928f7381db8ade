"""From distances between windows of picture and of sound to an offset in seconds.

**Sign: positive = audio late**: the sound that belongs to the picture at t is found at t + offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avts_ext.sync_report.windows import STEPS_PER_WINDOW, Windows

__all__ = ["OffsetEstimate", "estimate_offset", "lag_distances", "mean_curve"]

Floats = NDArray[np.floating]

# The parabola is fitted to the minimum and so many values on either side.
_PARABOLA_STEPS = 3
# Another valley is one at least this far from the lowest.
_ANOTHER_VALLEY_STEPS = 8
# Below this share of the windows an offset is judged by too few of them.
_LEAST_SHARE = 0.2


@dataclass(frozen=True)
class OffsetEstimate:
    """What one curve of mean distance over offset says.

    Attributes:
        offset_s: positive = audio late.
        distance: mean distance of picture and sound at the minimum: how near they come at all.
        lead: how far the minimum lies below the lowest point elsewhere, in standard deviations of
            the curve elsewhere.
        at_edge: the lowest value is at the end of the range: the offset may be larger.
    """

    offset_s: float
    distance: float
    lead: float
    at_edge: bool


def lag_distances(windows: Windows, max_steps: int) -> Floats:
    """Distance of every window of picture to the sound around it.

    Args:
        windows: of a file.
        max_steps: largest offset, in steps of the windows of sound.

    Returns:
        (V, 2 * max_steps + 1) float32; column ``max_steps + k`` is the sound k steps later than
        the picture. NaN where there is no such window.
    """
    n_video, n_audio = len(windows.video), len(windows.audio)
    lags = np.arange(-max_steps, max_steps + 1)
    distances = np.full((n_video, len(lags)), np.nan, np.float32)
    for row in range(n_video):
        partners = row * STEPS_PER_WINDOW + lags
        inside = (partners >= 0) & (partners < n_audio)
        sounds = windows.audio[partners[inside]]
        distances[row, inside] = np.linalg.norm(sounds - windows.video[row], axis=1)
    return distances


def mean_curve(distances: Floats) -> Floats:
    """(K,) mean distance at each lag; NaN where less than a fifth of the windows have a partner.

    Each window counts relative to its own mean: some are nearer to all sound than others, and
    those at the ends of a file do not take part at every lag.
    """
    present = np.isfinite(distances)
    centred = np.where(present, distances, 0)
    own = centred.sum(1, keepdims=True) / np.maximum(present.sum(1, keepdims=True), 1)
    total = np.where(present, distances - own, 0).sum(0)
    enough = present.sum(0) >= max(1, _LEAST_SHARE * len(distances))
    return np.where(enough, total / np.maximum(present.sum(0), 1), np.nan)


def estimate_offset(distances: Floats, step_s: float) -> OffsetEstimate:
    """The offset at which a file's windows are nearest to its sound, finer than the steps.

    Args:
        distances: (V, 2 K + 1) from `lag_distances`.
        step_s: seconds between its columns.

    Raises:
        ValueError: no window has a partner.
    """
    curve = mean_curve(distances)
    known = np.flatnonzero(np.isfinite(curve))
    if len(known) == 0:
        raise ValueError("distances: got no finite value, expected at least one")
    best = int(known[curve[known].argmin()])
    far = curve[known[abs(known - best) >= _ANOTHER_VALLEY_STEPS]]
    spread = float(far.std()) if len(far) else 0.0
    at_edge = best in (known[0], known[-1])
    shift = 0.0 if at_edge else _parabola_shift(curve, best)
    return OffsetEstimate(
        offset_s=(best - len(curve) // 2 + shift) * step_s,
        distance=float(np.nanmean(distances[:, best])),
        lead=float(far.min() - curve[best]) / spread if spread > 0 else 0.0,
        at_edge=bool(at_edge),
    )


def _parabola_shift(curve: Floats, best: int) -> float:
    """Minimum of the least-squares parabola around ``best``, in steps from it."""
    near = np.arange(max(best - _PARABOLA_STEPS, 0), min(best + _PARABOLA_STEPS + 1, len(curve)))
    near = near[np.isfinite(curve[near])]
    bend, slope, _ = np.polyfit(near - best, curve[near], 2)
    return float(np.clip(-slope / (2 * bend), -1, 1)) if bend > 0 else 0.0
