"""The operator `avts::clip_offset`: pairs drawn from a table of starts, in whole grid steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS

# `ClipStarts` tells what media and ranges hold. starts[0] is the video's, starts[1] the audio's.
LIBRARY.define(
    "clip_offset(Tensor media, Tensor ranges, Tensor query, int hard_distance, int min_offset, "
    "int max_offset, int[] kind_bound, int seed, int epoch, int first_draw, int draws) -> "
    "(Tensor starts, Tensor kind, Tensor audio_media, Tensor fallback)",
    tags=TAGS,
)

MAX_STEPS = 2**53  # starts and distances below it are exact in float64, too


@torch.library.register_fake("avts::clip_offset")
def empty_outputs(
    media: Tensor,
    ranges: Tensor,
    query: Tensor,
    hard_distance: int,
    min_offset: int,
    max_offset: int,
    kind_bound: Sequence[int],
    seed: int,
    epoch: int,
    first_draw: int,
    draws: int,
) -> tuple[Tensor, ...]:
    """Memory for the results, after all checks that do not read values; works on fake tensors."""
    _check_table("media", media, 4)
    _check_table("ranges", ranges, 2)
    if query.dtype != torch.int64 or query.dim() != 1:
        raise ValueError(
            f"query is {query.dtype} of shape {tuple(query.shape)}, expected 1-D torch.int64"
        )
    _check_range("hard_distance", hard_distance, 1, MAX_STEPS)
    _check_range("min_offset", min_offset, 1, MAX_STEPS)
    _check_range("max_offset", max_offset, 0, MAX_STEPS)
    _check_range("epoch", epoch, 0, 2**31 - 1)
    _check_range("first_draw", first_draw, 0, 2**32 - 1)
    _check_range("draws", draws, 0, 2**32 - first_draw)
    bounds = tuple(kind_bound)
    if len(bounds) != 4 or not 0 <= bounds[0] <= bounds[1] <= bounds[2] <= bounds[3] == 2**32:
        raise ValueError(f"kind_bound is {kind_bound}, expected 4 ascending, the last one 2^32")
    n = query.shape[0]
    return (
        query.new_empty(2, n, draws),
        query.new_empty(n, draws, dtype=torch.int8),
        query.new_empty(n, draws),
        query.new_empty(n, draws, dtype=torch.bool),
    )


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, expected {least} to {most}")


def _check_table(name: str, table: Tensor, columns: int) -> None:
    shape = table.shape
    if table.dtype != torch.int64 or len(shape) != 2 or shape[1] != columns or shape[0] == 0:
        raise ValueError(
            f"{name} is {table.dtype} of shape {tuple(shape)}, expected torch.int64 of shape "
            f"(1 or more, {columns})"
        )


def clip_offset_cpu(
    media: Tensor, ranges: Tensor, query: Tensor, *options: int | Sequence[int]
) -> tuple[Tensor, ...]:
    """The CPU kernel. Strided inputs are copied."""
    outputs = empty_outputs(media, ranges, query, *options)  # type: ignore[arg-type]
    inputs = (media.contiguous(), ranges.contiguous(), query.contiguous())
    _C.clip_offset(*inputs, *options[:-1], torch.get_num_threads(), *outputs)
    return outputs


LIBRARY.impl("clip_offset", clip_offset_cpu, "CPU")
