"""Clips of a folder: those to train on, and fixed ones for validation, out of other files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avts_ext.data import (
    ClipBatchSampler,
    ClipLoader,
    MediaTable,
    SkipReport,
    SyncClipDataset,
    open_index,
)
from avts_ext.data.draws import hash64
from avts_ext.data.shards import ShardBatchSampler, ShardClipDataset
from avts_ext.training.config import PretrainConfig
from avts_ext.training.curriculum import Curriculum
from avts_ext.training.ranks import Ranks

_VALIDATION = 4  # keeps this draw apart from others
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
    """Read the manifest, or examine the folder, and part the files.

    Raises:
        NotADirectoryError: the folder is none.
        ValueError: no usable media, fewer than a batch, or too few for validation.
    """
    data, run = config.data, config.run
    entries, left_out = open_index(
        data.root, split=data.split, min_duration_s=config.model.clip.duration_s
    )
    # What a manifest calls broken is known; it is no surprise to report, and there may be much.
    skipped = SkipReport() if os.path.isfile(data.root) else left_out
    skipped.check_budget(data.max_broken_files)
    training, validation = split(entries[: data.max_files], data.validation_share)
    if data.validation_share and len(validation) < 2:
        raise ValueError(
            f"data.validation_share must put at least two of {len(entries)} files aside, "
            f"got {data.validation_share}, which puts aside {len(validation)}"
        )
    if entries.shards:
        return _sharded_clips(config, training, ranks, skipped)
    order = ClipBatchSampler(
        training.media_ids, run.batch_size // ranks.size, run.seed, ranks.rank, ranks.size
    )
    dataset = _dataset(config, training, run.seed, Curriculum(config.curriculum))
    loader = ClipLoader(dataset, order, data.workers)
    return Clips(loader, _validation_loader(config, validation), skipped)


def _sharded_clips(
    config: PretrainConfig, entries: MediaTable, ranks: Ranks, skipped: SkipReport
) -> Clips:
    data, run = config.data, config.run
    if data.validation_share:
        raise ValueError(
            f"data.validation_share must be 0 for shards, got {data.validation_share}: "
            "each epoch would unpack all of them for it"
        )
    order = ShardBatchSampler(
        entries, run.batch_size // ranks.size, run.seed, ranks.rank, ranks.size, data.workers
    )
    dataset = _dataset(config, entries, run.seed, Curriculum(config.curriculum), ShardClipDataset)
    return Clips(ClipLoader(dataset, order, data.workers), None, skipped, order.n_lanes)


def split(entries: MediaTable, validation_share: float) -> tuple[MediaTable, MediaTable]:
    """Media for training and for validation.

    The side of a file follows from its id alone: it stays there when others come and go.
    """
    draws = (hash64(_VALIDATION, entries.media_ids) >> np.uint64(11)) / 2.0**53
    aside = draws < validation_share
    return entries.take(np.flatnonzero(~aside)), entries.take(np.flatnonzero(aside))


def _validation_loader(config: PretrainConfig, entries: MediaTable) -> ClipLoader | None:
    """Every epoch meets the negatives of the last stage, so that all epochs compare."""
    if not entries:
        return None
    last_stage = dataclasses.replace(config.curriculum[-1], first_epoch=0)
    order = FixedBatches(len(entries), config.run.batch_size)
    dataset = _dataset(config, entries, _VALIDATION_SEED, Curriculum((last_stage,)))
    return ClipLoader(dataset, order, config.data.workers)


class FixedBatches:
    """Keys (0, item) of all items, in even batches, none too small to hold a negative.

    Args:
        n_items: number of items.
        batch_size: items in a batch; up to twice as many where they do not come out even.
    """

    def __init__(self, n_items: int, batch_size: int) -> None:
        self._parts = np.array_split(np.arange(n_items), max(1, n_items // batch_size))
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
    config: PretrainConfig,
    entries: MediaTable,
    seed: int,
    negatives: Curriculum,
    kind: type[SyncClipDataset] = SyncClipDataset,
) -> SyncClipDataset:
    return kind(
        entries,
        config.model.clip,
        seed,
        negatives,
        min_gap_s=config.data.min_gap_s,
        cache_dir=config.data.cache_dir,
    )
