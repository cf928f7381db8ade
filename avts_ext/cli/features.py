"""The verb `features`: what a frozen tower says of any files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avts_ext._files import write_atomically
from avts_ext.data.datasets.listing import SUFFIXES
from avts_ext.data.files import files_under
from avts_ext.evaluation.features import FeatureSettings, Pooling, extract_features, feature_card
from avts_ext.models.avts import AVTS


def features(
    checkpoint: str,
    data: str,
    output: str = "features.npz",
    tower: Literal["audio", "video"] = "audio",
    pooling: Pooling = "pooled",
    clip_s: float = 2.0,
    n_clips: int = 10,
    cache_dir: str | None = None,
    workers: int = 0,
    device: str = "cpu",
) -> None:
    """Write the features that a frozen tower gives for the audio or video files under a folder.

    One row for each clip: the columns are `path` below the folder, `start_s` on the file's clock,
    and `features`. How they were made is in the array `card` of .npz, or in the metadata of
    .parquet, as JSON. Broken and too short files are left out and told.

    Args:
        checkpoint: A model that pretraining saved.
        data: The folder.
        output: The file, ending in .npz or .parquet.
        tower: That of sound, whose conv5 is read, or that of picture, whose last map is.
        pooling: How a map becomes a row: mean and maximum (pooled) or cells of a grid (flattened).
        clip_s: Length of a clip.
        n_clips: Clips of a file, evenly spread from its beginning to its end.
        cache_dir: Folder in which features are kept, so that nothing is computed twice.
        workers: Processes that decode; 0 decodes in the main one.
        device: As torch names it.
    """
    settings = FeatureSettings(tower, clip_s, n_clips)
    write = _writer(Path(output))
    folder = Path(data)
    if not folder.is_dir():
        raise NotADirectoryError(f"data must be a folder, got {data!r}")
    model = AVTS.load(checkpoint, device)
    paths = files_under(folder, SUFFIXES)
    found = extract_features(
        model, paths, settings, cache_dir=cache_dir, workers=workers, progress=True
    )
    names = [paths[row].relative_to(folder).as_posix() for row in found.rows]
    values = found.of(pooling)
    columns = {
        "path": np.repeat(np.array(names), settings.n_clips),
        "start_s": found.start_s.ravel(),
        "features": values.reshape(-1, values.shape[2]),
    }
    card = feature_card(model, settings) | {"pooling": pooling, "checkpoint": checkpoint}
    write_atomically(Path(output), write(columns, card))
    rows, width = columns["features"].shape
    print(f"{output}: {rows} rows of {width} numbers, of {len(names)} files; {found.skipped}")


def _writer(output: Path) -> Callable[[dict[str, Any], dict[str, Any]], bytes]:
    writers = {".npz": _npz, ".parquet": _parquet}
    if output.suffix not in writers:
        raise ValueError(f"output must end in {' or '.join(writers)}, got {str(output)!r}")
    return writers[output.suffix]


def _npz(columns: dict[str, Any], card: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **columns, card=np.array(json.dumps(card)))
    return buffer.getvalue()


def _parquet(columns: dict[str, Any], card: dict[str, Any]) -> bytes:
    rows = columns["features"]
    nested = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    table = pa.table({**columns, "features": nested})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"card": json.dumps(card)}), buffer)
    return buffer.getvalue()
