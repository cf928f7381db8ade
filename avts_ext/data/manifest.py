"""The manifest: one row per media file, in a Parquet file that any table tool reads."""

from __future__ import annotations

import dataclasses
import io
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avts_ext._files import write_atomically
from avts_ext.data.examine import Examination
from avts_ext.data.faults import Fault
from avts_ext.data.media_file import Tracks
from avts_ext.data.spans import Span

SUFFIX = ".parquet"
_FORMAT = "avts manifest 1"
_CHUNK = 10_000  # rows that are in Arrow's form and in Python's at the same time


# Columns that come from the lists of a data set, not from the file.
_LISTED = ("splits", "labels", "source", "source_start_s", "source_end_s")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """What is known of one file. Times are seconds of the file's clock.

    Attributes:
        path: relative to the manifest's root, with forward slashes.
        splits: parts of its data set that it belongs to, such as "train", or "test3" of three.
        labels: its classes.
        source: the recording it was cut out of, by its name in the data set; files of one source
            resemble each other.
        source_start_s, source_end_s: where in that recording it lies.
        shard: tar file that holds it, below the root or as a URL; None if it is a file of its own.
        tracks: what was examined: "both", "video" or "audio".
        every_frame: whether all frames were decoded, or only enough to see the picture move.
        n_bytes, mtime_ns: size and time of change when it was examined.
        content_hash: BLAKE2b of its bytes, 128 bits in hexadecimal.
        fault: why it is of no use, None if it is.
        message: one sentence more about the fault.
        start_s, duration_s: of the stretch with all that was asked for.
        container: FFmpeg's name of the format; the `video_` and `audio_` columns are those of
            `VideoInfo` and `AudioInfo`.
        silence_share, is_static, usable_s: see `Examination`.
        damaged_from_s: where decoding first fails, None if nowhere.
    """

    path: str
    splits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    source: str | None = None
    source_start_s: float | None = None
    source_end_s: float | None = None
    shard: str | None = None
    tracks: Tracks = "both"
    every_frame: bool = False
    n_bytes: int | None = None
    mtime_ns: int | None = None
    content_hash: str | None = None
    fault: Fault | None = None
    message: str | None = None
    start_s: float | None = None
    duration_s: float | None = None
    container: str | None = None
    video_codec: str | None = None
    video_width: int | None = None
    video_height: int | None = None
    video_n_frames: int | None = None
    video_fps: float | None = None
    video_has_variable_rate: bool | None = None
    video_start_s: float | None = None
    video_end_s: float | None = None
    audio_codec: str | None = None
    audio_sample_rate: int | None = None
    audio_n_channels: int | None = None
    audio_start_s: float | None = None
    audio_end_s: float | None = None
    silence_share: float | None = None
    is_static: bool | None = None
    damaged_from_s: float | None = None
    usable_s: tuple[Span, ...] = ()

    def listed_as(self, listed: ManifestRow) -> ManifestRow:
        """The same findings, with all that a data set's lists tell taken from another row."""
        return dataclasses.replace(self, **{name: getattr(listed, name) for name in _LISTED})

    def with_fault(self, fault: Fault, message: str) -> ManifestRow:
        """The same row of a file that is of no use."""
        return dataclasses.replace(self, fault=fault, message=message)

    def with_examination(self, found: Examination) -> ManifestRow:
        """The same row with all that was found."""
        row = dataclasses.replace(
            self,
            start_s=found.info.start_s,
            duration_s=found.info.duration_s,
            container=found.info.container,
            silence_share=found.silence_share,
            is_static=found.is_static,
            damaged_from_s=found.damaged_s[0][0] if found.damaged_s else None,
            usable_s=found.usable_s,
            **_prefixed("video_", found.info.video),
            **_prefixed("audio_", found.info.audio),
        )
        return row.with_fault(*found.fault) if found.fault else row

    def plain(self) -> dict[str, Any]:
        """Only what JSON and Parquet know; `from_plain` reads it back."""
        values = {name: getattr(self, name) for name in _NAMES}
        return values | {"fault": self.fault and self.fault.value}

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> ManifestRow:
        """The row that `plain` told; what is not in it has its default."""
        values = dict(plain)
        if values.get("fault") is not None:
            values["fault"] = Fault(values["fault"])
        for name in _TUPLES & values.keys():
            values[name] = tuple(values[name])
        if "usable_s" in values:
            values["usable_s"] = tuple((begin, end) for begin, end in values["usable_s"])
        return ManifestRow(**values)


