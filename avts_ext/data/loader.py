"""Batches of clips from worker processes, any of which a decoder may take down with it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Protocol

from torch.utils.data import DataLoader

from avts_ext.data.dataset import Batch, SyncClipDataset, SyncItem, collate


class BatchOrder(Sized, Protocol):
    """Batches of (epoch, item) keys, such as `ClipBatchSampler`."""

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch of the next iteration, and the batch to begin at."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]: ...


class ClipLoader:
    """Batches of an epoch, made in order by worker processes.

    A worker that dies costs the file that it was reading, not the run: the file counts as broken
    (`Fault.CRASH`), and reading goes on with the same batch and another file in its place. Without
    workers a crash of the decoder ends the process.

    Args:
        dataset: where clips come from.
        order: which clips make a batch.
        workers: processes that read clips; 0 reads them in this process.
    """

    def __init__(self, dataset: SyncClipDataset, order: BatchOrder, workers: int = 0) -> None:
        self.dataset = dataset
        self._order = order
        self._loader: DataLoader[SyncItem] = DataLoader(
            dataset,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=_ignore_interrupt,
        )

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self._order)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from `first_batch` on.

        Raises:
            TooManyBrokenFilesError: many media in a row are broken.
            ChildProcessError: a worker died while it was reading nothing.
        """
        with _child_handler_kept():
            while True:
                self._order.set_epoch(epoch, first_batch)
                self.dataset.board.clear()
                batches = iter(self._loader)
                _let_deaths_wait()
                try:
                    for batch in batches:
                        yield batch
                        first_batch += 1
                    return
                except RuntimeError as error:
                    self._exclude_what_killed(error)
                del batches  # ends the other workers before new ones begin

    def _exclude_what_killed(self, error: RuntimeError) -> None:
        left = self.dataset.board.left_by_the_dead()
        if not left:
            raise error
        items = [item for item in left if item is not None]
        if not items:
            message = "a data worker died while it was reading no file; is memory short?"
            raise ChildProcessError(message) from error
        for item in items:
            self.dataset.exclude(item)


def _ignore_interrupt(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, but the main one must still finish its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _child_handler_kept() -> Iterator[None]:
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if _is_main_thread():
            signal.signal(signal.SIGCHLD, before)


def _let_deaths_wait() -> None:
    # PyTorch's handler, set with the first worker, raises wherever the main thread is when a worker
    # dies, even in the middle of an optimizer step. Without it, whoever waits for a batch is told.
    if _is_main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
