"""One batch of the rows of all processes, for losses that seek negatives among them."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from avts_ext.ops.sync_loss import ROW_ARGUMENTS

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool)


def gather_batch(
    video: Tensor,
    audio: Tensor,
    *,
    group: dist.ProcessGroup | None = None,
    **windows: Tensor | None,
) -> dict[str, Tensor | None]:
    """The rows of all processes, in the order of ranks, as arguments of a sync loss.

    Every process computes the loss of the whole batch, the same in each:
    ``loss(**gather_batch(video, audio, ...))``. A process may have any number of rows, also none.

    Gradients: the backward pass sums over processes what the loss of each has sent to a row. With W
    processes a row thus receives W times the gradient that it has in one process with the whole
    batch. The *mean* over processes of the weights' gradients, which DistributedDataParallel takes,
    is then exactly the gradient of one process. The same mean is right for a learned temperature.
    Where gradients are summed instead, divide the loss by W.

    Args:
        video: (N, D) embeddings of this process; half precision is gathered as float32.
        audio: (M, D) likewise.
        group: processes to gather from; None: all.
        windows: ids, window starts, groups and silence of the rows, named as
            :func:`avts_ext.ops.sync_loss.sync_contrastive_loss` takes them. Without ids row i of
            both sides of one process belongs together.

    Returns:
        The arguments with the rows of all processes; as they were given if torch.distributed is
        not in use or the group has one process.

    Raises:
        ValueError: in all processes alike, if they differ in D, in dtype, in what is given or in
            what needs a gradient, or if ids and the like are not one per row.
        TypeError: `windows` has another name than these.
    """
    if not windows.keys() <= set(ROW_ARGUMENTS):
        raise TypeError(f"windows are {sorted(windows)}, expected some of {ROW_ARGUMENTS}")
    tensors: dict[str, Tensor | None] = {"video": video, "audio": audio}
    tensors |= {name: windows.get(name) for name in ROW_ARGUMENTS}
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size(group) == 1:
        return tensors
    counts = _agreed_counts(tensors, group)
    first_row = [0, *accumulate(map(max, counts["video"], counts["audio"]))][dist.get_rank(group)]
    gathered: dict[str, Tensor | None] = {}
    for name, rows in tensors.items():
        side = name[:5]
        if rows is None and name.endswith("_ids"):
            rows = first_row + torch.arange(len(tensors[side]), device=video.device)  # type: ignore[arg-type]
        gathered[name] = None if rows is None else _gathered(rows, counts[side], group)
    return gathered


def _gathered(rows: Tensor, counts: list[int], group: dist.ProcessGroup | None) -> Tensor:
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()  # so that gradients are not summed in half precision
    gathered: Tensor = _GatherRows.apply(rows, counts, group)
    return gathered


class _GatherRows(torch.autograd.Function):
    """All processes' rows; the gradient of a row is the sum of what all send it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], group: Any) -> Tensor:
        ctx.counts, ctx.group = counts, group
        padded = rows.new_zeros(max(counts), *rows.shape[1:])  # collectives want equal shapes
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total.split(ctx.counts)[dist.get_rank(ctx.group)], None, None


# --- Agreement ----------------------------------------------------------------------------------
# A process that raised alone would leave the others waiting for it. All see all shapes first, and
# come to the same conclusion.


class _Description(NamedTuple):
    """What the processes tell each other about a tensor."""

    rows: int
    row_elements: int
    dimensions: int
    dtype: int
    requires_grad: int

    @classmethod
    def of(cls, x: Tensor | None) -> _Description:
        if x is None:
            return _NOT_GIVEN
        dtype = _DTYPES.index(x.dtype) if x.dtype in _DTYPES else -1
        rows = x.shape[0] if x.ndim else 0
        return cls(rows, x.shape[1:].numel(), x.ndim, dtype, int(x.requires_grad))

    def __str__(self) -> str:
        if self == _NOT_GIVEN:
            return "None"
        kind = str(_DTYPES[self.dtype]) if self.dtype >= 0 else "of another dtype"
        gradient = ", needs a gradient" if self.requires_grad else ""
        return f"{kind}, {self.dimensions}-dimensional, D = {self.row_elements}{gradient}"


_NOT_GIVEN = _Description(-1, 0, 0, 0, 0)


def _agreed_counts(
    tensors: dict[str, Tensor | None], group: dist.ProcessGroup | None
) -> dict[str, list[int]]:
    """Number of "video" and of "audio" rows of each process."""
    device = tensors["video"].device  # type: ignore[union-attr]
    own = torch.tensor([_Description.of(x) for x in tensors.values()], device=device)
    everyones = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyones, own, group=group)
    counts: dict[str, list[int]] = {}
    for n, name in enumerate(tensors):
        of_ranks = [_Description(*x[n].tolist()) for x in everyones]
        _check_alike(name, of_ranks)
        rows = [x.rows for x in of_ranks]
        expected = counts.setdefault(name[:5], rows)
        if of_ranks[0] != _NOT_GIVEN and rows != expected:
            raise ValueError(f"{name} has {rows} rows by rank, expected {expected}")
    return counts


def _check_alike(name: str, of_ranks: list[_Description]) -> None:
    first = of_ranks[0]
    if first != _NOT_GIVEN and (first.dtype < 0 or not first.dimensions):
        raise ValueError(f"{name} is {first}, expected rows of one of {_DTYPES}")
    for rank, found in enumerate(of_ranks):
        if found._replace(rows=first.rows) != first or (found.rows < 0) != (first.rows < 0):
            raise ValueError(f"{name} of rank {rank} is {found}; that of rank 0: {first}")
