"""Published data sets with labels and official folds, checked before anything is scored on them.

A fold file that was changed is always refused. Files or classes that are not there are refused too,
unless a partial set was asked for: then the coverage goes into the record of the result.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avts_ext.data.datasets import DataSet, data_set
from avts_ext.data.manifest import ManifestRow, read_manifest

__all__ = ["Fold", "LabelledSet", "open_labelled"]

_INNER_FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """One way to part a set. Rows are places in its list.

    Attributes:
        name: of the fold.
        train, test: (N,) and (M,) int64 rows.
        inner: (N,) int64, the part of each training row when parameters are chosen on training rows
            alone.
    """

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    inner: NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSet:
    """Recordings of a published data set.

    Attributes:
        name: in `avts_ext.data.datasets.DATASETS`.
        paths: N files.
        labels: (N,) int64 class of each.
        classes: names of the classes.
        folds: official ways to part it.
        official: how many files and classes its authors count in these folds.
        holes: what is not as published, in words; empty for a complete set.
    """

    name: str
    paths: Sequence[Path]
    labels: NDArray[np.int64]
    classes: Sequence[str]
    folds: Sequence[Fold]
    official: dict[str, int]
    holes: list[str] = field(default_factory=list)

    def without(self, kept: NDArray[np.int64], allow_partial: bool) -> LabelledSet:
        """The set without files that turned out to be broken.

        Args:
            kept: rows that are left, increasing.
            allow_partial: whether a set with holes may be used.

        Raises:
            ValueError: files are gone and that is not allowed, or nothing of a fold is left.
        """
        lost = len(self.paths) - len(kept)
        if not lost:
            return self
        holes = [*self.holes, f"{lost} files are there but cannot be used"]
        _refuse_holes(self.name, holes, allow_partial)
        place = np.full(len(self.paths), -1)
        place[kept] = np.arange(len(kept))
        folds = [_renumbered(fold, place) for fold in self.folds]
        _check_folds(self.name, folds, self.labels[kept], self.classes)
        paths = [self.paths[row] for row in kept]
        return LabelledSet(
            self.name, paths, self.labels[kept], self.classes, folds, self.official, holes
        )

    def coverage(self) -> dict[str, Any]:
        """What was scored of what there is, for the record."""
        return {
            "files": len(self.paths),
            "classes": len(self.classes),
            "official": self.official,
            "holes": self.holes,
        }


def open_labelled(
    name: str, source: str | os.PathLike[str], *, allow_partial: bool = False
) -> LabelledSet:
    """A data set as it lies in a folder, with its official folds.

    Args:
        name: "esc50", "dcase2014", "ucf101" or "hmdb51".
        source: its folder, of which the lists are read; or the manifest that `avts index` made of
            it, in which broken files are known beforehand.
        allow_partial: score what is there though files or classes are missing.

    Raises:
        FileNotFoundError: a list of the data set is not there.
        ValueError: the lists were changed, or the set is incomplete and `allow_partial` is not
            given, or the manifest is of another set; the message tells what is wrong.
    """
    rules, published = _RULES[name], data_set(name)
    root, every_row = _read(name, source)
    listed = [row for row in every_row if set(row.splits) & set(rules.splits)]
    altered = [text for row in listed for text in rules.contradictions(row)]
    altered += rules.mislabelled(listed) + _shared_sources(listed, rules)
    if altered:
        raise ValueError(
            f"{name}: the lists in {os.fspath(source)!r} are not the published ones: {altered[0]} "
            f"({len(altered)} contradictions)"
        )
    rows = [row for row in listed if (root / row.path).is_file()]
    holes = _holes(listed, rows, published, rules.splits)
    _refuse_holes(name, holes, allow_partial)
    classes = sorted({row.labels[0] for row in rows})
    labels = np.array([classes.index(row.labels[0]) for row in rows], dtype=np.int64)
    folds = rules.folds(rows, labels)
    _check_folds(name, folds, labels, classes)
    official = {split: published.counts[split] for split in rules.splits}
    found = LabelledSet(
        name,
        [root / row.path for row in rows],
        labels,
        classes,
        folds,
        official | {"classes": published.n_classes},
        holes,
    )
    return found.without(np.flatnonzero([row.fault is None for row in rows]), allow_partial)


def _read(name: str, source: str | os.PathLike[str]) -> tuple[Path, Sequence[ManifestRow]]:
    """The root of a data set and all its rows."""
    if not os.path.isfile(source):
        return Path(source), data_set(name).read(Path(source))
    manifest = read_manifest(source)
    if manifest.dataset != name:
        raise ValueError(
            f"{name}: {os.fspath(source)!r} must be a manifest of it, made with --dataset {name}, "
            f"got one of {manifest.dataset or 'a folder'}"
        )
    return manifest.root, manifest.rows


@dataclass(frozen=True)
class _Rules:
    """What is known of the lists of a data set.

    Attributes:
        splits: those that the folds are made of.
        folds: makes them from rows and labels.
        contradictions: what in a row contradicts itself, in words.
        parts_sources: whether files of one source may be on both sides of a fold.
        mislabelled: what contradicts other rows, in words.
    """

    splits: tuple[str, ...]
    folds: Callable[[Sequence[ManifestRow], NDArray[np.int64]], list[Fold]]
    contradictions: Callable[[ManifestRow], list[str]]
    parts_sources: bool = False
    mislabelled: Callable[[Sequence[ManifestRow]], list[str]] = lambda _rows: []


def _leave_one_out(rows: Sequence[ManifestRow], labels: NDArray[np.int64]) -> list[Fold]:
    """Each split is the test set once; the others are also the inner folds."""
    names = [next(name for name in row.splits if name in _ESC50_SPLITS) for row in rows]
    part = np.array([_ESC50_SPLITS.index(name) for name in names], dtype=np.int64)
    folds = []
    for k, name in enumerate(_ESC50_SPLITS):
        train = np.flatnonzero(part != k)
        folds.append(Fold(name, train, np.flatnonzero(part == k), part[train]))
    return folds


def _one_train_and_test(rows: Sequence[ManifestRow], labels: NDArray[np.int64]) -> list[Fold]:
    return [_fold("train and test", rows, labels, "train", "test")]


def _three_partitions(rows: Sequence[ManifestRow], labels: NDArray[np.int64]) -> list[Fold]:
    return [_fold(f"split {k}", rows, labels, f"train{k}", f"test{k}") for k in (1, 2, 3)]


def _fold(
    name: str, rows: Sequence[ManifestRow], labels: NDArray[np.int64], train: str, test: str
) -> Fold:
    """Training rows of each class are dealt out to the inner folds in turn."""
    train_rows = np.array([i for i, row in enumerate(rows) if train in row.splits], dtype=np.int64)
    test_rows = np.array([i for i, row in enumerate(rows) if test in row.splits], dtype=np.int64)
    seen = collections.Counter[int]()
    inner = []
    for label in labels[train_rows].tolist():
        inner.append(seen[label] % _INNER_FOLDS)
        seen[label] += 1
    return Fold(name, train_rows, test_rows, np.array(inner, dtype=np.int64))


def _esc50_contradictions(row: ManifestRow) -> list[str]:
    """A name is FOLD-SOURCE-TAKE-TARGET.wav: the list must say the same."""
    name = Path(row.path).stem
    parts = re.fullmatch(r"(\d)-(\d+)-[A-Z]\d*-(\d+)", name)
    if parts is None:
        return [f"{name} is no name of the set"]
    fold, source, _target = parts.groups()
    if f"fold{fold}" not in row.splits:
        return [f"{name} is listed in {', '.join(row.splits)}, and its name says fold {fold}"]
    return [] if row.source == source else [f"{name} is listed with source {row.source}"]


def _esc50_mislabelled(rows: Sequence[ManifestRow]) -> list[str]:
    """Files whose names tell the same target have the same category."""
    targets = [Path(row.path).stem.rpartition("-")[2] for row in rows]
    categories: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for target, row in zip(targets, rows, strict=True):
        categories[target][row.labels[0]] += 1
    usual = {target: found.most_common(1)[0][0] for target, found in categories.items()}
    return [
        f"{row.path} is listed as {row.labels[0]}, others of target {target} as {usual[target]}"
        for target, row in zip(targets, rows, strict=True)
        if row.labels[0] != usual[target]
    ]


def _ucf101_contradictions(row: ManifestRow) -> list[str]:
    """Test split k holds the groups 7 k - 6 to 7 k of every class, and training all others."""
    group = re.search(r"_g(\d+)_c\d+$", Path(row.path).stem)
    if group is None:
        return [f"{row.path} has no group in its name"]
    tested_in = (int(group[1]) - 1) // 7 + 1
    expected = {f"{'test' if k == tested_in else 'train'}{k}" for k in (1, 2, 3)}
    if expected == set(row.splits):
        return []
    return [f"{row.path} is in {', '.join(row.splits)}; its group belongs to test{tested_in}"]


def _both_sides(row: ManifestRow) -> list[str]:
    both = [k for k in ("", "1", "2", "3") if {f"train{k}", f"test{k}"} <= set(row.splits)]
    return [f"{row.path} is in train{k} and in test{k}" for k in both]


_ESC50_SPLITS = tuple(f"fold{k}" for k in range(1, 6))
_PARTITIONS = tuple(f"{kind}{k}" for k in (1, 2, 3) for kind in ("train", "test"))
_RULES = {
    "esc50": _Rules(
        _ESC50_SPLITS, _leave_one_out, _esc50_contradictions, mislabelled=_esc50_mislabelled
    ),
    "dcase2014": _Rules(("train", "test"), _one_train_and_test, _both_sides),
    "ucf101": _Rules(_PARTITIONS, _three_partitions, _ucf101_contradictions),
    # Clips of one film are in both by design, as long as they come from different videos.
    "hmdb51": _Rules(_PARTITIONS, _three_partitions, _both_sides, parts_sources=True),
}


def _shared_sources(rows: Sequence[ManifestRow], rules: _Rules) -> list[str]:
    """Sources whose files would be trained on and tested."""
    if rules.parts_sources:
        return []
    sets = collections.defaultdict(set)
    for row in rows:
        if row.source is not None:
            sets[row.source].add(frozenset(set(row.splits) & set(rules.splits)))
    return [
        f"files of source {source} are in {len(found)} different parts"
        for source, found in sets.items()
        if len(found) > 1
    ]


def _holes(
    listed: Sequence[ManifestRow],
    there: Sequence[ManifestRow],
    published: DataSet,
    splits: Sequence[str],
) -> list[str]:
    holes = []
    for split in splits:
        n_listed = sum(split in row.splits for row in listed)
        if n_listed != published.counts[split]:
            holes.append(f"{split} lists {n_listed} files of {published.counts[split]}")
        n_there = sum(split in row.splits for row in there)
        if n_there != n_listed:
            holes.append(f"{n_listed - n_there} of the {n_listed} files of {split} are missing")
    n_classes = len({row.labels[0] for row in there})
    if n_classes != published.n_classes:
        holes.append(f"{n_classes} of {published.n_classes} classes are there")
    return holes


def _refuse_holes(name: str, holes: list[str], allow_partial: bool) -> None:
    if holes and not allow_partial:
        raise ValueError(
            f"{name} is incomplete: {'; '.join(holes)}. To score what is there, with this in the "
            "record, set allow_partial"
        )


def _check_folds(
    name: str, folds: Sequence[Fold], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    for fold in folds:
        if len(fold.test) == 0:
            raise ValueError(f"{name}: nothing is left of the test set of {fold.name}")
        absent = set(range(len(classes))) - set(labels[fold.train].tolist())
        if absent:
            raise ValueError(
                f"{name}: {fold.name} has no training file of class {classes[min(absent)]!r}"
            )


def _renumbered(fold: Fold, place: NDArray[np.int64]) -> Fold:
    train, test = place[fold.train], place[fold.test]
    return Fold(fold.name, train[train >= 0], test[test >= 0], fold.inner[train >= 0])
