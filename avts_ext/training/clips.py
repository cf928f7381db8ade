"""Clips of a folder: those to train on, and fixed ones for validation, out of other files."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader

from avts_ext.data import (
    ClipBatchSampler,
    MediaEntry,
    SkipReport,
    SyncClipDataset,
    SyncItem,
    collate,
    open_index,
)
from avts_ext.data.draws import hash64
from avts_ext.training.config import PretrainConfig
from avts_ext.training.curriculum import Curriculum
from avts_ext.training.ranks import Ranks

_VALIDATION = 4  # keeps this draw apart from others
_VALIDATION_SEED = 0  # the same clips whatever the seed of the run, so that runs compare


@dataclass(frozen=True)
class Clips:
    """What a run reads.

    Attributes:
        training: batches of this rank, in the order of `sampler`.
        sampler: chooses the epoch and the batch to go on from.
        validation: the same batches whenever they are asked for; None without a validation share.
        skipped: broken files found so far.
    """

    training: DataLoader[SyncItem]
    sampler: ClipBatchSampler
    validation: DataLoader[SyncItem] | None
    skipped: SkipReport


def open_clips(config: PretrainConfig, ranks: Ranks) -> Clips:
    """Examine the folder and part its files.

    Raises:
        NotADirectoryError: the folder is none.
        ValueError: no usable media, fewer than a batch, or too few for validation.
    """
    data, run = config.data, config.run
    entries, skipped = open_index(data.root, min_duration_s=config.model.clip.duration_s)
    skipped.check_budget(data.max_broken_files)
    training, validation = split(entries[: data.max_files], data.validation_share)
    if data.validation_share and len(validation) < 2:
        raise ValueError(
            f"data.validation_share must put at least two of {len(entries)} files aside, "
            f"got {data.validation_share}, which puts aside {len(validation)}"
        )
    ids = [entry.media_id for entry in training]
    sampler = ClipBatchSampler(ids, run.batch_size // ranks.size, run.seed, ranks.rank, ranks.size)
    loader = _loader(config, training, run.seed, Curriculum(config.curriculum), sampler)
    return Clips(loader, sampler, _validation_loader(config, validation), skipped)


def split(
    entries: Sequence[MediaEntry], validation_share: float
) -> tuple[list[MediaEntry], list[MediaEntry]]:
    """Media for training and for validation.

    The side of a file follows from its id alone: it stays there when others come and go.
    """
    ids = np.array([entry.media_id for entry in entries], np.int64)
    aside = (hash64(_VALIDATION, ids) >> np.uint64(11)) / 2.0**53 < validation_share
    sides: tuple[list[MediaEntry], list[MediaEntry]] = ([], [])
    for entry, is_aside in zip(entries, aside.tolist(), strict=True):
        sides[is_aside].append(entry)
    return sides


def _validation_loader(
    config: PretrainConfig, entries: Sequence[MediaEntry]
) -> DataLoader[SyncItem] | None:
    """Every epoch meets the negatives of the last stage, so that all epochs compare."""
    if not entries:
        return None
    last_stage = dataclasses.replace(config.curriculum[-1], first_epoch=0)
    batches = fixed_batches(len(entries), config.run.batch_size)
    return _loader(config, entries, _VALIDATION_SEED, Curriculum((last_stage,)), batches)


def fixed_batches(n_items: int, batch_size: int) -> list[list[tuple[int, int]]]:
    """Keys (epoch, item) of all items, in even batches, none too small to hold a negative."""
    parts = np.array_split(np.arange(n_items), max(1, n_items // batch_size))
    return [[(0, int(item)) for item in part] for part in parts]


def _loader(
    config: PretrainConfig,
    entries: Sequence[MediaEntry],
    seed: int,
    negatives: Curriculum,
    batches: Iterable[list[tuple[int, int]]],
) -> DataLoader[SyncItem]:
    dataset = SyncClipDataset(
        entries,
        config.model.clip,
        seed,
        negatives,
        min_gap_s=config.data.min_gap_s,
        cache_dir=config.data.cache_dir,
    )
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=config.data.workers,
        worker_init_fn=_ignore_interrupt,
    )


def _ignore_interrupt(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, but the main one must still finish its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
