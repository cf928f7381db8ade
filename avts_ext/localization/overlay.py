"""Pictures and videos with the map laid over the frame, to be looked at.

The frame is shown in grey. Where the map exceeds ``threshold`` times its maximum in that frame,
the level at which it is also scored, it is laid over in colour (viridis, which colour-blind
eyes read as well). The sounding object's box is solid, the silent one's is dashed, so
that the two differ without colour as well; a legend below the picture says so.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

__all__ = ["OverlayPainter", "save_overlay_video", "save_still"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating]

MIN_PICTURE_PX = 320
LEGEND_PX = 64
OPACITY = 0.65
_DPI = 100
_AAC_FRAME = 1024


class OverlayPainter:
    """Draws frames of one recording; the picture is enlarged to at least 320 pixels a side.

    Args:
        size: (H, W) of the frames in pixels.
        threshold: share of a map's maximum below which nothing is laid over, in [0, 1).
    """

    def __init__(self, size: tuple[int, int], threshold: float = 0.5) -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: got {threshold}, expected 0 <= threshold < 1")
        self._size, self._threshold = size, threshold
        scale = -(-MIN_PICTURE_PX // min(size))
        height, width = size[0] * scale, size[1] * scale
        # Even sizes, as H.264 wants them.
        total_height, total_width = _even(height + LEGEND_PX), _even(width)
        figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI)
        self._canvas = FigureCanvasAgg(figure)
        share = height / total_height
        self._axes = figure.add_axes((0.0, 1 - share, width / total_width, share))
        self._axes.set_axis_off()
        self._frame = self._axes.imshow(np.zeros((*size, 3), np.uint8), interpolation="nearest")
        self._heat = self._axes.imshow(np.zeros((*size, 4)), interpolation="nearest")
        self._source = self._box("-")
        self._silent = self._box("--")
        self._add_legend(figure)

    def paint(
        self,
        frame: Bytes,
        heat: Floats,
        source_box: Floats | None = None,
        silent_box: Floats | None = None,
    ) -> Bytes:
        """One picture.

        Args:
            frame: (H, W, 3) uint8 RGB.
            heat: (H, W), higher = more likely the source; without a positive value, no overlay.
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
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _box(self, style: str) -> list[Rectangle]:
        """A white line on a wider black one, to be seen on any ground."""
        backing = Rectangle((0, 0), 0, 0, fill=False, edgecolor="black", linewidth=4)
        line = Rectangle((0, 0), 0, 0, fill=False, edgecolor="white", linestyle=style, linewidth=2)
        for patch in (backing, line):
            self._axes.add_patch(patch)
        return [backing, line]

    def _add_legend(self, figure: Figure) -> None:
        colour = colormaps["viridis"](1.0)
        entries: list[Patch] = [
            Rectangle((0, 0), 1, 1, fill=False, edgecolor="black", linestyle="-"),
            Rectangle((0, 0), 1, 1, fill=False, edgecolor="black", linestyle="--"),
            Patch(facecolor=colour),
        ]
        names = ["heard", "silent", f"map > {self._threshold:g} of its maximum"]
        figure.legend(
            entries, names, loc="lower center", ncols=2, frameon=False, fontsize=9, borderaxespad=0
        )


def save_still(path: str | os.PathLike[str], picture: Bytes) -> None:
    """Write a picture (H, W, 3) uint8 as PNG; an existing file is replaced when all is written."""
    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    _replace(path, buffer.getvalue())


def save_overlay_video(
    path: str | os.PathLike[str],
    pictures: Iterable[Bytes],
    fps: Fraction,
    waveform: Floats,
    sample_rate: int,
) -> None:
    """Write an MP4 (H.264, AAC) whose picture and sound both begin at time zero.

    Args:
        path: an existing file is replaced when all is written.
        pictures: at least one (H, W, 3) uint8 RGB, H and W even.
        fps: pictures per second.
        waveform: (S,) float mono in [-1, 1].
        sample_rate: samples per second, one that AAC knows.

    Raises:
        ValueError: no picture.
    """
    rest = iter(pictures)
    first = next(rest, None)
    if first is None:
        raise ValueError("pictures: got none, expected at least one")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=sample_rate, layout="mono")
        _mux_pictures(container, video, itertools.chain([first], rest), fps)
        _mux_sound(container, audio, waveform, sample_rate)
    _replace(path, buffer.getvalue())


def _mux_pictures(
    container: av.container.OutputContainer,
    stream: av.VideoStream,
    pictures: Iterable[Bytes],
    fps: Fraction,
) -> None:
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, 1 / Fraction(fps)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _mux_sound(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    waveform: Floats,
    sample_rate: int,
) -> None:
    samples = np.ascontiguousarray(waveform, dtype=np.float32)[None]
    for start in range(0, samples.shape[1], _AAC_FRAME):
        part = np.ascontiguousarray(samples[:, start : start + _AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate = sample_rate
        frame.pts, frame.time_base = start, Fraction(1, sample_rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _colours(heat: Floats, threshold: float) -> NDArray[np.float64]:
    """(H, W, 4) colours of a map relative to its maximum, transparent up to the threshold."""
    top = float(heat.max())
    if top <= 0:
        return np.zeros((*heat.shape, 4))
    relative = heat / top
    colours = colormaps["viridis"]((relative - threshold) / (1 - threshold))
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


def _replace(path: str | os.PathLike[str], content: bytes) -> None:
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
