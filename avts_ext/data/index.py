"""The usable media of a folder or a manifest, and what is wrong with the others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from avts_ext.data.faults import Fault, MediaError, SkipReport
from avts_ext.data.manifest import Manifest, ManifestRow, read_manifest
from avts_ext.data.probe import probe

_SUFFIXES = ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv"
MEDIA_SUFFIXES = frozenset(_SUFFIXES.split())


@dataclass(frozen=True)
class MediaEntry:
    """A usable media file.

    Attributes:
        path: the file.
        media_id: 63-bit hash of the path relative to the folder that was indexed. It stays the same
            when other files come and go, and so do the random draws made from it.
        start_s: first moment, on the file's clock, with both sound and picture.
        duration_s: length in seconds of the stretch with both.
    """

    path: str
    media_id: int
    start_s: float
    duration_s: float


def index_folder(
    root: str | os.PathLike[str], *, min_duration_s: float = 0.0, progress: bool = False
) -> tuple[list[MediaEntry], SkipReport]:
    """Examine all media files under a folder, recognised by suffix (`MEDIA_SUFFIXES`).

    Args:
        root: the folder; hidden files and folders are passed over.
        min_duration_s: shorter stretches of joint sound and picture are a fault (too short).
        progress: show a progress bar.

    Returns:
        The usable files sorted by relative path, and a report of the others.

    Raises:
        NotADirectoryError: `root` is not a folder.
        ValueError: there is no media file under `root`, or none is usable.
    """
    root = Path(root)
    if not root.is_dir():
        raise NotADirectoryError(f"root must be a folder, got {str(root)!r}")
    paths = media_paths(root)
    if not paths:
        raise ValueError(f"root {str(root)!r} holds no media file (suffixes: {_SUFFIXES})")
    entries, report = [], SkipReport()
    for path in tqdm(paths, desc="index", unit="file", disable=not progress):
        try:
            entries.append(_entry(root, path, min_duration_s))
        except MediaError as error:
            report.add(error)
    if not entries:
        raise ValueError(f"root {str(root)!r} holds no usable media file: {report}")
    return entries, report


def index_manifest(
    path: str | os.PathLike[str], *, split: str | None = None, min_duration_s: float = 0.0
) -> tuple[list[MediaEntry], SkipReport]:
    """The media of a manifest that `avts index` made, without looking at them again.

    Of a file with damage or silence in the middle, the longest stretch without is taken.

    Args:
        path: the manifest.
        split: only files of this split; by default all.
        min_duration_s: files without such a stretch of this length are a fault (too short).

    Returns:
        The usable files sorted by relative path, and a report of the others.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no manifest, it has no such split, or none of its files is usable; only
            files that were examined for sound and picture are.
    """
    manifest = read_manifest(path)
    entries, report = [], SkipReport()
    for row in manifest.rows if split is None else manifest.split(split):
        try:
            entries.append(_entry_of_row(manifest, row, min_duration_s))
        except MediaError as error:
            report.add(error)
    if not entries:
        raise ValueError(f"manifest {os.fspath(path)!r} holds no usable media file: {report}")
    return entries, report


def open_index(
    root: str | os.PathLike[str], *, split: str | None = None, min_duration_s: float = 0.0
) -> tuple[list[MediaEntry], SkipReport]:
    """`index_manifest` of a file, `index_folder` of a folder, which has no splits."""
    if os.path.isfile(root):
        return index_manifest(root, split=split, min_duration_s=min_duration_s)
    if split is not None:
        raise ValueError(f"split must be None for the folder {os.fspath(root)!r}, got {split!r}")
    return index_folder(root, min_duration_s=min_duration_s)


def media_paths(root: Path) -> list[Path]:
    """Files under `root` with a media suffix, sorted by relative path."""
    return files_under(root, MEDIA_SUFFIXES)


def files_under(root: Path, suffixes: Container[str]) -> list[Path]:
    """Files with one of the suffixes, sorted by path below `root`; hidden ones are passed over."""
    paths = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        paths += [Path(folder, name) for name in names if not name.startswith(".")]
    paths = [path for path in paths if path.suffix.lower() in suffixes]
    return sorted(paths, key=lambda path: path.relative_to(root).as_posix())


def media_id(relative_path: str) -> int:
    """63-bit id of a file, from its path relative to the indexed folder, with forward slashes."""
    digest = hashlib.blake2b(os.fsencode(relative_path), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _entry(root: Path, path: Path, min_duration_s: float) -> MediaEntry:
    info = probe(path)
    _check_length(path, info.duration_s, min_duration_s)
    identity = media_id(path.relative_to(root).as_posix())
    return MediaEntry(str(path), identity, info.start_s, info.duration_s)


def _entry_of_row(manifest: Manifest, row: ManifestRow, min_duration_s: float) -> MediaEntry:
    error = manifest.error(row)
    if error is not None:
        raise error
    if row.tracks != "both":
        fault = Fault.NO_VIDEO if row.tracks == "audio" else Fault.NO_AUDIO
        raise MediaError(manifest.root / row.path, fault, f"examined for its {row.tracks} alone")
    begin_s, end_s = max(row.usable_s, key=lambda span: span[1] - span[0])
    path = manifest.root / row.path
    _check_length(path, end_s - begin_s, min_duration_s)
    return MediaEntry(str(path), media_id(row.path), begin_s, end_s - begin_s)


def _check_length(path: Path, duration_s: float, min_duration_s: float) -> None:
    if duration_s < min_duration_s:
        message = f"{duration_s:.2f} s of sound and picture, {min_duration_s:.2f} s are needed"
        raise MediaError(path, Fault.TOO_SHORT, message)


def _raise(error: OSError) -> None:
    raise error
