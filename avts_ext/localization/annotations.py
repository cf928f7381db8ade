"""Boxes of published test sets for sound localization, in the format they are given out in.

Both annotate one picture in the middle of each clip, so that is where a map is scored.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "Annotations", "read_annotations"]

# Flickr-SoundNet's boxes are in pixels of pictures of this size.
_FLICKR_PX = 256


@dataclass(frozen=True)
class Annotations:
    """Boxes of a test set.

    Attributes:
        boxes: by name of the clip, (N, 4) float64 x0, y0, x1, y1 as shares of width and height.
        votes: so many boxes over a pixel make it certain.
    """

    boxes: dict[str, NDArray[np.float64]]
    votes: int


def read_annotations(path: str | os.PathLike[str], format: str) -> Annotations:
    """Read boxes.

    Args:
        path: for "flickr-soundnet" the folder of XML files, one a clip, three annotators each; for
            "vgg-ss" the JSON file, a list of {"file": ..., "class": ..., "bbox": [[...], ...]}.
        format: one of ``FORMATS``.

    Raises:
        OSError: the path cannot be read.
        ValueError: an unknown format, or a file that is not of it; the message names it.
    """
    if format not in FORMATS:
        raise ValueError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    return _flickr(Path(path)) if format == "flickr-soundnet" else _vgg_ss(Path(path))


FORMATS = ("flickr-soundnet", "vgg-ss")


def _flickr(folder: Path) -> Annotations:
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise ValueError(f"path: got {str(folder)!r}, which holds no XML file")
    return Annotations({file.stem: _flickr_boxes(file) for file in files}, votes=2)


def _flickr_boxes(file: Path) -> NDArray[np.float64]:
    try:
        root = ElementTree.parse(file).getroot()
        # A box is an annotator's number and four corners.
        rows = [[int(str(value.text)) for value in box][-4:] for box in root.iter("bbox")]
        boxes = np.array(rows, np.float64).reshape(len(rows), 4)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{file} holds no boxes of Flickr-SoundNet: {error}") from None
    return _checked(boxes / _FLICKR_PX, file)


def _vgg_ss(file: Path) -> Annotations:
    try:
        rows = json.loads(file.read_text())
        boxes = {str(row["file"]): np.array(row["bbox"], np.float64).reshape(-1, 4) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no annotation file of VGG-SS: {error!r}") from None
    return Annotations({name: _checked(part, file) for name, part in boxes.items()}, votes=1)


def _checked(boxes: NDArray[np.float64], file: Path) -> NDArray[np.float64]:
    boxes = np.clip(boxes, 0, 1)
    if len(boxes) == 0 or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError(f"{file} holds a clip without a box, or a box without an inside: {boxes}")
    return boxes
