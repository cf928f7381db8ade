"""What the cells of a grid are pretrained on: manifests of nested subsets of one set of media."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avts_ext.data import ManifestRow, manifest_of, read_manifest, write_manifest
from avts_ext.data.datasets.subset import class_proportional
from avts_ext.world import load_truth
from avts_ext.world.truth import DESCRIPTION_FILE

__all__ = ["PretrainingSet"]


@dataclass(frozen=True)
class PretrainingSet:
    """Media that networks are pretrained on, with classes where they are known.

    Attributes:
        name: for tables and folders.
        root: folder that paths of rows are relative to.
        rows: usable files.
    """

    name: str
    root: Path
    rows: Sequence[ManifestRow]

    @classmethod
    def open(cls, name: str, source: str, split: str | None, folder: Path) -> PretrainingSet:
        """The media of a manifest; of a folder, the manifest is made first.

        Classes are those of the manifest; of a generated world's folder of videos they are those of
        its truth. They only serve to keep the proportions of classes in subsets.

        Args:
            name: of the set.
            source: the manifest or the folder.
            split: part of a manifest's data set; None for all of it.
            folder: where the manifest of a folder is kept.

        Raises:
            OSError: the source cannot be read.
            ValueError: none of its files is usable.
        """
        manifest = read_manifest(manifest_of(source, folder / f"{name}.parquet"))
        rows = manifest.rows if split is None else manifest.split(split)
        usable = [row for row in rows if row.fault is None]
        if not usable:
            raise ValueError(f"{source!r} holds no usable media")
        return cls(name, manifest.root, _with_classes_of_world(usable, manifest.root))

    def subset(self, count: int) -> Sequence[ManifestRow]:
        """About so many files, the same share of every class, rounded up in each.

        Which files are taken follows from their names alone, and smaller subsets are parts of
        larger ones.

        Raises:
            ValueError: `count` is not between 1 and the number of files.
        """
        if not 1 <= count <= len(self.rows):
            raise ValueError(
                f"count: got {count}, expected between 1 and the {len(self.rows)} files of the "
                f"set {self.name!r}"
            )
        return class_proportional(self.rows, count / len(self.rows))

    def write_subset(self, count: int, folder: Path) -> tuple[Path, int]:
        """Write the manifest of a subset, if it is not there; its path and number of files."""
        rows = self.subset(count)
        path = folder / f"{self.name}_{len(rows)}.parquet"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(path, self.root, rows)
        return path, len(rows)


def _with_classes_of_world(rows: Sequence[ManifestRow], root: Path) -> Sequence[ManifestRow]:
    worlds = [folder for folder in (root, root.parent) if (folder / DESCRIPTION_FILE).exists()]
    if any(row.labels for row in rows) or not worlds:
        return rows
    classes = {Path(truth.path).name: str(truth.label) for truth in load_truth(worlds[0])}
    return [dataclasses.replace(row, labels=(classes[Path(row.path).name],)) for row in rows]
