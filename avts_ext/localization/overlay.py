"""Pictures and videos with the map laid over the frame, to be looked at.

The frame is shown in grey. Where the map exceeds ``threshold`` times its maximum in that frame,
the level at which it is also scored, it is laid over in colour (viridis, which colour-blind
eyes read as well). The sounding object's box is solid, the silent one's is dashed, so
that the two differ without colour as well. Below the picture are the sound's envelope with a
playhead, a legend, and the scale of colours.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from avts_ext._files import write_atomically
from avts_ext.data.writer import encode_mp4
from avts_ext.localization.regions import THRESHOLD

__all__ = ["OverlayPainter", "save_overlay_video", "save_still"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating]

MIN_PICTURE_PX = 320
PANEL_PX = 118
OPACITY = 0.65
_DPI = 100
_FONT_PT = 8  # 11 pixels
_MARGIN_PX = 18  # half of the widest label of the time axis
_MAP = colormaps["viridis"]


class OverlayPainter:
    """Draws frames of one recording; the picture is enlarged to at least 320 pixels a side.

    Args:
        size: (H, W) of the frames in pixels.
        waveform: (S,) float mono sound from the time of the first frame on, drawn below.
        sample_rate: samples per second.
        threshold: share of a map's maximum below which nothing is laid over, in [0, 1).
        names: what the solid box is, and the dashed one, if there is one.
    """

    def __init__(
        self,
        size: tuple[int, int],
        waveform: Floats,
        sample_rate: int,
        threshold: float = THRESHOLD,
        names: Sequence[str] = ("heard", "silent"),
    ) -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: got {threshold}, expected 0 <= threshold < 1")
        if waveform.ndim != 1 or len(waveform) == 0:
            raise ValueError(f"waveform: got shape {waveform.shape}, expected (S,), S at least 1")
        self._size, self._threshold = size, threshold
        scale = -(-MIN_PICTURE_PX // min(size))
        height, width = size[0] * scale, size[1] * scale
        # Even sizes, as H.264 wants them.
        self._height_px, self._width_px = _even(height + PANEL_PX), _even(width)
        inches = self._width_px / _DPI, self._height_px / _DPI
        self._figure = Figure(figsize=inches, dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes = self._add_axes(0, 0, width, height)
        self._axes.set_axis_off()
        self._frame = self._axes.imshow(np.zeros((*size, 3), np.uint8), interpolation="nearest")
        self._heat = self._axes.imshow(np.zeros((*size, 4)), interpolation="nearest")
        self._source = self._box("-")
        self._silent = self._box("--")
        self._add_sound(height, waveform, sample_rate)
        self._add_legend(height + 78, names)

    def paint(
        self,
        frame: Bytes,
        heat: Floats,
        time_s: float,
        source_box: Floats | None = None,
        silent_box: Floats | None = None,
    ) -> Bytes:
        """One picture.

        Args:
            frame: (H, W, 3) uint8 RGB.
            heat: (H, W), higher = more likely the source; without a positive value, no overlay.
            time_s: of the frame, seconds after the beginning of the sound.
            source_box: (4,) xyxy in pixels of the frame, half-open; None or empty draws none.
            silent_box: likewise, of the object that makes no sound.

        Returns:
            (H', W', 3) uint8 RGB, H' and W' even.
        """
        if frame.shape != (*self._size, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"frame: got {frame.dtype} of shape {frame.shape}, "
                f"expected uint8 of shape {(*self._size, 3)}"
            )
        if heat.shape != self._size:
            raise ValueError(f"heat: got shape {heat.shape}, expected {self._size}")
        grey = (frame @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        self._frame.set_data(np.repeat(grey[..., None], 3, axis=2))
        self._heat.set_data(_colours(heat, self._threshold))
        _place(self._source, source_box)
        _place(self._silent, silent_box)
        self._playhead.set_xdata([time_s, time_s])
        self._clock.set_text(f"sound, now at {time_s:.2f} s")
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place in pixels from the upper left corner."""
        bottom = self._height_px - top - height
        corner = left / self._width_px, bottom / self._height_px
        return self._figure.add_axes((*corner, width / self._width_px, height / self._height_px))

    def _box(self, style: str) -> list[Rectangle]:
        """A white line on a wider black one, to be seen on any ground."""
        backing = Rectangle((0, 0), 0, 0, fill=False, edgecolor="black", linewidth=4)
        line = Rectangle((0, 0), 0, 0, fill=False, edgecolor="white", linestyle=style, linewidth=2)
        for patch in (backing, line):
            self._axes.add_patch(patch)
        return [backing, line]

    def _add_sound(self, top: float, waveform: Floats, sample_rate: int) -> None:
        """Envelope of the sound, relative to its peak, over a time axis with a playhead."""
        width = self._width_px - 2 * _MARGIN_PX
        axes = self._add_axes(_MARGIN_PX, top + 22, width, 30)
        envelope, duration_s = _envelope(waveform, width), len(waveform) / sample_rate
        edges_s = np.linspace(0, duration_s, len(envelope) + 1)
        axes.stairs(envelope, edges_s, baseline=-envelope, fill=True, color="0.45")
        axes.set(xlim=(0, duration_s), ylim=(-1.1, 1.1), yticks=[])
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter("{x:g} s")
        axes.tick_params(labelsize=_FONT_PT, length=3, pad=2)
        (self._playhead,) = axes.plot([0, 0], [-1.1, 1.1], color="black", linewidth=2)
        self._clock = axes.set_title("", fontsize=_FONT_PT, pad=3, loc="left")

    def _add_legend(self, top: float, box_names: Sequence[str]) -> None:
        """What the boxes are, and the scale of the colours."""
        half = self._width_px / 2
        names = self._add_axes(_MARGIN_PX, top, half - _MARGIN_PX, 34)
        names.set(xlim=(0, half - _MARGIN_PX), ylim=(34, 0))
        names.set_axis_off()
        for y, style, name in zip((3, 20), ("-", "--"), box_names, strict=False):
            names.add_patch(Rectangle((1, y), 24, 10, fill=False, linestyle=style))
            names.text(32, y + 5, name, va="center_baseline", fontsize=_FONT_PT)
        scale = self._add_axes(half, top + 14, half - _MARGIN_PX, 8)
        ends = self._threshold, 1.0
        scale.imshow(np.linspace(0, 1, 256)[None], cmap=_MAP, aspect="auto", extent=(*ends, 0, 1))
        scale.set(yticks=[], xticks=ends, xticklabels=[f"{end:g}" for end in ends])
        scale.tick_params(labelsize=_FONT_PT, length=2, pad=1)
        scale.set_title("map / its maximum", fontsize=_FONT_PT, pad=3, loc="left")


