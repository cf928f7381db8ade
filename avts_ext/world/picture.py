"""Renders the picture of a scene: frames, and the boxes of its two objects."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from avts_ext.world.actors import Actor, draw_actors
from avts_ext.world.scene import N_FRAMES, SIZE_PX, Concern, Scene

_CAMERA_RANGE_PX = 3
_BACKDROP_PX = SIZE_PX + 2 * (_CAMERA_RANGE_PX + 1)
# No shape reaches farther from its centre than this, in units of its half-size.
_SHAPE_RADIUS = 1.27

_Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def render_picture(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render all frames of a scene.

    Returns:
        frames: (F, 64, 64, 3) uint8 RGB.
        source_box: (F, 4) float32, x0 y0 x1 y1 in pixels, of the object that is heard: the edges of
            the pixels it covers by at least half, even where the other object hides them; pixel i
            spans [i, i + 1). All zero in a frame without such a pixel.
        silent_box: (F, 4) float32, the same for the other object.
    """
    source, silent = draw_actors(scene)
    camera = _draw_camera(scene.rng(Concern.CAMERA))
    frames = _view(_draw_backdrop(scene.rng(Concern.BACKDROP)), camera)
    light = scene.rng(Concern.LIGHT)
    if light.uniform() < 0.5:
        silent_box = paint(frames, silent, camera)
        source_box = paint(frames, source, camera)
    else:
        source_box = paint(frames, source, camera)
        silent_box = paint(frames, silent, camera)
    return _expose(frames, light), source_box, silent_box


def _draw_camera(rng: np.random.Generator) -> np.ndarray:
    """A random walk in whole pixels, (F, 2) as x, y."""
    walk = np.cumsum(rng.normal(size=(N_FRAMES, 2)) * 0.4 / np.sqrt(2), axis=0)
    walk = np.round(walk - walk.mean(axis=0))
    return np.clip(walk, -_CAMERA_RANGE_PX, _CAMERA_RANGE_PX).astype(np.int64)


def _draw_backdrop(rng: np.random.Generator) -> np.ndarray:
    colour = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.15, 0.6))
    coarse = rng.normal(size=(5, 5, 3))
    clouds = np.einsum("xj,yjc->yxc", _CUBIC, np.einsum("yi,ijc->yjc", _CUBIC, coarse))
    grain = rng.normal(size=(_BACKDROP_PX, _BACKDROP_PX, 3))
    return (np.array(colour) + 0.08 * clouds + 0.03 * grain).astype(np.float32)


def _cubic_weights(n_out: int, n_in: int) -> np.ndarray:
    """Matrix (n_out, n_in) of Catmull-Rom interpolation between the first and last knot."""
    position = np.linspace(0, n_in - 1, n_out)
    weights = np.zeros((n_out, n_in))
    for tap in range(-1, 3):
        knot = np.floor(position).astype(int) + tap
        d = np.abs(position - knot)
        near = 1.5 * d**3 - 2.5 * d**2 + 1
        far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        np.add.at(
            weights,
            (np.arange(n_out), np.clip(knot, 0, n_in - 1)),
            np.where(d <= 1, near, np.where(d < 2, far, 0.0)),
        )
    return weights


_CUBIC = _cubic_weights(_BACKDROP_PX, 5)


def _view(backdrop: np.ndarray, camera: np.ndarray) -> np.ndarray:
    frames = np.empty((N_FRAMES, SIZE_PX, SIZE_PX, 3), np.float32)
    for frame, (x, y) in zip(frames, camera + _CAMERA_RANGE_PX + 1, strict=True):
        frame[:] = backdrop[y : y + SIZE_PX, x : x + SIZE_PX]
    return frames


