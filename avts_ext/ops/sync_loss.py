"""Contrastive losses between video and audio embeddings, over all pairs of a batch.

Every pair (video row, audio row) has a kind, from the medium and the window start of its rows:

==========  =====================================================================
positive    same medium, same start (to a nanosecond)
easy        another medium
hard        same medium, windows at least ``min_gap_s`` apart, edge to edge
super-hard  same medium, closer than that or overlapping, but the starts differ by
            ``min_offset_s`` or more
ignored     same medium, closer still: neither in step nor clearly out of step;
            two rows of one group, unless positive; every pair of a silent row
==========  =====================================================================

Memory grows with N + M, never with N x M. Results do not depend on the number of threads. There is
no second derivative. An embedding that is not finite, unless its row is silent, makes the loss and
all gradients NaN.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avts_ext.ops import _sync_operators
from avts_ext.ops.clip_offset import PairKind
from avts_ext.ops.sync_diagnostics import SyncDiagnostics, diagnostics_of
from avts_ext.ops.sync_options import (
    MININGS,
    OBJECTIVES,
    SyncLossOptions,
    check_positive,
)


class MinedNegatives(NamedTuple):
    """Negatives of each row, the hardest first; index and kind are -1 where there is none.

    Attributes:
        video_negative: (N, k) int64, rows of ``audio`` mined for each row of ``video``.
        video_kind: (N, k) int8, their :class:`~avts_ext.ops.clip_offset.PairKind`.
        audio_negative: (M, k) int64, rows of ``video`` mined for each row of ``audio``.
        audio_kind: (M, k) int8, their kinds.
    """

    video_negative: Tensor
    video_kind: Tensor
    audio_negative: Tensor
    audio_kind: Tensor


def sync_contrastive_loss(
    video: Tensor,
    audio: Tensor,
    video_ids: Tensor | None = None,
    audio_ids: Tensor | None = None,
    video_start_s: Tensor | None = None,
    audio_start_s: Tensor | None = None,
    *,
    video_groups: Tensor | None = None,
    audio_groups: Tensor | None = None,
    audio_silent: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Contrastive loss over all video-audio pairs of a batch.

    d is the Euclidean distance of a pair, h(x) = max(x, 0)^2 or max(x, 0), w the weight of a
    negative's kind. A mean over nothing is zero.

    ``objective="margin"`` is the loss of Korbar et al. (2018)::

        1/2 mean over positives of d^2  +  1/2 mean over negatives of w h(margin - d)

    With ``mining="all"`` the negatives are all admissible pairs. Else they are k terms for each
    video row and for each audio row; where a row has fewer, the missing ones are zeros that count
    in the mean. On N aligned rows with the hardest negatives this is the paper's mean over as many
    negatives as positives; with every d = margin / 2 it is margin^2 / 4 (0.245 for 0.99), the value
    at which nothing has been learned. At d = 0 a negative's gradient, which does not exist,
    is zero.

    ``objective="triplet"`` is the mean over the same terms, where d+ is the distance of the anchor
    row to its farthest positive, and a row without one has terms of zero, of::

        w h(margin + d+ - d)

    ``objective="infonce"`` uses the logits s = <video row, audio row> / temperature::

        1/2 mean over video rows of [log sum w exp(s) over positives (w = 1) and negatives
                                     - mean of (s of positives)]  +  1/2 the same over audio rows

    where each mean is over the rows that have a positive.

    ``objective="sigmoid"`` (Zhai et al., "Sigmoid loss for language image pre-training", 2023),
    with z = s + bias, is the sum over positives of log(1 + exp(-z)) plus the sum over negatives of
    w log(1 + exp(z)), divided by (N + M) / 2.

    Args:
        video: (N, D) embeddings; float32, float64, or float16 and bfloat16 (computed in float32).
        audio: (M, D) embeddings of the same dtype.
        video_ids: (N,) int64 medium of each row; None: the row's number.
        audio_ids: (M,) int64, likewise.
        video_start_s: (N,) window starts in seconds; None: zero, so that rows of one medium match.
        audio_start_s: (M,) likewise.
        video_groups: (N,) int64; rows with one group, unless it is negative, are no negatives of
            each other. Given with ``audio_groups`` or not at all.
        audio_groups: (M,) int64, likewise.
        audio_silent: (M,) bool, rows that take part in nothing and are not counted as rows.
        options: those of :class:`~avts_ext.ops.sync_options.SyncLossOptions`.

    Returns:
        The loss, 0-dimensional; float64 for float64 input, otherwise float32.

    Raises:
        ValueError: an argument has a wrong shape, dtype or value.
    """
    windows = (video_ids, audio_ids, video_start_s, audio_start_s)
    flags = (video_groups, audio_groups, audio_silent)
    batch = _make_batch(video, audio, windows, flags, _plan_of(options))
    return _sync_operators.sync_loss(batch).loss