def save_still(path: str | os.PathLike[str], picture: Bytes) -> None:
    """Write a picture (H, W, 3) uint8 as PNG; an existing file is replaced when all is written."""
    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    write_atomically(Path(path), buffer.getvalue())


def save_overlay_video(
    path: str | os.PathLike[str],
    pictures: Iterable[Bytes],
    fps: Fraction,
    waveform: Floats,
    sample_rate: int,
) -> None:
    """Write what `data.writer.encode_mp4` makes; an existing file is replaced when all is written.

    Raises:
        ValueError: no picture.
        OSError: the file cannot be written.
    """
    write_atomically(Path(path), encode_mp4(pictures, fps, waveform, sample_rate))


def _envelope(waveform: Floats, n: int) -> Floats:
    """Greatest magnitude in each of at most ``n`` equal parts, relative to the greatest of all."""
    starts = np.linspace(0, len(waveform), min(n, len(waveform)), endpoint=False).astype(np.int64)
    envelope = np.maximum.reduceat(np.abs(waveform), starts)
    return envelope / max(float(envelope.max()), np.finfo(np.float32).tiny)


def _colours(heat: Floats, threshold: float) -> NDArray[np.float64]:
    """(H, W, 4) colours of a map relative to its maximum, transparent up to the threshold."""
    top = float(heat.max())
    if top <= 0:
        return np.zeros((*heat.shape, 4))
    relative = heat / top
    colours = _MAP((relative - threshold) / (1 - threshold))
    colours[..., 3] = np.where(relative > threshold, OPACITY, 0.0)
    return colours


def _place(lines: list[Rectangle], box: Floats | None) -> None:
    visible = box is not None and box[2] > box[0] and box[3] > box[1]
    for line in lines:
        line.set_visible(visible)
        if box is not None:
            # Pixel i is drawn from i - 0.5 to i + 0.5.
            line.set_bounds(box[0] - 0.5, box[1] - 0.5, box[2] - box[0], box[3] - box[1])


def _even(size: int) -> int:
    return size + size % 2