_NAMES = tuple(field.name for field in dataclasses.fields(ManifestRow))
_TUPLES = {"splits", "labels"}


@dataclass(frozen=True)
class Manifest:
    """All files of a folder.

    Attributes:
        root: the folder.
        rows: one per file, sorted by path.
        dataset: name in `avts_ext.data.datasets.DATASETS` of the data set whose lists were read.
    """

    root: Path
    rows: Sequence[ManifestRow]
    dataset: str | None = None

    def split(self, name: str) -> list[ManifestRow]:
        """Rows of one split.

        Raises:
            ValueError: no row is in it.
        """
        check_split(name, {split for row in self.rows for split in row.splits})
        return [row for row in self.rows if name in row.splits]


def check_split(name: str, known: Iterable[str]) -> None:
    """Raise ValueError unless a split is one of those that are known."""
    if name not in known:
        raise ValueError(f"split must be one of {', '.join(sorted(known)) or 'none'}, got {name!r}")


_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_TYPES |= {"Fault": pa.string(), "Tracks": pa.string(), "tuple[str, ...]": pa.list_(pa.string())}
_TYPES |= {"tuple[Span, ...]": pa.list_(pa.list_(pa.float64(), 2))}


def _schema(root: str, dataset: str | None) -> pa.Schema:
    columns = [
        (field.name, _TYPES[str(field.type).removesuffix(" | None")])
        for field in dataclasses.fields(ManifestRow)
    ]
    return pa.schema(columns, {"format": _FORMAT, "root": root, "dataset": dataset or ""})


def write_manifest(
    path: Path, root: Path, rows: Iterable[ManifestRow], dataset: str | None = None
) -> None:
    """Write rows, sorted by path, as Parquet, completely or not at all.

    The root is stored relative to the manifest's own folder where that contains it, so that both
    can be moved together, and as an absolute path otherwise.

    Raises:
        OSError: the file cannot be written.
    """
    folder, root = path.parent.resolve(), root.resolve()
    stored = os.path.relpath(root, folder) if root.is_relative_to(folder) else str(root)
    schema, ordered = _schema(stored, dataset), sorted(rows, key=lambda row: row.path)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for first in range(0, len(ordered), _CHUNK):
            plain = [row.plain() for row in ordered[first : first + _CHUNK]]
            writer.write_table(pa.Table.from_pylist(plain, schema))
    write_atomically(path, buffer.getvalue())


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read what `write_manifest` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder; the message tells how to make its manifest.
        ValueError: it is not a manifest.
    """
    file, root, dataset = _open(Path(path))
    return Manifest(root, list(_rows(file, None)), dataset)


def stream_manifest(
    path: str | os.PathLike[str], columns: Sequence[str]
) -> tuple[Path, Iterator[ManifestRow]]:
    """The root of a manifest, and its rows one by one, with no more than some columns filled in.

    Errors as of `read_manifest`.
    """
    file, root, _ = _open(Path(path))
    return root, _rows(file, [name for name in columns if name in file.schema_arrow.names])


def _open(path: Path) -> tuple[pq.ParquetFile, Path, str | None]:
    if path.is_dir():
        command = shlex.join(["avts", "index", str(path), "-o", f"{path.resolve().name}.parquet"])
        raise IsADirectoryError(
            f"manifest must be a file, got the folder {str(path)!r}: {command} makes its manifest"
        )
    if not path.is_file():
        raise FileNotFoundError(f"manifest must be a file, got {str(path)!r}, which is not there")
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"manifest {str(path)!r} cannot be read: {first_line}") from None
    metadata = file.schema_arrow.metadata or {}
    if metadata.get(b"format", b"").decode() != _FORMAT:
        raise ValueError(f"{str(path)!r} is Parquet, but no {_FORMAT}: make it with avts index")
    root = path.parent / metadata[b"root"].decode()
    return file, root, metadata.get(b"dataset", b"").decode() or None


def _rows(file: pq.ParquetFile, columns: list[str] | None) -> Iterator[ManifestRow]:
    for batch in file.iter_batches(_CHUNK, columns=columns):
        yield from map(ManifestRow.from_plain, batch.to_pylist())


def _prefixed(prefix: str, info: Any) -> dict[str, Any]:
    return {} if info is None else {prefix + k: v for k, v in dataclasses.asdict(info).items()}