def sync_loss_with_diagnostics(
    video: Tensor, audio: Tensor, *windows: Tensor | None, **arguments: Any
) -> tuple[Tensor, SyncDiagnostics]:
    """:func:`sync_contrastive_loss`, whose arguments and errors it has, with what it is made of.

    Mined losses cost the same; for the others distances take one more product.
    """
    batch, options = _split(video, audio, windows, arguments)
    choices = batch.choices._replace(want_statistics=1)
    outputs = _sync_operators.sync_loss(batch._replace(choices=choices))
    return outputs.loss, diagnostics_of(outputs, len(video), options)


def mine_negatives(
    video: Tensor, audio: Tensor, *windows: Tensor | None, **arguments: Any
) -> MinedNegatives:
    """The negatives that :func:`sync_contrastive_loss` mines with the same arguments.

    Rank is by Euclidean distance, summed in double from differences; among equals the lowest row
    comes first. Where distances differ by less than D x 2^-52 of themselves, the instruction set
    may decide. A NaN is nearest of all.

    Raises:
        ValueError: also if the options mine nothing.
    """
    batch, options = _split(video, audio, windows, arguments)
    if not options.mines:
        raise ValueError(f"mining is {options.mining!r}, expected a rule that mines")
    choices = batch.choices._replace(want_gradient=0)
    with torch.no_grad():
        outputs = _sync_operators.sync_loss(batch._replace(choices=choices))
    of_video, of_audio = outputs.video_negative, outputs.audio_negative
    video_rows = torch.arange(len(video), device=video.device)[:, None].expand_as(of_video)
    audio_rows = torch.arange(len(audio), device=video.device)[:, None].expand_as(of_audio)
    kind_of_video = _mined_kinds(batch, video_rows, of_video)
    kind_of_audio = _mined_kinds(batch, of_audio, audio_rows)
    return MinedNegatives(of_video, kind_of_video, of_audio, kind_of_audio)


def mine_hardest_negatives(
    video: Tensor, audio: Tensor, *windows: Tensor | None, **arguments: Any
) -> MinedNegatives:
    """The hardest negative of each row: :func:`mine_negatives` with (N,) and (M,) results."""
    mined = mine_negatives(video, audio, *windows, mining="hardest", k=1, **arguments)
    return MinedNegatives(*(x[:, 0] for x in mined))


def sync_pair_loss(
    video: Tensor, audio: Tensor, pairs: Tensor, labels: Tensor, *, margin: float = 0.99
) -> Tensor:
    """The loss of Korbar et al. (2018) on pairs that the caller has chosen.

    The mean over pairs (i, j) with label y and d = ``||video[i] - audio[j]||`` of
    ``y d^2 + (1 - y) max(margin - d, 0)^2``; zero for no pairs. At d = 0 a negative's gradient,
    which does not exist, is zero.

    Args:
        video: (N, D) embeddings; float32, float64, or float16 and bfloat16 (computed in float32).
        audio: (M, D) embeddings of the same dtype.
        pairs: (P, 2) int64, rows of ``video`` and of ``audio``.
        labels: (P,) 1 for a positive, 0 for a negative; any real dtype.
        margin: distance beyond which a negative costs nothing.

    Returns:
        The loss, 0-dimensional; float64 for float64 input, otherwise float32.

    Raises:
        ValueError: an argument has a wrong shape, dtype or value, or a pair names no row.
    """
    _check_embeddings(video, audio)
    check_positive("margin", margin)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype != torch.int64:
        raise ValueError(
            f"pairs is {pairs.dtype} of shape {tuple(pairs.shape)}, expected int64 of (P, 2)"
        )
    if labels.shape != pairs.shape[:1]:
        raise ValueError(f"labels is of shape {tuple(labels.shape)}, expected ({len(pairs)},)")
    video, audio = _widened(video), _widened(audio)
    return torch.ops.avts.sync_pair(video, audio, pairs, labels.double(), margin)


