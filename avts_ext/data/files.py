"""Media files under a folder, by suffix."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

_SUFFIXES = ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv"
MEDIA_SUFFIXES = frozenset(_SUFFIXES.split())


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


def _raise(error: OSError) -> None:
    raise error
