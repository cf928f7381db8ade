"""The usable media of a manifest, and what is wrong with the others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from avts_ext.data.entries import MediaEntry, MediaTable
from avts_ext.data.faults import Fault, MediaError, SkipReport
from avts_ext.data.manifest import ManifestRow, check_split, stream_manifest

_COLUMNS = ("path", "splits", "shard", "tracks", "fault", "message", "usable_s", "content_hash")
_CONTENT_DIGITS = 16  # of the hash, which are 64 bits


def open_index(
    path: str | os.PathLike[str], *, split: str | None = None, min_duration_s: float = 0.0
) -> tuple[MediaTable, SkipReport]:
    """The media of a manifest that `avts index` made, without looking at them again.

    Of a file with damage or long silence, the stretches without are taken.

    Args:
        path: the manifest.
        split: only files of this split; by default all.
        min_duration_s: shorter stretches are left out, files with no other are a fault (too short).

    Returns:
        The usable files sorted by relative path, and a report of the others.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder, which has to be examined first.
        ValueError: it is no manifest, it has no such split, or none of its files is usable; only
            files that were examined for sound and picture are.
    """
    root, rows = stream_manifest(path, _COLUMNS)
    report, splits = SkipReport(), set[str]()
    chosen = _rows_of_split(rows, split, splits)
    entries = MediaTable(
        report.passing(lambda row: _entry_of_row(root, row, min_duration_s), chosen)
    )
    if split is not None:
        check_split(split, splits)
    if not entries:
        raise ValueError(f"manifest {os.fspath(path)!r} holds no usable media file: {report}")
    return entries, report


def _rows_of_split(
    rows: Iterable[ManifestRow], split: str | None, seen: set[str]
) -> Iterator[ManifestRow]:
    """Rows of one split, or of all; the names of all splits go into `seen`."""
    for row in rows:
        seen.update(row.splits)
        if split is None or split in row.splits:
            yield row


def media_id(relative_path: str) -> int:
    """63-bit id of a file, from its path relative to the indexed folder, with forward slashes."""
    digest = hashlib.blake2b(os.fsencode(relative_path), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def member_name(relative_path: str) -> str:
    """Name of a file in its shard: its media id and its suffix."""
    suffix = PurePosixPath(relative_path).suffix.lower()
    return f"{media_id(relative_path):016x}{suffix or '.media'}"


def _entry_of_row(root: Path, row: ManifestRow, min_duration_s: float) -> MediaEntry:
    if row.fault is not None:
        raise MediaError(root / row.path, row.fault, row.message or "")
    if row.tracks != "both":
        fault = Fault.NO_VIDEO if row.tracks == "audio" else Fault.NO_AUDIO
        raise MediaError(root / row.path, fault, f"examined for its {row.tracks} alone")
    if row.shard is None:
        path, shard = os.path.join(root, row.path), None
    else:
        shard = row.shard if ":" in row.shard else str(root / row.shard)
        path = f"{shard}/{member_name(row.path)}"
    long_enough = tuple(span for span in row.usable_s if span[1] - span[0] >= min_duration_s)
    if not long_enough:
        longest_s = max(end - begin for begin, end in row.usable_s)
        message = f"{longest_s:.2f} s of sound and picture, {min_duration_s:.2f} s are needed"
        raise MediaError(path, Fault.TOO_SHORT, message)
    content = int(row.content_hash[:_CONTENT_DIGITS], 16) if row.content_hash else 0
    return MediaEntry(path, media_id(row.path), long_enough, shard, content)
