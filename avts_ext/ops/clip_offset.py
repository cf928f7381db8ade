"""Where the clips of positive, easy, hard and super-hard pairs begin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avts_ext.ops import _clip_offset_operator as _operator

DEFAULT_TICK_S = 1e-6  # resolution of the starts where no snap_s is given
# Decimal fractions of a second are not exact in binary. Times closer than this are the same, so
# that a clip of 1 s has its ten places on a grid of 0.1 s in a medium of 1.9 s.
SAME_TIME_S = 1e-9
MAX_S = 1e6  # float64 resolves it to a tenth of SAME_TIME_S


class PairKind(IntEnum):
    """What an (audio, video) pair is to the learner (Korbar et al. 2018, section 3)."""

    POSITIVE = 0  # the same window of the same medium
    EASY = 1  # sound of another medium
    HARD = 2  # the same medium, windows apart
    SUPER_HARD = 3  # the same medium, windows overlap but are shifted


_KINDS = {kind.name.lower(): kind for kind in PairKind}
_HALF_EASY = {"positive": 1.0, "easy": 1.0}


class ClipOffsets(NamedTuple):
    """Starts of B x draws pairs, after the start of their medium.

    Attributes:
        video_start: (B, draws) float64 seconds or int64 ticks, as the durations were.
        audio_start: (B, draws), likewise, in the audio's medium.
        kind: (B, draws) int8, values of `PairKind`.
        audio_media: (B, draws) int64 index of the audio's medium.
        fallback: (B, draws) bool, True where the drawn kind had no admissible position in this
            medium and an easy pair (or, in a set of one medium, a positive one) took its place.
    """

    video_start: Tensor
    audio_start: Tensor
    kind: Tensor
    audio_media: Tensor
    fallback: Tensor


@dataclass(frozen=True, eq=False)
class ClipStarts:
    """Every place where a clip may begin in a set of media: checked once, drawn from often.

    Made by `in_seconds` or `in_ticks`. A draw costs the same for a set of one or of a million
    media, so a data set keeps one of these and draws per item.

    Attributes:
        media: (N + 1, 4) int64; row m has the id of medium m, the index of its first range of
            consecutive starts, and that range's row. Its ranges end where those of the next medium
            begin.
        ranges: (R + 1, 2) int64; row r has the first start of range r in grid steps, and the number
            of starts in all ranges before.
        hard_distance: least distance of a hard pair's starts, in grid steps.
        min_offset: least shift of a super-hard pair, in grid steps.
        max_offset: greatest shift of a super-hard pair, in grid steps.
        step: 0-d float64 seconds or int64 ticks of a grid step.
    """

    media: Tensor
    ranges: Tensor
    hard_distance: int
    min_offset: int
    max_offset: int
    step: Tensor

    @classmethod
    def in_seconds(
        cls,
        durations_s: Tensor,
        *,
        clip_s: float,
        media_ids: Tensor | None = None,
        valid_s: Sequence[Sequence[tuple[float, float]]] | None = None,
        min_gap_s: float = 0.5,
        min_offset_s: float = 0.25,
        snap_s: float | None = None,
    ) -> ClipStarts:
        """The starts of media measured in seconds. Times closer than a nanosecond are the same.

        Args:
            durations_s: (N,) float64, each `clip_s` to 10^6.
            clip_s: length of a clip.
            media_ids: (N,) int64 identities of the media, by default 0 to N - 1. Give stable ones,
                so that adding a medium does not change the draws of the others.
            valid_s: per medium the (begin, end) stretches in which clips may lie, ascending and
                apart, e.g. without silence and damage; all of each medium if None.
            min_gap_s: least distance of a hard pair's windows, edge to edge.
            min_offset_s: least shift of a super-hard pair, whose windows overlap.
            snap_s: starts are whole multiples of it, e.g. the frame period; at least and by default
                1 microsecond.

        Raises:
            ValueError: an argument is out of its range, or a medium has no place for a clip; the
                message names it.
        """
        step_s = DEFAULT_TICK_S if snap_s is None else snap_s
        _check_range("snap_s", step_s, DEFAULT_TICK_S, MAX_S)
        _check_range("clip_s", clip_s, DEFAULT_TICK_S, MAX_S)
        _check_range("min_gap_s", min_gap_s, 0, MAX_S)
        _check_range("min_offset_s", min_offset_s, 0, MAX_S)
        _check_durations("durations_s", durations_s, torch.float64, clip_s, MAX_S, SAME_TIME_S)
        begin_s, end_s, spans = _stretches("valid_s", valid_s, durations_s, SAME_TIME_S)
        return _starts(
            "valid_s",
            ((begin_s - SAME_TIME_S) / step_s).ceil().clamp(min=0).to(torch.int64),
            ((end_s - clip_s + SAME_TIME_S) / step_s).floor().to(torch.int64),
            spans,
            media_ids,
            hard_distance=_steps_up(clip_s + min_gap_s, step_s),
            min_offset=max(1, _steps_up(min_offset_s, step_s)),
            max_offset=_steps_up(clip_s, step_s) - 1,
            step=torch.tensor(step_s, dtype=torch.float64),
        )

    @classmethod
    def in_ticks(
        cls,
        durations: Tensor,
        *,
        clip: int,
        min_gap: int,
        min_offset: int,
        media_ids: Tensor | None = None,
        valid: Sequence[Sequence[tuple[int, int]]] | None = None,
        snap: int = 1,
    ) -> ClipStarts:
        """The starts of media measured in integer ticks of any length, e.g. audio samples.

        Args:
            durations: (N,) int64, each `clip` to 2^53.
            clip: length of a clip.
            min_gap: least distance of a hard pair's windows, edge to edge.
            min_offset: least shift of a super-hard pair, whose windows overlap.
            media_ids: as for `in_seconds`.
            valid: as for `in_seconds`, in ticks.
            snap: starts are whole multiples of it.

        Raises:
            ValueError: as for `in_seconds`.
        """
        most = _operator.MAX_STEPS
        _check_ticks("snap", snap, 1, most)
        _check_ticks("clip", clip, 1, most)
        _check_ticks("min_gap", min_gap, 0, most - clip)
        _check_ticks("min_offset", min_offset, 0, most)
        _check_durations("durations", durations, torch.int64, clip, most, 0)
        begin, end, spans = _stretches("valid", valid, durations, 0)
        return _starts(
            "valid",
            -torch.div(-begin, snap, rounding_mode="floor"),
            torch.div(end - clip, snap, rounding_mode="floor"),
            spans,
            media_ids,
            hard_distance=-(-(clip + min_gap) // snap),
            min_offset=max(1, -(-min_offset // snap)),
            max_offset=-(-clip // snap) - 1,
            step=torch.tensor(snap, dtype=torch.int64),
        )

    def __len__(self) -> int:
        """Number of media."""
        return self.media.shape[0] - 1

    def draw(
        self,
        query: Tensor | None = None,
        *,
        seed: int,
        epoch: int = 0,
        draws: int = 1,
        first_draw: int = 0,
        proportions: Mapping[str, float] | None = None,
    ) -> ClipOffsets:
        """Draw where the video and audio clips of pairs begin.

        Every pair is a pure function of (seed, epoch, media id, draw), of the starts in its medium
        and, if easy, of the list of media: the same in any batch, order, process or thread, on any
        device. PyTorch's random state is neither read nor advanced. Over the admissible (video
        start, audio start) pairs of its kind a draw is uniform.

        Args:
            query: (B,) int64 indices of the media to draw for; all of them if None.
            seed: any 64-bit integer.
            epoch: 0 to 2^31 - 1.
            draws: pairs per medium.
            first_draw: number of the first of them; first_draw + draws is at most 2^32.
            proportions: weights of "positive", "easy", "hard" and "super_hard"; those not named are
                0. By default positive and easy, one to one.

        Returns:
            `ClipOffsets` with tensors of shape (B, draws).

        Raises:
            ValueError: an argument is out of its range; the message names it.
        """
        if query is None:
            query = torch.arange(len(self), device=self.media.device)
        starts, kind, audio_media, fallback = torch.ops.avts.clip_offset.default(
            self.media,
            self.ranges,
            query,
            self.hard_distance,
            self.min_offset,
            self.max_offset,
            _kind_bounds(_HALF_EASY if proportions is None else proportions),
            _as_signed64(seed),
            epoch,
            first_draw,
            draws,
        )
        video_start, audio_start = (starts * self.step).unbind()
        return ClipOffsets(video_start, audio_start, kind, audio_media, fallback)


def sample_clip_offsets(
    durations_s: Tensor,
    query: Tensor | None = None,
    *,
    clip_s: float,
    seed: int,
    epoch: int = 0,
    draws: int = 1,
    first_draw: int = 0,
    proportions: Mapping[str, float] | None = None,
    media_ids: Tensor | None = None,
    valid_s: Sequence[Sequence[tuple[float, float]]] | None = None,
    min_gap_s: float = 0.5,
    min_offset_s: float = 0.25,
    snap_s: float | None = None,
) -> ClipOffsets:
    """`ClipStarts.in_seconds` and `ClipStarts.draw` in one call, which have the arguments.

    It looks at every medium of the set. To draw often for a few of many, keep a `ClipStarts`.
    """
    starts = ClipStarts.in_seconds(
        durations_s,
        clip_s=clip_s,
        media_ids=media_ids,
        valid_s=valid_s,
        min_gap_s=min_gap_s,
        min_offset_s=min_offset_s,
        snap_s=snap_s,
    )
    return starts.draw(
        query,
        seed=seed,
        epoch=epoch,
        draws=draws,
        first_draw=first_draw,
        proportions=proportions,
    )


def _steps_up(time_s: float, step_s: float) -> int:
    return math.ceil((time_s - SAME_TIME_S) / step_s)


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, expected {least} to {most}")


def _check_ticks(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise ValueError(f"{name} is {value}, expected an integer, {least} to {most}")


def _check_durations(
    name: str, durations: Tensor, dtype: torch.dtype, clip: float, most: float, same: float
) -> None:
    if durations.dtype != dtype or durations.dim() != 1:
        raise ValueError(
            f"{name} is {durations.dtype} of shape {tuple(durations.shape)}, expected (N,) {dtype}"
        )
    if torch.compiler.is_compiling():
        return  # values are not known; the kernel looks at those it draws from
    wrong = ~((durations >= clip - same) & (durations <= most))
    if wrong.any():
        i = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}[{i}] is {durations[i].item()}, expected the clip's length, {clip}, to {most}"
        )


def _stretches(
    name: str,
    valid: Sequence[Sequence[tuple[float, float]]] | None,
    durations: Tensor,
    same: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Begin and end of every valid stretch, and how many each medium has; None: one each."""
    if valid is None:
        return torch.zeros_like(durations), durations, None
    if len(valid) != len(durations):
        raise ValueError(f"{name} has {len(valid)} elements, expected one per duration")
    for i, (spans, duration) in enumerate(zip(valid, durations.tolist(), strict=True)):
        free_from = -1.0
        for begin, end in spans:
            if not (0 <= begin < end <= duration + same and begin > free_from):
                raise ValueError(
                    f"{name}[{i}] has ({begin}, {end}), expected begin < end within 0 to "
                    f"{duration}, ascending and apart"
                )
            free_from = end
    flat = [span for spans in valid for span in spans]
    table = torch.tensor(flat, dtype=durations.dtype, device=durations.device).view(-1, 2)
    if table.tolist() != [list(span) for span in flat]:
        raise ValueError(f"{name} has fractions of a tick, expected integers")
    counts = torch.tensor([len(spans) for spans in valid], device=durations.device)
    return table[:, 0], table[:, 1], counts


