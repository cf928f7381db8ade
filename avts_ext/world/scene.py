"""What happens in a video of the world: classes, event times, and who is seen and heard.

Everything is a pure function of (seed, index). Each concern draws from a generator of its own, so
that one more draw for, say, the background never moves an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

import numpy as np

# Raise this when any pixel, sample or true value of any video changes.
WORLD_VERSION = 2

DURATION_S = 6.0
FPS = 16
N_FRAMES = 96
SIZE_PX = 64
SAMPLE_RATE = 16000
N_SAMPLES = 96000

SceneKind = Literal["solo", "duet"]
SCENE_KINDS: tuple[SceneKind, ...] = get_args(SceneKind)

# Events of the two objects of a duet are at least this far apart: more than one frame at 8 fps.
DUET_SEPARATION_S = 0.15


@dataclass(frozen=True)
class ClassSpec:
    """How one class looks, moves at an event, and sounds."""

    shape: str
    hue: float
    striped: bool
    motion: str
    timbre: str


# Each hue belongs to two classes, each motion to two, and no column follows from another: the
# sound of a class can only be learned from hearing it while seeing it.
CLASSES: tuple[ClassSpec, ...] = (
    ClassSpec("disc", 0.0, False, "bounce", "sine"),
    ClassSpec("square", 0.2, False, "flash", "vibrato"),
    ClassSpec("triangle", 0.4, False, "squash", "pluck"),
    ClassSpec("diamond", 0.6, False, "pulse", "flutter"),
    ClassSpec("plus", 0.8, False, "jerk", "chirp_up"),
    ClassSpec("ring", 0.0, True, "pulse", "bell"),
    ClassSpec("star", 0.2, True, "jerk", "gated"),
    ClassSpec("bar", 0.4, True, "bounce", "fm"),
    ClassSpec("crescent", 0.6, True, "flash", "thud"),
    ClassSpec("dumbbell", 0.8, True, "squash", "chirp_down"),
)


class Concern(IntEnum):
    """The independent streams of random numbers of one video. Values are part of the format."""

    LABELS = 0
    EVENTS = 1
    PLACES = 2
    SOURCE_LOOK = 3
    SOURCE_MOTION = 4
    SILENT_LOOK = 5
    SILENT_MOTION = 6
    BACKDROP = 7
    CAMERA = 8
    LIGHT = 9
    VOICE = 10
    REVERB = 11
    NOISE = 12
    OFF_SCREEN = 13
    LEVEL = 14


@dataclass(frozen=True, eq=False)
class Scene:
    """The plot of one video.

    Attributes:
        seed: Seed of the world.
        index: Number of the video in the world.
        kind: "solo" (one object shows events and is heard, another moves smoothly) or "duet" (both
            objects show events, at different times; only the source is heard).
        label: Class of the source, the object that is heard; ``index % 10``.
        silent_label: Class of the other object, never equal to `label`.
        event_times_s: (E,) float64, times of the source's events, each seen and heard.
        silent_event_times_s: (E',) float64, times of the other object's events, seen but never
            heard; empty in a solo.
    """

    seed: int
    index: int
    kind: SceneKind
    label: int
    silent_label: int
    event_times_s: np.ndarray
    silent_event_times_s: np.ndarray

    def rng(self, concern: Concern) -> np.random.Generator:
        """A fresh generator for one concern of this video, always at its beginning."""
        return np.random.default_rng([self.seed, self.index, int(concern)])


def draw_scene(seed: int, index: int, kind: SceneKind = "solo") -> Scene:
    """Decide what happens in video `index` of the world with this seed."""
    label = index % len(CLASSES)
    labels_rng = np.random.default_rng([seed, index, int(Concern.LABELS)])
    silent_label = (label + int(labels_rng.integers(1, len(CLASSES)))) % len(CLASSES)
    events_rng = np.random.default_rng([seed, index, int(Concern.EVENTS)])
    event_times_s, silent_event_times_s = _draw_event_times(events_rng), np.empty(0)
    if kind == "duet":
        event_times_s, silent_event_times_s = _draw_separate_event_times(events_rng)
    return Scene(seed, index, kind, label, silent_label, event_times_s, silent_event_times_s)


def _draw_event_times(rng: np.random.Generator) -> np.ndarray:
    # Sparse on purpose: with dense events their timing alone would identify every clip.
    times_s = []
    time_s = rng.uniform(0.05, 0.8)
    while time_s < DURATION_S - 0.05:
        times_s.append(time_s)
        time_s += rng.uniform(0.5, 1.2)
    return np.array(times_s)


def _draw_separate_event_times(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    # Both are drawn again until they fit: the pair has a symmetric law, so that nothing in the
    # timing of the picture alone tells the heard object from the other.
    while True:
        first, second = _draw_event_times(rng), _draw_event_times(rng)
        if np.abs(first[:, None] - second[None, :]).min() >= DUET_SEPARATION_S:
            return first, second
