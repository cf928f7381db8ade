"""The order in which media are visited: a function of the seed and the epoch, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from avts_ext.data.draws import hash64

_ORDER = 1  # keeps these draws apart from others made from the same seed and epoch


class ClipBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, item) keys for `SyncClipDataset`, each item at most once an epoch.

    All ranks walk the same shuffled order: global batch b is one stretch of it, of which rank r
    takes the r-th `batch_size` items. So the same global batches come out for any number of ranks
    with the same `batch_size * world_size`. Items that do not fill a global batch wait for another
    epoch.

    Args:
        media_ids: (N,) one id per item; the order depends on ids, not on positions.
        batch_size: items in a batch of one rank.
        seed: of the whole run.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        media_ids: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        if len(media_ids) < batch_size * world_size:
            raise ValueError(
                f"batch_size * world_size must be at most the number of media, {len(media_ids)}, "
                f"got {batch_size} * {world_size}"
            )
        self._media_ids = np.asarray(media_ids, np.int64)
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch of the next iteration, and the batch to begin at when resuming.

        The first batch counts for one iteration; the one after begins at zero again.
        """
        if not 0 <= first_batch <= len(self):
            raise ValueError(f"first_batch must be in [0, {len(self)}], got {first_batch}")
        self._epoch = epoch
        self._first_batch = first_batch

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self._media_ids) // (self._batch_size * self._world_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first_batch = self._epoch, self._first_batch
        self._first_batch = 0
        keys = hash64(_ORDER, self._seed, epoch, self._media_ids)
        order = np.lexsort((self._media_ids, keys))
        for batch in range(first_batch, len(self)):
            start = (batch * self._world_size + self._rank) * self._batch_size
            yield [(epoch, int(item)) for item in order[start : start + self._batch_size]]
