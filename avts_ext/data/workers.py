"""What data loader workers are reading, visible to the main process after one of them has died."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator

import torch
from torch.utils.data import get_worker_info

_MAX_WORKERS = 1024
_NOTHING = -1


class ReadingBoard:
    """A line of shared memory for each worker: its process, and the item it is reading."""

    def __init__(self) -> None:
        self._lines = torch.full((_MAX_WORKERS, 2), _NOTHING, dtype=torch.int64).share_memory_()

    @contextlib.contextmanager
    def reading(self, item: int) -> Iterator[None]:
        """Tell that this worker is reading an item, until the block is left."""
        worker = get_worker_info()
        if worker is None:
            yield
            return
        line = self._lines[worker.id]
        line[0], line[1] = os.getpid(), item
        try:
            yield
        finally:
            line[1] = _NOTHING

    def clear(self) -> None:
        """Forget the workers of before."""
        self._lines.fill_(_NOTHING)

    def left_by_the_dead(self) -> list[int | None]:
        """For each worker that is no longer alive what it was reading, None if nothing."""
        alive = {process.pid for process in multiprocessing.active_children()}
        lines = self._lines[self._lines[:, 0] != _NOTHING].tolist()
        left = [item for pid, item in lines if pid not in alive]
        return [None if item == _NOTHING else item for item in left]
