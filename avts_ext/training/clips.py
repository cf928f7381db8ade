"""Clips of a manifest: those to train on, and fixed ones for validation, out of other files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avts_ext.data import (
    ClipBatchSampler,
    ClipLoader,
    MediaTable,
    SkipReport,
    SyncClipDataset,
    manifest_of,
    open_index,
)
from avts_ext.data.draws import validation_draws
from avts_ext.data.loader import BatchOrder
from avts_ext.data.shards import ShardBatchSampler, ShardClipDataset
from avts_ext.training.config import PretrainConfig
from avts_ext.training.curriculum import Curriculum
from avts_ext.training.ranks import Ranks

_VALIDATION_SEED = 0  # the same clips whatever the seed of the run, so that runs compare


@dataclass(frozen=True)
class Clips:
    """What a run reads.

    Attributes:
        training: batches of this rank.
        validation: the same batches in every epoch; None without a validation share.
        skipped: broken files found so far.
        lanes: in how many stretches training batches come, see `ShardBatchSampler`; 1 for files.
    """

    training: ClipLoader
    validation: ClipLoader | None
    skipped: SkipReport
    lanes: int = 1


def open_clips(config: PretrainConfig, ranks: Ranks) -> Clips:
    """Read the manifest and part the files; of a folder, the manifest is made first.

    Raises:
        FileNotFoundError: there is no manifest.
        IsADirectoryError: several processes are given a folder.
        ValueError: no usable media, fewer than a batch, or too few for validation.
    """
    data, run = config.data, config.run
    manifest = _manifest(config, ranks)
    entries, left_out = open_index(
        manifest, split=data.split, min_duration_s=config.model.clip.duration_s
    )
    skipped = SkipReport()
    if manifest != Path(data.root):
        # What a manifest calls broken is known, but this one nobody has seen yet.
        print(f"{manifest}: {len(entries)} of {len(entries) + len(left_out)} files are usable")
        skipped = left_out
    skipped.check_budget(data.max_broken_files)
    training, validation = split(entries[: data.max_files], data.validation_share)
    if data.validation_share and len(validation) < 2:
        raise ValueError(
            f"data.validation_share must put at least two of {len(entries)} files aside, "
            f"got {data.validation_share}, which puts aside {len(validation)}"
        )
    order, lanes = _training_order(config, training, ranks)
    dataset = _dataset(config, training, run.seed, Curriculum(config.curriculum))
    loader = ClipLoader(dataset, order, data.workers)
    return Clips(loader, _validation_loader(config, validation), skipped, lanes)


def _manifest(config: PretrainConfig, ranks: Ranks) -> Path:
    """The manifest to read: what `data.root` names, or that of the folder, in the run's folder."""
    data = config.data
    if ranks.size > 1:  # whose connection does not last for hours of examination by one of them
        return Path(data.root)
    if data.split is not None and Path(data.root).is_dir():
        raise ValueError(
            f"data.split must be None for the folder {data.root!r}, got {data.split!r}"
        )
    return manifest_of(data.root, Path(config.run.out_dir) / "manifest.parquet")


def _training_order(
    config: PretrainConfig, entries: MediaTable, ranks: Ranks
) -> tuple[BatchOrder, int]:
    """The batches of this rank, and in how many stretches they come."""
    workers, seed, n_items = (
        config.data.workers,
        config.run.seed,
        config.run.batch_size // ranks.size,
    )
    if entries.shards:
        order = ShardBatchSampler(entries, n_items, seed, ranks.rank, ranks.size, workers)
        return order, order.n_lanes
    return ClipBatchSampler(entries.media_ids, n_items, seed, ranks.rank, ranks.size), 1


def split(entries: MediaTable, validation_share: float) -> tuple[MediaTable, MediaTable]:
    """Media for training and for validation.

    The side of a file follows from its id alone: it stays there when others come and go.
    """
    aside = validation_draws(entries.media_ids) < validation_share
    return entries.take(np.flatnonzero(~aside)), entries.take(np.flatnonzero(aside))


def _validation_loader(config: PretrainConfig, entries: MediaTable) -> ClipLoader | None:
    """Every epoch meets the negatives of the last stage, so that all epochs compare."""
    if not entries:
        return None
    last_stage = dataclasses.replace(config.curriculum[-1], first_epoch=0)
    shard_by_shard = np.argsort(entries.shard_of, kind="stable")
    order = FixedBatches(shard_by_shard, config.run.batch_size)
    dataset = _dataset(config, entries, _VALIDATION_SEED, Curriculum((last_stage,)))
    return ClipLoader(dataset, order, config.data.workers)


class FixedBatches:
    """Keys (0, item) of all items, in even batches, none too small to hold a negative.

    Args:
        items: in their order.
        batch_size: items in a batch; up to twice as many where they do not come out even.
    """

    def __init__(self, items: np.ndarray, batch_size: int) -> None:
        self._parts = np.array_split(items, max(1, len(items) // batch_size))
        self._first_batch = 0

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the batch to begin at; all epochs are the same."""
        self._first_batch = first_batch

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for part in self._parts[self._first_batch :]:
            yield [(0, int(item)) for item in part]


def _dataset(
    config: PretrainConfig, entries: MediaTable, seed: int, negatives: Curriculum
) -> SyncClipDataset:
    kind = ShardClipDataset if entries.shards else SyncClipDataset
    return kind(
        entries,
        config.model.clip,
        seed,
        negatives,
        min_gap_s=config.data.min_gap_s,
        cache_dir=config.data.cache_dir,
    )