def _starts(
    name: str,
    first: Tensor,
    last: Tensor,
    spans: Tensor | None,
    media_ids: Tensor | None,
    *,
    hard_distance: int,
    min_offset: int,
    max_offset: int,
    step: Tensor,
) -> ClipStarts:
    width = last - first + 1
    if not torch.compiler.is_compiling() and float(width.double().sum()) >= 2**62:
        raise ValueError("durations give 2^62 starts or more in all, expected fewer: a larger snap")
    if spans is None:
        count = len(first)
        first_range = torch.arange(count + 1, device=first.device)
    else:
        count = len(spans)
        room = width > 0
        owner = torch.arange(count, device=first.device).repeat_interleave(spans)[room]
        first, width = first[room], width[room]
        ranges_each = torch.bincount(owner, minlength=count)
        if not ranges_each.all():
            i = int((ranges_each == 0).nonzero()[0])
            raise ValueError(
                f"{name}[{i}] has {int(spans[i])} stretches and none with room for a clip, "
                "expected at least one"
            )
        first_range = _exclusive_sums(ranges_each)
    if media_ids is None:
        media_ids = torch.arange(count, device=first.device)
    elif media_ids.dtype != torch.int64 or media_ids.shape != (count,):
        raise ValueError(
            f"media_ids is {media_ids.dtype} of shape {tuple(media_ids.shape)}, expected one "
            f"torch.int64 per duration, ({count},)"
        )
    ranges = torch.stack([_with_zero(first), _exclusive_sums(width)], dim=1)
    media = torch.stack([_with_zero(media_ids), first_range], dim=1)
    return ClipStarts(
        torch.cat([media, ranges[first_range]], dim=1),
        ranges,
        hard_distance,
        min_offset,
        max_offset,
        step,
    )


