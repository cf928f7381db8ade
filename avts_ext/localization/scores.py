"""Does the map point at what is heard? Scores against boxes known in every frame.

Protocol "boxes/1", per scored frame:

- *on source*: the map's highest pixel lies in the box of the sounding object;
- *on silent*: it lies in the box of the silent object and not in that of the sounding one;
- *IoU*: of the pixels above ``threshold`` times the frame's maximum with the sounding box.

Boxes are xyxy in pixels, half-open: pixel (x, y) is inside when x1 <= x < x2 and y1 <= y < y2.
A frame without a visible source (an empty box) has no answer and is left out; a map without a
positive value misses everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avts_ext.evaluation.intervals import bootstrap_interval

__all__ = [
    "Estimate",
    "FrameScores",
    "LocalizationScore",
    "boxes_at",
    "near_event",
    "score_frames",
    "summarize",
]

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

# An event frame is one from which an event began up to AFTER seconds ago, or will begin within
# BEFORE seconds (a frame stands for the quarter second around it).
EVENT_FRAME_AFTER_S = 0.2
EVENT_FRAME_BEFORE_S = 0.15


@dataclass(frozen=True)
class FrameScores:
    """Scores of the K scored frames of one video.

    Attributes:
        on_source, on_silent: (K,) bool. iou: (K,) in [0, 1].
        event_frame: (K,) bool, whether an event is near.
    """

    on_source: Bools
    on_silent: Bools
    iou: Floats
    event_frame: Bools


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, videos resampled."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LocalizationScore:
    """Scores of a set of videos."""

    on_source: Estimate
    on_silent: Estimate
    iou: Estimate
    n_frames: int
    n_videos: int


def score_frames(
    maps: Floats,
    source_boxes: Floats,
    silent_boxes: Floats,
    event_frame: Bools,
    *,
    threshold: float = 0.5,
) -> FrameScores:
    """Score the maps of one video.

    Args:
        maps: (K, H, W), any scale, higher = more likely the source.
        source_boxes: (K, 4) xyxy in pixels of the map; empty where the source is hidden.
        silent_boxes: (K, 4), likewise, of the object that makes no sound.
        event_frame: (K,) bool, kept with the scores.
        threshold: share of a frame's maximum above which a pixel counts as found.

    Raises:
        ValueError: shapes do not agree, a value is not finite, or a threshold outside [0, 1).
    """
    _check_frames(maps, source_boxes, silent_boxes, event_frame, threshold)
    visible = _area(source_boxes) > 0
    scored = [
        _score_frame(*frame, threshold)
        for frame in zip(maps[visible], source_boxes[visible], silent_boxes[visible], strict=True)
    ]
    on_source, on_silent, iou = zip(*scored, strict=True) if scored else ((), (), ())
    return FrameScores(
        np.array(on_source, dtype=bool),
        np.array(on_silent, dtype=bool),
        np.array(iou, dtype=np.float64),
        np.asarray(event_frame, dtype=bool)[visible],
    )


def summarize(
    videos: Sequence[FrameScores], *, event_frames_only: bool, seed: int = 0
) -> LocalizationScore:
    """Means over all frames of all videos, or over event frames, with 95 % intervals.

    Raises:
        ValueError: not one frame to score.
    """
    chosen = [
        video.event_frame if event_frames_only else np.ones_like(video.event_frame)
        for video in videos
    ]

    def estimate(name: str) -> Estimate:
        groups = [getattr(video, name)[keep] for video, keep in zip(videos, chosen, strict=True)]
        low, high = bootstrap_interval(groups, seed=seed)
        return Estimate(float(np.mean(np.concatenate(groups))), low, high)

    return LocalizationScore(
        estimate("on_source"),
        estimate("on_silent"),
        estimate("iou"),
        n_frames=int(sum(keep.sum() for keep in chosen)),
        n_videos=sum(bool(keep.any()) for keep in chosen),
    )


def near_event(times_s: Floats, event_times_s: Floats) -> Bools:
    """Which frames at ``times_s`` (K,) are event frames, given event onsets (E,): (K,) bool."""
    since_s = np.asarray(times_s)[:, None] - np.asarray(event_times_s)[None, :]
    near = (since_s <= EVENT_FRAME_AFTER_S) & (since_s > -EVENT_FRAME_BEFORE_S)
    return np.asarray(near.any(axis=1))


def boxes_at(boxes: Floats, boxes_fps: float, times_s: Floats) -> Floats:
    """Boxes (K, 4) at ``times_s`` (K,), from boxes (F, 4) of frame i at i / ``boxes_fps``.

    Raises:
        ValueError: a time more than half a frame outside what the boxes cover.
    """
    index = np.rint(np.asarray(times_s) * boxes_fps).astype(np.int64)
    if index.size and (index.min() < 0 or index.max() >= len(boxes)):
        raise ValueError(
            f"times_s: got {np.min(times_s)} to {np.max(times_s)} s, expected times within the "
            f"{len(boxes)} boxes at {boxes_fps} per second"
        )
    return np.asarray(boxes)[index]


def _score_frame(
    heat: Floats, source: Floats, silent: Floats, threshold: float
) -> tuple[bool, bool, float]:
    peak_value = float(heat.max())
    if peak_value <= 0:
        return False, False, 0.0
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    on_source = _inside(source, int(x), int(y))
    on_silent = _inside(silent, int(x), int(y)) and not on_source
    found = heat > threshold * peak_value
    truth = _box_mask(source, heat.shape)
    return on_source, on_silent, float((found & truth).sum() / (found | truth).sum())


def _inside(box: Floats, x: int, y: int) -> bool:
    return bool(box[0] <= x < box[2] and box[1] <= y < box[3])


def _box_mask(box: Floats, shape: tuple[int, ...]) -> Bools:
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    return (columns >= box[0]) & (columns < box[2]) & (rows >= box[1]) & (rows < box[3])


def _area(boxes: Floats) -> Floats:
    boxes = np.asarray(boxes)
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def _check_frames(
    maps: Floats, source: Floats, silent: Floats, event_frame: Bools, threshold: float
) -> None:
    if maps.ndim != 3:
        raise ValueError(f"maps: got shape {maps.shape}, expected (K, H, W)")
    for name, boxes in (("source_boxes", source), ("silent_boxes", silent)):
        if boxes.shape != (len(maps), 4):
            raise ValueError(f"{name}: got shape {boxes.shape}, expected ({len(maps)}, 4)")
    if np.shape(event_frame) != (len(maps),):
        raise ValueError(f"event_frame: got {np.shape(event_frame)}, expected ({len(maps)},)")
    if not np.isfinite(maps).all():
        raise ValueError("maps: got NaN or infinity, expected finite values")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: got {threshold}, expected 0 <= threshold < 1")
