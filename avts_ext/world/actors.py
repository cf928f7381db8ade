"""The two objects of a scene: their look, and where and how they are in every frame.

A frame f is on display during [f, f + 1) / FPS. Motion is sampled at the middle of that interval,
and an event inside the interval has already happened: **an event at time e is first visible in
frame floor(e * FPS)**.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from avts_ext.world.scene import CLASSES, FPS, N_FRAMES, SIZE_PX, Concern, Scene

EVENT_DECAY_S = 0.18
_MIDDLES_S = (np.arange(N_FRAMES) + 0.5) / FPS
_ENDS_S = (np.arange(N_FRAMES) + 1.0) / FPS


@dataclass(frozen=True)
class Look:
    """The constant appearance of an object: half-size in pixels, colours in [0, 1]."""

    shape: str
    half_px: float
    bright_rgb: np.ndarray
    dark_rgb: np.ndarray
    stripe_rate: float | None


@dataclass(frozen=True)
class Track:
    """The changing state of an object, (F,) float64 each.

    Attributes:
        x_px: Horizontal centre in scene coordinates; 0 is the centre of the leftmost pixel.
        y_px: Vertical centre, downwards.
        scale: Factor on the half-size.
        aspect: Horizontal stretch; the vertical one is its inverse.
        angle_rad: Rotation.
        whiteness: 0 = own colours, 1 = white.
    """

    x_px: np.ndarray
    y_px: np.ndarray
    scale: np.ndarray
    aspect: np.ndarray
    angle_rad: np.ndarray
    whiteness: np.ndarray


@dataclass(frozen=True)
class Actor:
    """An object with its look and its track."""

    look: Look
    track: Track


def draw_actors(scene: Scene) -> tuple[Actor, Actor]:
    """The source and the silent object of a scene, in this order."""
    source_place, silent_place = _draw_places(scene.rng(Concern.PLACES))
    source = Actor(
        _draw_look(scene.rng(Concern.SOURCE_LOOK), scene.label),
        _event_track(
            scene.rng(Concern.SOURCE_MOTION), scene.label, source_place, scene.event_times_s
        ),
    )
    silent_rng = scene.rng(Concern.SILENT_MOTION)
    if scene.kind == "duet":
        silent_track = _event_track(
            silent_rng, scene.silent_label, silent_place, scene.silent_event_times_s
        )
    else:
        silent_track = _smooth_track(silent_rng, silent_place)
    return source, Actor(
        _draw_look(scene.rng(Concern.SILENT_LOOK), scene.silent_label), silent_track
    )


def _draw_places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    while True:
        source, silent = rng.uniform(14, SIZE_PX - 14, 2), rng.uniform(12, SIZE_PX - 12, 2)
        if np.hypot(*(source - silent)) > 22:
            return source, silent


def _draw_look(rng: np.random.Generator, label: int) -> Look:
    spec = CLASSES[label]
    half_px = rng.uniform(7, 10)
    hue = (spec.hue + rng.normal() * 0.04) % 1
    bright = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.6, 1), rng.uniform(0.65, 1)))
    dark = bright * rng.uniform(0.25, 0.45)
    stripe_rate = rng.uniform(5, 7) if spec.striped else None
    return Look(spec.shape, half_px, bright, dark, stripe_rate)


def _smooth_track(rng: np.random.Generator, place: np.ndarray) -> Track:
    # Moves as much as the source does, but nothing happens to it at any particular time.
    t = _MIDDLES_S
    amplitude = rng.uniform(5, 12, 2)
    rate_hz, phase = rng.uniform(0.15, 0.6, 2), rng.uniform(0, 2 * np.pi, 2)
    x, y = np.clip(_sway(place, amplitude, rate_hz, phase), 6, SIZE_PX - 6)
    breath = 1 + 0.15 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * t + rng.uniform(0, 6))
    angle = rng.normal() * 0.25 + 0.3 * np.sin(2 * np.pi * 0.3 * t)
    return Track(x, y, breath, np.ones(N_FRAMES), angle, np.zeros(N_FRAMES))


def _event_track(
    rng: np.random.Generator, label: int, place: np.ndarray, event_times_s: np.ndarray
) -> Track:
    drift, phase = rng.uniform(-4, 4, 2), rng.uniform(0, 2 * np.pi, 2)
    x, y = _sway(place, drift, rng.uniform(0.1, 0.3, 2), phase)
    angle = np.full(N_FRAMES, rng.normal() * 0.25)
    scale, aspect = np.ones(N_FRAMES), np.ones(N_FRAMES)
    excitement = event_excitement(event_times_s)
    whiteness = 0.4 * excitement
    motion = CLASSES[label].motion
    if motion == "bounce":
        y = y + _bounce_px(event_times_s)
    elif motion == "pulse":
        scale = 0.85 + 0.55 * excitement
    elif motion == "flash":
        whiteness = whiteness + 0.6 * excitement
    elif motion == "jerk":
        direction = rng.uniform(0, 2 * np.pi)
        side = np.where(np.searchsorted(event_times_s, _ENDS_S) % 2, 5.0, -5.0)
        x, y = x + side * np.cos(direction), y + side * np.sin(direction)
    elif motion == "squash":
        aspect = np.exp(0.55 * excitement * rng.choice([-1, 1]))
    x, y = np.clip(x, 5, SIZE_PX - 5), np.clip(y, 5, SIZE_PX - 5)
    return Track(x, y, scale, aspect, angle, np.minimum(whiteness, 0.95))


def _sway(
    place: np.ndarray, amplitude: np.ndarray, rate_hz: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    return place[:, None] + amplitude[:, None] * np.sin(
        2 * np.pi * rate_hz[:, None] * _MIDDLES_S + phase[:, None]
    )


def event_excitement(event_times_s: np.ndarray) -> np.ndarray:
    """How recent the last visible event is, (F,): 1 at an event, falling with EVENT_DECAY_S.

    An event that falls into the second half of a frame's display interval, after the moment at
    which motion is sampled, counts as happening at that moment.
    """
    last = np.searchsorted(event_times_s, _ENDS_S) - 1
    age_s = np.maximum(_MIDDLES_S - event_times_s[last], 0)
    return np.where(last >= 0, np.exp(-age_s / EVENT_DECAY_S), 0.0)


def _bounce_px(event_times_s: np.ndarray) -> np.ndarray:
    # A parabola between two impacts; the impacts are the events. At most 8 px high: an object that
    # leaves the place of its own impact cannot be told from one that was never there.
    impacts_s = np.concatenate([[event_times_s[0] - 0.6], event_times_s, [event_times_s[-1] + 0.6]])
    flight = np.clip(np.searchsorted(impacts_s, _MIDDLES_S) - 1, 0, len(impacts_s) - 2)
    gap_s = np.diff(impacts_s)[flight]
    u = np.clip((_MIDDLES_S - impacts_s[flight]) / gap_s, 0, 1)
    return 4 - np.minimum(12 * gap_s, 8) * 4 * u * (1 - u)