def _with_zero(values: Tensor) -> Tensor:
    return torch.nn.functional.pad(values, (0, 1))


def _exclusive_sums(values: Tensor) -> Tensor:
    return torch.nn.functional.pad(values.cumsum(0), (1, 0))


def _kind_bounds(proportions: Mapping[str, float]) -> list[int]:
    """Bound k: kinds up to k hold the 32-bit numbers below it."""
    if not proportions.keys() <= _KINDS.keys():
        unknown = sorted(proportions.keys() - _KINDS.keys())
        raise ValueError(f"proportions names {unknown}, expected some of {list(_KINDS)}")
    weights = [proportions.get(name, 0.0) for name in _KINDS]
    total = sum(weights)
    if not (min(weights) >= 0 and 0 < total < math.inf):
        raise ValueError(
            f"proportions is {dict(proportions)}, expected finite weights >= 0, not all 0"
        )
    last_used = max(k for k, weight in enumerate(weights) if weight > 0)
    bounds = [round(2**32 * sum(weights[: k + 1]) / total) for k in range(last_used)]
    return bounds + [2**32] * (len(weights) - last_used)


def _as_signed64(seed: int) -> int:
    if not isinstance(seed, (int, np.integer)) or not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed is {seed}, expected an integer of 64 bits")
    return (int(seed) + 2**63) % 2**64 - 2**63
