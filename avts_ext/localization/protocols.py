"""How the literature scores a map of sound, each protocol under a name and a version.

Of a map and the truth of a picture, a map g in [0, 1] of where annotators saw the source:

- *consensus IoU*, cIoU = sum of g over found pixels / (sum of g + number of found pixels where
  g = 0). Source: Senocak et al., "Learning to Localize Sound Source in Visual Scenes", CVPR 2018.
- "ciou-0.5/1": share of pictures with cIoU of at least 0.5, found = above half of the maximum;
  "ciou-auc/1": area under that share over thresholds 0, 0.05, ..., 1.
- "median-ciou-0.5/1", "median-ciou-auc/1": found = above the map's median, as much published code
  does. **Half of the picture is then always found**: an object smaller than a quarter of it cannot
  score 0.5 by any map, and one that fills the picture cannot score above one half.
- "sized-ciou-0.5/1", "sized-ciou-auc/1": found = as many of the highest pixels as the truth has,
  so that neither a cautious nor a generous map gains by it. The truth helps here.
- "pointing/1": the highest pixel lies where g > 0 (Zhang et al., "Top-Down Neural Attention by
  Excitation Backprop", IJCV 2018).
- "detection-ap/2", "detection-max-f1/2": with recordings whose sound comes from nowhere in them. A
  recording is claimed when the agreement of its picture and sound (`readout.agreement`) reaches a
  threshold; a claim is right when the sound comes from the picture and the cIoU of its strongest
  map is at least 0.5. Average precision, and the greatest F1, over thresholds (after Mo and
  Morgado, "A Closer Look at Weakly-Supervised Audio-Visual Source Localization", NeurIPS 2022).
  Version 1 claimed by the height of the strongest map, which says where, not whether.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avts_ext.localization.regions import THRESHOLD

__all__ = [
    "SUCCESS",
    "MapScore",
    "consensus_iou",
    "consensus_map",
    "detection_scores",
    "score_map",
    "success_auc",
]

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

SUCCESS = 0.5


@dataclass(frozen=True)
class MapScore:
    """Scores of one map.

    Attributes:
        ciou, median_ciou, sized_ciou: consensus IoU by the three rules of what is found.
        pointing: whether its highest pixel lies on the source.
        strength: its maximum.
    """

    ciou: float
    median_ciou: float
    sized_ciou: float
    pointing: bool
    strength: float


def consensus_map(boxes: Floats, size: tuple[int, int], votes: int = 1) -> Floats:
    """Where annotators agree that the source is.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 as shares of the picture's width and height.
        size: (H, W) of the map in pixels.
        votes: so many boxes over a pixel make it certain; Flickr-SoundNet has three annotators and
            wants two, VGG-SS takes the union, one.

    Returns:
        (H, W) in [0, 1].
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if votes < 1:
        raise ValueError(f"votes: got {votes}, expected at least 1")
    height, width = size
    total = np.zeros(size)
    for x0, y0, x1, y1 in np.clip(boxes, 0, 1) * [width, height, width, height]:
        total[int(y0) : int(y1), int(x0) : int(x1)] += 1
    return np.minimum(total / votes, 1)


def consensus_iou(found: Bools, truth: Floats) -> float:
    """cIoU of the found pixels (H, W) with a truth (H, W) in [0, 1], some of it above 0."""
    known = float(truth.sum())
    if known <= 0:
        raise ValueError("truth: got nowhere a source, expected one")
    return float(truth[found].sum() / (known + (found & (truth == 0)).sum()))


def score_map(heat: Floats, truth: Floats) -> MapScore:
    """All scores of a map (H, W), higher = more likely the source, against a truth (H, W).

    A map without a positive value finds nothing.

    Raises:
        ValueError: shapes differ, values are not finite, or there is no source in the truth.
    """
    if heat.shape != truth.shape or heat.ndim != 2:
        raise ValueError(f"truth: got shape {truth.shape} for a map of {heat.shape}")
    if not np.isfinite(heat).all():
        raise ValueError("heat: got NaN or infinity, expected finite values")
    strength = float(heat.max())
    if strength <= 0:
        return MapScore(0.0, 0.0, 0.0, False, 0.0)
    ordered = np.sort(heat, axis=None)
    area = int((truth > 0).sum())
    return MapScore(
        consensus_iou(heat > THRESHOLD * strength, truth),
        consensus_iou(heat > ordered[heat.size // 2], truth),
        consensus_iou(heat >= ordered[heat.size - max(area, 1)], truth),
        bool(truth.flat[int(heat.argmax())] > 0),
        strength,
    )


def success_auc(cious: Sequence[float] | Floats) -> float:
    """Area under the share of maps that reach a cIoU, over thresholds 0, 0.05, ..., 1."""
    values = np.asarray(cious, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"cious: got shape {values.shape}, expected (N,), N at least 1")
    # Twentieths are not binary fractions: a value of exactly 0.15 must reach 0.15.
    shares = np.array([(values >= k / 20 - 1e-12).mean() for k in range(21)])
    return float(((shares[1:] + shares[:-1]) / 2).mean())


def detection_scores(confidence: Floats, right: Bools, sounding: Bools) -> tuple[float, float]:
    """Average precision and greatest F1 of claims that a picture shows the source, and where.

    Args:
        confidence: (N,) of each picture; those of at least some threshold are claimed.
        right: (N,) whether the map has found the source; False where there is none.
        sounding: (N,) whether the sound comes from the picture, at least once.

    Returns:
        Both in [0, 1]. Recall counts right claims among all pictures that sound.
    """
    if not (confidence.shape == right.shape == sounding.shape) or confidence.ndim != 1:
        raise ValueError("right, sounding: expected the shape of confidence, (N,)")
    if not sounding.any() or (right & ~sounding).any():
        raise ValueError("sounding: expected some True, and wherever right is")
    thresholds = np.unique(confidence)[::-1]
    claimed = confidence[None, :] >= thresholds[:, None]
    hits = (claimed & right).sum(1)
    precision, recall = hits / claimed.sum(1), hits / sounding.sum()
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return average, float(f1.max())
