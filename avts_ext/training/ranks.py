"""The processes that train together: one alone, or those that torchrun started.

Each has its share of every batch. After a step all hold the same weights, optimizer state and
statistics, bit by bit, so that any of them could be saved and all go on from one file.

All gradients travel in one reduction. DistributedDataParallel would overlap it with the backward
pass, but lays out its buckets anew after the first step: a resumed run would sum in another order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Ranks:
    """This process among its peers, from the environment that torchrun sets.

    Attributes:
        rank: of this process, from 0; rank 0 writes files and progress.
        size: number of processes.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))

    def check_batch_size(self, batch_size: int) -> None:
        """Raise ValueError unless a batch parts evenly, with a negative for everyone."""
        if batch_size % self.size or batch_size < 2 * self.size:
            raise ValueError(
                f"run.batch_size must be a multiple of the {self.size} processes and leave each at "
                f"least two clips, got {batch_size}"
            )

    @property
    def is_first(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of a configuration; "cuda" becomes this process's own.

        Raises:
            ValueError: it cannot be used.
        """
        try:
            device = torch.device(name)
            if device.type == "cuda" and device.index is None and self.size > 1:
                device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # the latter where torch has no CUDA
            problem = str(error).splitlines()[0]
            raise ValueError(f"run.device is {name!r}, which cannot be used: {problem}") from None
        return device

    @contextlib.contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Connect to the other processes, unless the caller has done so."""
        if self.size == 1 or dist.is_initialized():
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace floating-point tensors of one dtype and device by their mean over all ranks."""
        if self.size == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def gather(self, value: Any) -> list[Any]:
        """A picklable value of every rank, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values
