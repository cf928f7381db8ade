"""Where the clips of positive, easy, hard and super-hard pairs begin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS

DEFAULT_TICK_S = 1e-6  # resolution of the starts where no snap_s is given


class PairKind(IntEnum):
    """What an (audio, video) pair is to the learner (Korbar et al. 2018, section 3)."""

    POSITIVE = 0  # the same window of the same medium
    EASY = 1  # sound of another medium
    HARD = 2  # the same medium, windows apart
    SUPER_HARD = 3  # the same medium, windows overlap but are shifted


class ClipOffsets(NamedTuple):
    """Starts of B x draws pairs.

    Attributes:
        video_start_s: (B, draws) float64 seconds after the start of the medium.
        audio_start_s: (B, draws) float64 seconds after the start of the audio's medium.
        kind: (B, draws) int8, values of `PairKind`.
        audio_media: (B, draws) int64 index of the audio's medium in `durations_s`.
        fallback: (B, draws) bool, True where the drawn kind had no admissible position in this
            medium and an easy pair (or, in a set of one medium, a positive one) took its place.
    """

    video_start_s: Tensor
    audio_start_s: Tensor
    kind: Tensor
    audio_media: Tensor
    fallback: Tensor


LIBRARY.define(
    "clip_offset(Tensor last_start, Tensor media_ids, Tensor query, int hard_distance, "
    "int min_offset, int max_offset, int[] kind_bound, int seed, int epoch, int draws) -> "
    "(Tensor video_start, Tensor audio_start, Tensor kind, Tensor audio_media, Tensor fallback)",
    tags=TAGS,
)


@torch.library.register_fake("avts::clip_offset")
def _empty_outputs(
    last_start: Tensor,
    media_ids: Tensor,
    query: Tensor,
    hard_distance: int,
    min_offset: int,
    max_offset: int,
    kind_bound: Sequence[int],
    seed: int,
    epoch: int,
    draws: int,
) -> tuple[Tensor, ...]:
    types = (torch.int64, torch.int64, torch.int8, torch.int64, torch.bool)
    shape = (query.shape[0], draws)
    return tuple(torch.empty(shape, dtype=dtype, device=query.device) for dtype in types)


def _clip_offset_cpu(
    last_start: Tensor, media_ids: Tensor, query: Tensor, *options: object
) -> tuple[Tensor, ...]:
    *options_, epoch, draws = options
    outputs = _empty_outputs(last_start, media_ids, query, *options_, epoch, draws)  # type: ignore[arg-type]
    inputs = (last_start.contiguous(), media_ids.contiguous(), query.contiguous())
    _C.clip_offset(*inputs, *options_, epoch, torch.get_num_threads(), *outputs)
    return outputs


LIBRARY.impl("clip_offset", _clip_offset_cpu, "CPU")


def sample_clip_offsets(
    durations_s: Tensor,
    query: Tensor | None = None,
    *,
    clip_s: float,
    seed: int,
    epoch: int = 0,
    draws: int = 1,
    proportions: Mapping[str, float] | None = None,
    media_ids: Tensor | None = None,
    min_gap_s: float = 0.5,
    min_offset_s: float = 0.25,
    snap_s: float | None = None,
) -> ClipOffsets:
    """Draw where the video and audio clips of training or evaluation pairs begin.

    Every pair is a pure function of (seed, epoch, media id, draw), of its medium's duration and,
    if easy, of the list of durations: the same in any batch, order, process or thread, on any
    device. PyTorch's random state is neither read nor advanced. Over the admissible (video start,
    audio start) pairs of its kind a draw is exactly uniform, counted in ticks of `snap_s`.

    Args:
        durations_s: (N,) float64, seconds, of all media of the set; each at least `clip_s`.
        query: (B,) int64 indices of the media to draw for; all of them if None.
        clip_s: length of a clip in seconds.
        seed: any 64-bit integer.
        epoch: 0 to 2^31 - 1.
        draws: pairs per medium.
        proportions: weights of "positive", "easy", "hard" and "super_hard"; those not named are 0.
            By default positive and easy, one to one.
        media_ids: (N,) int64 identities of the media, by default 0 to N - 1. Give stable ones, so
            that adding a medium does not change the draws of the others.
        min_gap_s: least distance of a hard pair's windows, edge to edge.
        min_offset_s: least shift of a super-hard pair, whose windows overlap.
        snap_s: starts are whole multiples of it, e.g. the frame period; 1 microsecond if None.

    Returns:
        `ClipOffsets` with tensors of shape (B, draws).

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """
    _check(durations_s, query, media_ids, clip_s, epoch, draws, min_gap_s, min_offset_s, snap_s)
    tick_s = DEFAULT_TICK_S if snap_s is None else snap_s
    count = durations_s.shape[0]
    every = torch.arange(count, device=durations_s.device)
    video, audio, kind, audio_media, fallback = torch.ops.avts.clip_offset(
        # Rounded towards fewer starts and wider gaps: no clip may run past an end.
        ((durations_s - clip_s) / tick_s).floor().to(torch.int64),
        every if media_ids is None else media_ids,
        every if query is None else query,
        math.ceil((clip_s + min_gap_s) / tick_s),
        max(1, math.ceil(min_offset_s / tick_s)),
        math.ceil(clip_s / tick_s) - 1,
        _kind_bounds(proportions or {"positive": 1.0, "easy": 1.0}),
        _as_signed64(seed),
        epoch,
        draws,
    )
    # An integer tensor times a float would round to float32, a tenth of a millisecond at an hour.
    video_start_s, audio_start_s = video.double() * tick_s, audio.double() * tick_s
    return ClipOffsets(video_start_s, audio_start_s, kind, audio_media, fallback)


def _kind_bounds(proportions: Mapping[str, float]) -> list[int]:
    """Bound k: kinds up to k hold the 32-bit numbers below it."""
    names = [kind.name.lower() for kind in PairKind]
    unknown = set(proportions) - set(names)
    if unknown:
        raise ValueError(f"proportions names {sorted(unknown)}, expected some of {names}")
    weights = [float(proportions.get(name, 0.0)) for name in names]
    if not all(0 <= w < math.inf for w in weights) or sum(weights) == 0:
        raise ValueError(
            f"proportions is {dict(proportions)}, expected finite weights >= 0, not all 0"
        )
    total = sum(weights)
    bounds = [round(2**32 * sum(weights[: k + 1]) / total) for k in range(len(weights))]
    last_used = max(k for k, weight in enumerate(weights) if weight > 0)
    return bounds[:last_used] + [2**32] * (len(weights) - last_used)


def _as_signed64(seed: int) -> int:
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is {seed}, expected an integer of 64 bits")
    return (seed + 2**63) % 2**64 - 2**63


def _check(
    durations_s: Tensor,
    query: Tensor | None,
    media_ids: Tensor | None,
    clip_s: float,
    epoch: int,
    draws: int,
    min_gap_s: float,
    min_offset_s: float,
    snap_s: float | None,
) -> None:
    if durations_s.dtype != torch.float64 or durations_s.dim() != 1:
        raise ValueError(
            f"durations_s is {durations_s.dtype} of shape {tuple(durations_s.shape)}, "
            "expected (N,) torch.float64"
        )
    for name, ids in (("query", query), ("media_ids", media_ids)):
        if ids is not None and (ids.dtype != torch.int64 or ids.dim() != 1):
            raise ValueError(
                f"{name} is {ids.dtype} of shape {tuple(ids.shape)}, expected 1-D torch.int64"
            )
    if media_ids is not None and media_ids.shape != durations_s.shape:
        raise ValueError(
            f"media_ids has {media_ids.shape[0]} elements, expected one per duration, "
            f"{durations_s.shape[0]}"
        )
    for name, value in (("clip_s", clip_s), ("snap_s", 1.0 if snap_s is None else snap_s)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}, expected a positive number of seconds")
    for name, value in (("min_gap_s", min_gap_s), ("min_offset_s", min_offset_s)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}, expected 0 or more seconds")
    if not 0 <= epoch < 2**31:
        raise ValueError(f"epoch is {epoch}, expected 0 to 2^31 - 1")
    if not 0 <= draws < 2**32:
        raise ValueError(f"draws is {draws}, expected 0 to 2^32 - 1")
