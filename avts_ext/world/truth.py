"""The ground truth of a generated world: what is heard, seen and where, as a Parquet table."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TRUTH_FILE = "truth.parquet"
DESCRIPTION_FILE = "world.json"


@dataclass(frozen=True, eq=False)
class WorldTruth:
    """Everything there is to know about one video; F = 96 frames, 16 a second.

    Attributes:
        index: Number of the video in the world.
        path: The video file, below the folder that was given to `load_truth`.
        label: Class of the source, the object that is heard; ``index % 10``.
        silent_label: Class of the other object, which is never heard.
        event_times_s: (E,) float64, times of the events that are seen and heard. An event at time e
            is first visible in the frame on display at e, frame ``floor(16 * e)``.
        silent_event_times_s: (E',) float64, times of events of the silent object: seen, not heard.
        source_box: (F, 4) float32, x0 y0 x1 y1 in pixels, of the source in every frame; pixel i
            spans [i, i + 1). All zero in a frame without a pixel of it.
        silent_box: (F, 4) float32, the same for the silent object.
    """

    index: int
    path: str
    label: int
    silent_label: int
    event_times_s: np.ndarray
    silent_event_times_s: np.ndarray
    source_box: np.ndarray
    silent_box: np.ndarray


def load_truth(out_dir: str | os.PathLike[str]) -> list[WorldTruth]:
    """The truth of all videos of a world, by index.

    Args:
        out_dir: The folder given to `generate`.

    Raises:
        FileNotFoundError: The folder holds no finished world.
        ValueError: The table is damaged, or the world was to grow and that was interrupted.
    """
    rows = read_truth(out_dir)
    description = Path(out_dir) / DESCRIPTION_FILE
    try:
        videos = json.loads(description.read_text())["videos"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{description} does not describe a world: {error!r}") from None
    if len(rows) != videos:
        raise ValueError(
            f"out_dir {str(out_dir)!r} holds an unfinished world, with the truth of {len(rows)} of "
            f"{videos} videos: generate it again with videos={videos}"
        )
    return rows


def read_truth(out_dir: str | os.PathLike[str]) -> list[WorldTruth]:
    """What the table says, whether or not the world has grown since; errors as in `load_truth`."""
    path = Path(out_dir) / TRUTH_FILE
    if not path.is_file():
        raise FileNotFoundError(f"out_dir {str(out_dir)!r} holds no finished world: no {path.name}")
    try:
        columns = _read_columns(path)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ValueError(f"{path} is damaged, delete it and generate again: {error}") from None
    columns["path"] = [str(Path(out_dir) / relative) for relative in columns["path"]]
    names = list(columns)
    return [
        WorldTruth(**dict(zip(names, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]


def _read_columns(path: Path) -> dict[str, list]:
    table = pq.read_table(path)
    columns: dict[str, list] = {
        name: table[name].to_pylist() for name in ("index", "path", "label", "silent_label")
    }
    for name in ("event_times_s", "silent_event_times_s"):
        columns[name] = [np.array(times, np.float64) for times in table[name].to_pylist()]
    for name in ("source_box", "silent_box"):
        columns[name] = list(table[name].combine_chunks().to_numpy_ndarray())
    return columns


def pack_truth(rows: list[WorldTruth]) -> bytes:
    """The content of the table's file; `WorldTruth.path` goes in as it is."""

    def column(name: str) -> list:
        return [getattr(row, name) for row in rows]

    def boxes(name: str) -> pa.Array:
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(column(name)))

    times = pa.list_(pa.float64())
    table = pa.table(
        {
            "index": pa.array(column("index"), pa.int64()),
            "path": pa.array(column("path"), pa.string()),
            "label": pa.array(column("label"), pa.int64()),
            "silent_label": pa.array(column("silent_label"), pa.int64()),
            "event_times_s": pa.array(column("event_times_s"), times),
            "silent_event_times_s": pa.array(column("silent_event_times_s"), times),
            "source_box": boxes("source_box"),
            "silent_box": boxes("silent_box"),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