def _expose(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lamp flicker and fixed sensor grain; in place on `frames`, returned as uint8."""
    flicker = 1 + 0.04 * rng.normal(size=(N_FRAMES, 1, 1, 1))
    grain = 0.01 * rng.normal(size=(SIZE_PX, SIZE_PX, 1))
    frames *= flicker.astype(np.float32)
    np.clip(frames, 0, 1, out=frames)
    frames += grain.astype(np.float32)
    np.clip(frames, 0, 1, out=frames)
    frames *= 255
    frames += 0.5
    return frames.astype(np.uint8)


def paint(frames: np.ndarray, actor: Actor, camera: np.ndarray) -> np.ndarray:
    """Paint an actor over float32 frames, in place, and return its (F, 4) boxes.

    Only a square window around the actor is computed, in every frame at once.
    """
    look, track = actor.look, actor.track
    centre = np.stack([track.x_px, track.y_px], axis=1) - camera
    radius_px = look.half_px * track.scale * np.maximum(track.aspect, 1 / track.aspect)
    reach = int(np.ceil(radius_px.max() * _SHAPE_RADIUS)) + 2
    corner = np.floor(centre).astype(np.int64) - reach
    coverage, colour = _draw_windows(actor, corner - centre, 2 * reach + 1)
    for frame, alpha, rgb, (x, y) in zip(frames, coverage, colour, corner, strict=True):
        seen, window = _overlap(x, y, len(alpha))
        under = frame[seen]
        under += alpha[window][..., None] * (rgb[window] - under)
    return _boxes(coverage >= 0.5, corner)


def _overlap(x: int, y: int, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns shared by the picture and a window at (x, y), in the terms of each."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = max(min(x + size, SIZE_PX), x0), max(min(y + size, SIZE_PX), y0)
    seen = (slice(y0, y1), slice(x0, x1))
    return seen, (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def _draw_windows(actor: Actor, offset: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (F, size, size) and colour (F, size, size, 3) of an actor around its centre."""
    look, track = actor.look, actor.track

    def per_frame(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[:, None, None]

    pixels = np.arange(size, dtype=np.float32)
    half = per_frame(look.half_px * track.scale)
    aspect = per_frame(track.aspect)
    dx = (pixels[None, None, :] + per_frame(offset[:, 0])) / (half * aspect)
    dy = (pixels[None, :, None] + per_frame(offset[:, 1])) / (half / aspect)
    cos, sin = per_frame(np.cos(track.angle_rad)), per_frame(np.sin(track.angle_rad))
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    coverage = np.clip(0.5 - SHAPES[look.shape](x, y) * half * np.float32(0.8), 0, 1)
    bright, dark = look.bright_rgb.astype(np.float32), look.dark_rgb.astype(np.float32)
    if look.stripe_rate is None:
        colour = np.broadcast_to(bright, (*coverage.shape, 3))
    else:
        stripes = np.sin(x * np.float32(look.stripe_rate) + 1) > 0
        colour = np.where(stripes[..., None], bright, dark)
    whiteness = per_frame(track.whiteness)[..., None]
    return coverage, colour * (1 - whiteness) + whiteness


def _boxes(covered: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Boxes (F, 4) of the covered pixels of windows (F, n, n) that lie inside the picture."""
    n = covered.shape[1]
    pixel = corner[:, :, None] + np.arange(n)
    inside = np.logical_and(pixel >= 0, pixel < SIZE_PX)
    covered = np.logical_and(covered, inside[:, 0, None, :] & inside[:, 1, :, None])
    columns, rows = np.any(covered, axis=1), np.any(covered, axis=2)
    low = np.stack([columns.argmax(axis=1), rows.argmax(axis=1)], axis=1)
    high = n - np.stack([columns[:, ::-1].argmax(axis=1), rows[:, ::-1].argmax(axis=1)], axis=1)
    boxes = np.concatenate([corner + low, corner + high], axis=1)
    return np.where(rows.any(axis=1)[:, None], boxes, 0).astype(np.float32)


# Signed distances, roughly: below 0 inside, in units of the object's half-size.


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.95


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.82


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(0.87 * np.abs(x) - 0.5 * y - 0.45, y - 0.8)


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(x) + np.abs(y) - 1.05


def _plus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    ax, ay = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(ax - 0.95, ay - 0.33), np.maximum(ay - 0.95, ax - 0.33))


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.7) - 0.27


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - (0.65 + 0.33 * np.cos(5 * np.arctan2(y, x)))


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x) - 0.98, np.abs(y) - 0.4)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(x, y) - 0.95, 0.7 - np.hypot(x - 0.45, y))


def _dumbbell(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(np.abs(x) - 0.5, y) - 0.47


SHAPES: dict[str, _Distance] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "plus": _plus,
    "ring": _ring,
    "star": _star,
    "bar": _bar,
    "crescent": _crescent,
    "dumbbell": _dumbbell,
}