# --- Arguments to operator ----------------------------------------------------------------------

_WINDOWS = ("video_ids", "audio_ids", "video_start_s", "audio_start_s")
_FLAGS = ("video_groups", "audio_groups", "audio_silent")
ROW_ARGUMENTS = (*_WINDOWS, *_FLAGS)  # what may be known of the rows, one value for each


def _split(
    video: Tensor, audio: Tensor, positional: tuple[Tensor | None, ...], arguments: dict[str, Any]
) -> tuple[_sync_operators.Batch, SyncLossOptions]:
    """The batch and the options from the arguments of :func:`sync_contrastive_loss`."""
    given = dict(zip(_WINDOWS, positional, strict=False))
    tensors = {name: arguments.pop(name, given.get(name)) for name in ROW_ARGUMENTS}
    plan = _plan_of(arguments)
    windows, flags = ([tensors[name] for name in names] for names in (_WINDOWS, _FLAGS))
    return _make_batch(video, audio, tuple(windows), tuple(flags), plan), plan.options


class _Plan(NamedTuple):
    """Checked options, and the operator's lists: choices without and with a gradient, numbers."""

    options: SyncLossOptions
    choices: tuple[_sync_operators.Choices, _sync_operators.Choices]
    numbers: _sync_operators.Numbers


def _make_plan(options: SyncLossOptions) -> _Plan:
    choices = _sync_operators.Choices(
        OBJECTIVES.index(options.objective),
        MININGS.index(options.mining),
        options.k if options.mines else 0,
        int(options.anchors != "audio"),
        int(options.anchors != "video"),
        int(options.hinge == "squared"),
        options.seed,
        want_gradient=0,
        want_statistics=0,
    )
    easy, hard, super_hard = options.kind_weights
    numbers = _sync_operators.Numbers(
        options.clip_s + options.min_gap_s,
        options.min_offset_s,
        easy,
        hard,
        super_hard,
        float(options.margin),
        1.0 if isinstance(options.temperature, Tensor) else float(options.temperature),
        0.0 if isinstance(options.bias, Tensor) else float(options.bias),
    )
    return _Plan(options, (choices, choices._replace(want_gradient=1)), numbers)


@functools.lru_cache(typed=True)
def _known_plan(**options: Any) -> _Plan:
    return _make_plan(SyncLossOptions(**options))


def _plan_of(options: dict[str, Any]) -> _Plan:
    """Made anew, which takes 7 us, only for options that cannot be kept: tensors, mappings."""
    kept = (bool, int, float, str, tuple)
    if torch.compiler.is_compiling() or not all(isinstance(x, kept) for x in options.values()):
        return _make_plan(SyncLossOptions(**options))
    return _known_plan(**options)


def _make_batch(
    video: Tensor,
    audio: Tensor,
    windows: tuple[Tensor | None, ...],
    flags: tuple[Tensor | None, ...],
    plan: _Plan,
) -> _sync_operators.Batch:
    _check_embeddings(video, audio)
    options = plan.options
    if options.mines:
        _check_k(options, len(video), len(audio))
    temperature, bias = _learned(options.temperature), _learned(options.bias)
    learned = (video, audio, temperature, bias)
    want_gradient = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in learned
    )
    return _sync_operators.Batch(
        _prepared(video, options.embeddings),
        _prepared(audio, options.embeddings),
        _checked_ids("video_ids", windows[0], video),
        _checked_ids("audio_ids", windows[1], audio),
        _checked_starts("video_start_s", windows[2], video),
        _checked_starts("audio_start_s", windows[3], audio),
        *_checked_flags(flags, video, audio),
        temperature,
        bias,
        plan.choices[want_gradient],
        plan.numbers,
    )


