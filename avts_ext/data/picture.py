"""From decoded frames to pictures of a set size: cut, scaled and converted in one swscale pass."""

from __future__ import annotations

import itertools
import threading
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type

_CONVERTERS_KEPT = 16


class _Kept(threading.local):
    """The converters last used by a thread, oldest first: making one costs as much as using it."""

    def __init__(self) -> None:
        self.converters: dict[tuple, _Converter] = {}


_kept = _Kept()


def make_picture(
    frame: av.VideoFrame, pixel_aspect: Fraction, height: int, width: int
) -> np.ndarray:
    """An upright RGB picture that is filled to its borders.

    The frame is looked at as it is meant to be displayed, with its pixel aspect ratio, and turned
    (by quarters) and mirrored by its display matrix. It is scaled, keeping its proportions, so that
    it covers the picture, and what hangs over is cut off equally on both sides, before scaling, at
    whole chroma samples.

    Returns:
        (height, width, 3) uint8 RGB, valid as long as it is referred to.
    """
    x_of_x, y_of_x, x_of_y, y_of_y = _display_matrix(frame)
    is_turned = abs(y_of_x) > abs(x_of_x)
    if is_turned:
        height, width = width, height
    source = (frame.height, frame.width, frame.format.name, frame.colorspace, frame.color_range)
    # Not the fraction itself, whose hash costs as much as all the rest.
    key = (*source, pixel_aspect.numerator, pixel_aspect.denominator, height, width)
    # Taken out while at work: one that fails may hold on to a frame.
    converter = _kept.converters.pop(key, None) or _Converter(frame, pixel_aspect, height, width)
    picture = converter(frame)
    _kept.converters[key] = converter
    if len(_kept.converters) > _CONVERTERS_KEPT:
        del _kept.converters[next(iter(_kept.converters))]
    if is_turned:
        picture, x_of_x, y_of_y = picture.transpose(1, 0, 2), x_of_y, y_of_x
    return picture[:: -1 if y_of_y < 0 else 1, :: -1 if x_of_x < 0 else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """How x and y on display grow with the frame's x, and with its y."""
    side_data: Any = frame.side_data  # whose annotations know names alone
    found = side_data.get(Type.DISPLAYMATRIX) if len(side_data) else None
    if found is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(found, np.int32).tolist()
    return a, b, c, d


def covered_window(
    frame_height: int, frame_width: int, pixel_aspect: Fraction, height: int, width: int
) -> tuple[int, int]:
    """Height and width in stored pixels of the central part that fills height x width.

    One of them is all of the frame; the other is even, for chroma that is stored at half size.
    """
    target = Fraction(width, height)
    if frame_width * pixel_aspect > target * frame_height:
        return frame_height, min(frame_width, _even(frame_height * target / pixel_aspect))
    return min(frame_height, _even(frame_width * pixel_aspect / target)), frame_width


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))


class _Converter:
    """A filter graph for frames of one kind and pictures of one size."""

    def __init__(
        self, frame: av.VideoFrame, pixel_aspect: Fraction, height: int, width: int
    ) -> None:
        rows, columns = covered_window(frame.height, frame.width, pixel_aspect, height, width)
        top, left = (frame.height - rows) // 4 * 2, (frame.width - columns) // 4 * 2
        self._shape = (height, width, 3)
        self._graph = Graph()  # the filters are freed with it
        if hasattr(self._graph, "threads"):  # not in PyAV 17, all there is for Python 3.10
            self._graph.threads = 1
        source = self._graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
            f"time_base=1/1:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        crop = self._graph.add("crop", f"{columns}:{rows}:{left}:{top}")
        scale = self._graph.add("scale", f"{width}:{height}:flags=bilinear+accurate_rnd:threads=1")
        # Planes first, interleaved afterwards: swscale's way straight to interleaved pixels halves
        # the chroma again, is off by up to 24 levels, and takes longer. Without "accurate_rnd"
        # pictures that need no scaling would take that way too.
        planes = self._graph.add("format", "gbrp")
        interleave = self._graph.add("scale", "flags=bilinear:threads=1")
        packed = self._graph.add("format", "rgb24")
        sink = self._graph.add("buffersink")
        for before, after in itertools.pairwise(
            (source, crop, scale, planes, interleave, packed, sink)
        ):
            before.link_to(after)
        self._graph.configure()
        self._push, self._pull = source.push, sink.pull

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        self._push(frame)
        plane = cast(av.VideoFrame, self._pull()).planes[0]
        height, width, _ = self._shape
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return rows[:height, : 3 * width].reshape(self._shape)
