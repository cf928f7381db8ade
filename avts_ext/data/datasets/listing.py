"""What the readers of published data sets share: finding their files, and reading their lists."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from avts_ext.data.files import MEDIA_SUFFIXES, files_under
from avts_ext.data.manifest import ManifestRow

_AUDIO_SUFFIXES = ".aac .flac .m4a .mp3 .oga .ogg .opus .wav .wma"
SUFFIXES = MEDIA_SUFFIXES | frozenset(_AUDIO_SUFFIXES.split())


@dataclass(frozen=True)
class DataSet:
    """A published data set: how its folder is read, and what its authors say it holds.

    Attributes:
        read: makes one row per file that the lists in a folder name, whether the file is there or
            not. Raises `FileNotFoundError` if a list is not there and `ValueError` if it is not in
            its format.
        counts: files in each split.
        n_files: files in all lists together.
        n_classes: number of classes; 0 if the set has no labels.
        source: where these numbers are published.
        copies: `counts` of other lists in circulation, by their name.
    """

    read: Callable[[Path], list[ManifestRow]]
    counts: Mapping[str, int]
    n_files: int
    n_classes: int
    source: str
    copies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def copy_with(self, split: str, n_files: int) -> str | None:
        """The copy that has so many files in a split, if any."""
        found = (name for name, counts in self.copies.items() if counts.get(split) == n_files)
        return next(found, None)


def by_stem(path: Path) -> str:
    """The name of a file without its suffix."""
    return path.stem


def by_folder_and_stem(path: Path) -> str:
    """The same behind the name of its folder, for sets that use a name once per class."""
    return f"{path.parent.name}/{path.stem}"


class MediaFinder:
    """All media under a folder, by key: however deep they lie, and with whatever suffix.

    Of several files with the same key the first by path counts.

    Args:
        root: the folder.
        key: of a path.
    """

    def __init__(self, root: Path, key: Callable[[Path], str] = by_stem) -> None:
        self._paths: dict[str, str] = {}
        for path in files_under(root, SUFFIXES):
            self._paths.setdefault(key(path), path.relative_to(root).as_posix())

    def find(self, keys: Iterable[str], otherwise: str) -> str:
        """Path below the root of the first key that is there; `otherwise` marks a hole."""
        return next((self._paths[key] for key in keys if key in self._paths), otherwise)


def read_csv(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    """Lines of a CSV file whose header has at least `columns`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} must have the columns {columns}, got {reader.fieldnames}")
        yield from reader


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a text file without the space around them, empty ones left out."""
    with path.open(encoding="utf-8") as file:
        yield from filter(None, map(str.strip, file))


def merged(rows: Iterable[ManifestRow]) -> list[ManifestRow]:
    """One row per file; a file in several lists is in the splits of all of them.

    Raises:
        ValueError: a file is listed with different labels.
    """
    by_path: dict[str, ManifestRow] = {}
    for row in rows:
        known = by_path.get(row.path, row)
        if known.labels != row.labels:
            raise ValueError(f"{row.path} is listed as {known.labels} and as {row.labels}")
        splits = tuple(dict.fromkeys(known.splits + row.splits))
        by_path[row.path] = dataclasses.replace(row, splits=splits)
    return list(by_path.values())