def _check_embeddings(video: Tensor, audio: Tensor) -> None:
    for name, rows in (("video", video), ("audio", audio)):
        if rows.ndim != 2:
            raise ValueError(f"{name} is of shape {tuple(rows.shape)}, expected (rows, D)")
        if not rows.dtype.is_floating_point:
            raise ValueError(f"{name} is {rows.dtype}, expected a floating-point dtype")
    if video.shape[1] != audio.shape[1]:
        raise ValueError(
            f"audio has D = {audio.shape[1]}, expected that of video, {video.shape[1]}"
        )
    if video.dtype != audio.dtype:
        raise ValueError(f"audio is {audio.dtype}, expected the dtype of video, {video.dtype}")


def _check_k(options: SyncLossOptions, videos: int, audios: int) -> None:
    for side, others in (("video", audios), ("audio", videos)):
        if options.anchors in ("both", side) and options.k > max(1, others):
            raise ValueError(
                f"k is {options.k}, expected at most the {others} rows of the other side"
            )


def _widened(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _prepared(rows: Tensor, embeddings: str) -> Tensor:
    rows = _widened(rows)
    if embeddings == "raw":
        return rows
    unit = torch.nn.functional.normalize(rows)
    return unit if embeddings == "l2" else 0.5 * unit


def _checked_ids(name: str, ids: Tensor | None, rows: Tensor) -> Tensor | None:
    if ids is not None and (ids.shape != rows.shape[:1] or ids.dtype != torch.int64):
        raise ValueError(
            f"{name} is {ids.dtype} of shape {tuple(ids.shape)}, expected int64 of ({len(rows)},)"
        )
    return ids


def _checked_starts(name: str, starts_s: Tensor | None, rows: Tensor) -> Tensor | None:
    if starts_s is None:
        return None
    if starts_s.shape != rows.shape[:1]:
        raise ValueError(f"{name} is of shape {tuple(starts_s.shape)}, expected ({len(rows)},)")
    return starts_s.double()


def _checked_flags(
    flags: tuple[Tensor | None, ...], video: Tensor, audio: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    video_groups, audio_groups, audio_silent = flags
    if (video_groups is None) != (audio_groups is None):
        missing = "video_groups" if video_groups is None else "audio_groups"
        raise ValueError(f"{missing} is None, expected groups of both sides or of neither")
    if video_groups is not None and audio_groups is not None:
        _checked_ids("video_groups", video_groups, video)
        _checked_ids("audio_groups", audio_groups, audio)
    if audio_silent is not None and (
        audio_silent.shape != audio.shape[:1] or audio_silent.dtype != torch.bool
    ):
        found = f"{audio_silent.dtype} of shape {tuple(audio_silent.shape)}"
        raise ValueError(f"audio_silent is {found}, expected bool of ({len(audio)},)")
    return video_groups, audio_groups, audio_silent


def _learned(value: float | Tensor) -> Tensor | None:
    return value.double() if isinstance(value, Tensor) else None


# --- What comes back ----------------------------------------------------------------------------


def _mined_kinds(batch: _sync_operators.Batch, video_rows: Tensor, audio_rows: Tensor) -> Tensor:
    """Kinds of pairs of which one side was mined, where a mined row of -1 has kind -1."""
    exists = (video_rows >= 0) & (audio_rows >= 0)
    if not len(batch.video) or not len(batch.audio):
        return torch.full_like(video_rows, -1, dtype=torch.int8)
    video_ids, audio_ids = (
        rows if ids is None else ids[rows]
        for ids, rows in ((batch.video_ids, video_rows), (batch.audio_ids, audio_rows))
    )
    video_s, audio_s = (
        rows.new_zeros((), dtype=torch.float64) if starts_s is None else starts_s[rows]
        for starts_s, rows in (
            (batch.video_start_s, video_rows),
            (batch.audio_start_s, audio_rows),
        )
    )
    hard = (video_s - audio_s).abs() + 1e-9 >= batch.numbers.hard_from_s
    kind = torch.where(hard, int(PairKind.HARD), int(PairKind.SUPER_HARD))
    kind = torch.where(video_ids == audio_ids, kind, int(PairKind.EASY))
    return torch.where(exists, kind, -1).to(torch.int8)
