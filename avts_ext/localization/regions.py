"""What a map says in numbers: its peak, and boxes around what exceeds a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["THRESHOLD", "Region", "regions"]

Floats = NDArray[np.floating]

# Share of a map's maximum up to which activations are filtered out.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Region:
    """A connected part of a map above the threshold.

    Attributes:
        box: x0, y0, x1, y1 in pixels; pixel i spans [i, i + 1).
        peak: x, y of its highest pixel.
        value: the map there.
    """

    box: tuple[int, int, int, int]
    peak: tuple[int, int]
    value: float


def regions(heat: Floats, threshold: float = THRESHOLD) -> list[Region]:
    """The parts of a map (H, W) above ``threshold`` times its maximum, highest peak first.

    Pixels that touch, also at a corner, are of one part. A map without a positive value has none.

    Raises:
        ValueError: not (H, W), or a threshold outside [0, 1).
    """
    if heat.ndim != 2:
        raise ValueError(f"heat: got shape {heat.shape}, expected (H, W)")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: got {threshold}, expected 0 <= threshold < 1")
    top = float(heat.max())
    if top <= 0:
        return []
    labels, _ = ndimage.label(heat > threshold * top, structure=np.ones((3, 3)))
    found = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        inside = np.where(labels[rows, columns] == label, heat[rows, columns], -np.inf)
        y, x = np.unravel_index(int(inside.argmax()), inside.shape)
        found.append(
            Region(
                (columns.start, rows.start, columns.stop, rows.stop),
                (columns.start + int(x), rows.start + int(y)),
                float(inside.max()),
            )
        )
    return sorted(found, key=lambda region: -region.value)
