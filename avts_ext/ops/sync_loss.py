"""Contrastive losses between video and audio embeddings, over all pairs of a batch.

Every pair (video row, audio row) has a kind, from the medium and the window start of its rows:

==========  =====================================================================
positive    same medium, same start (to a nanosecond)
easy        another medium
hard        same medium, windows at least ``min_gap_s`` apart, edge to edge
super-hard  same medium, closer than that or overlapping, but the starts differ by
            ``min_offset_s`` or more
ignored     same medium, closer still: neither in step nor clearly out of step
==========  =====================================================================

Memory grows with N + M, never with N x M. Results do not depend on the number of threads. There is
no second derivative. A row with a NaN makes the loss NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS
from avts_ext.ops.clip_offset import PairKind

Objective = Literal["margin", "infonce"]
Mining = Literal["hardest", "all"]

_KINDS = {
    "easy": PairKind.EASY,
    "hard": PairKind.HARD,
    "super_hard": PairKind.SUPER_HARD,
}
_ALL_NEGATIVES = ("easy", "hard", "super_hard")

_BATCH = (
    "Tensor video, Tensor audio, Tensor video_ids, Tensor audio_ids, Tensor video_start_s, "
    "Tensor audio_start_s, float hard_from_s, float super_hard_from_s, int negatives"
)


class MinedNegatives(NamedTuple):
    """The nearest admissible negative of each row; index and kind are -1 where there is none.

    Attributes:
        video_negative: (N,) int64, row of ``audio`` mined for each row of ``video``.
        video_kind: (N,) int8, its :class:`~avts_ext.ops.clip_offset.PairKind`.
        audio_negative: (M,) int64, row of ``video`` mined for each row of ``audio``.
        audio_kind: (M,) int8, its kind.
    """

    video_negative: Tensor
    video_kind: Tensor
    audio_negative: Tensor
    audio_kind: Tensor


class _Batch(NamedTuple):
    """Checked arguments, in the order of the operators' schemas."""

    video: Tensor
    audio: Tensor
    video_ids: Tensor
    audio_ids: Tensor
    video_start_s: Tensor
    audio_start_s: Tensor
    hard_from_s: float
    super_hard_from_s: float
    negatives: int


def sync_contrastive_loss(
    video: Tensor,
    audio: Tensor,
    *,
    video_ids: Tensor | None = None,
    audio_ids: Tensor | None = None,
    video_start_s: Tensor | None = None,
    audio_start_s: Tensor | None = None,
    clip_s: float = 1.0,
    min_gap_s: float = 0.5,
    min_offset_s: float = 0.25,
    objective: Objective = "margin",
    mining: Mining = "hardest",
    negatives: Sequence[str] = _ALL_NEGATIVES,
    margin: float = 0.99,
    temperature: float | Tensor = 0.07,
) -> Tensor:
    """Contrastive loss over all video-audio pairs of a batch.

    ``objective="margin"`` is the loss of Korbar et al. (2018) on the Euclidean distance d::

        1/2 mean over positives of d^2  +  1/2 mean over negatives of max(margin - d, 0)^2

    With ``mining="all"`` the negatives are all admissible pairs. With ``"hardest"`` they are N + M
    terms: the nearest admissible negative of each video row and of each audio row (the lowest index
    among equals). A row without one contributes a zero, which counts in the mean. On N aligned
    rows this is the paper's mean over as many negatives as positives; with every d = margin / 2
    it is margin^2 / 4 (0.245 for 0.99), the value at which nothing has been learned. A mean over
    nothing is zero. At d = 0 a negative's gradient, which does not exist, is zero.

    ``objective="infonce"`` uses the logits s = <video row, audio row> / temperature::

        1/2 mean over video rows of [log sum exp(s of positives and negatives)
                                     - mean of (s of positives)]  +  1/2 the same over audio rows

    where each mean is over the rows that have a positive. All admissible negatives take part:
    ``mining`` and ``margin`` are for the other objective. Normalise the embeddings before if logits
    are to be cosines.

    Args:
        video: (N, D) embeddings; float32, float64, or float16 and bfloat16 (computed in float32).
        audio: (M, D) embeddings of the same dtype.
        video_ids: (N,) int64 medium of each row; None: the row's number.
        audio_ids: (M,) int64, likewise.
        video_start_s: (N,) window starts in seconds; None: zero, so that rows of one medium match.
        audio_start_s: (M,) likewise.
        clip_s: length of the windows in seconds.
        min_gap_s: least gap between the windows of a hard negative, in seconds.
        min_offset_s: least distance of the starts of a super-hard negative, in seconds.
        objective: "margin" or "infonce".
        mining: "hardest" or "all" negatives of the margin objective.
        negatives: admissible kinds, of "easy", "hard", "super_hard". Others are ignored.
        margin: distance beyond which a negative costs nothing.
        temperature: of InfoNCE; a 0-dimensional tensor receives a gradient.

    Returns:
        The loss, 0-dimensional; float64 for float64 input, otherwise float32.

    Raises:
        ValueError: an argument has a wrong shape, dtype or value.
    """
    batch = _checked_batch(
        video,
        audio,
        (video_ids, audio_ids),
        (video_start_s, audio_start_s),
        (clip_s, min_gap_s, min_offset_s),
        negatives,
    )
    check_options(objective, mining, margin)
    if objective == "margin":
        return torch.ops.avts.sync_margin(*batch, margin, mining == "hardest")[0]
    return torch.ops.avts.sync_infonce(*batch, _temperature_tensor(temperature, video))[0]


def mine_hardest_negatives(
    video: Tensor,
    audio: Tensor,
    *,
    video_ids: Tensor | None = None,
    audio_ids: Tensor | None = None,
    video_start_s: Tensor | None = None,
    audio_start_s: Tensor | None = None,
    clip_s: float = 1.0,
    min_gap_s: float = 0.5,
    min_offset_s: float = 0.25,
    negatives: Sequence[str] = _ALL_NEGATIVES,
) -> MinedNegatives:
    """The negatives that ``sync_contrastive_loss(mining="hardest")`` uses, for inspection.

    Arguments and errors are those of :func:`sync_contrastive_loss`.
    """
    times_s = (clip_s, min_gap_s, min_offset_s)
    starts_s = (video_start_s, audio_start_s)
    batch = _checked_batch(video, audio, (video_ids, audio_ids), starts_s, times_s, negatives)
    with torch.no_grad():
        _, of_video, of_audio, _ = torch.ops.avts.sync_margin(*batch, 1.0, True)
    kind_of_video = _mined_kinds(batch, torch.arange(len(video), device=video.device), of_video)
    kind_of_audio = _mined_kinds(batch, of_audio, torch.arange(len(audio), device=video.device))
    return MinedNegatives(of_video, kind_of_video, of_audio, kind_of_audio)


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
    check_margin(margin)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype != torch.int64:
        raise ValueError(
            f"pairs is {pairs.dtype} of shape {tuple(pairs.shape)}, expected int64 of (P, 2)"
        )
    if labels.shape != pairs.shape[:1]:
        raise ValueError(f"labels is of shape {tuple(labels.shape)}, expected ({len(pairs)},)")
    video, audio = _widened(video), _widened(audio)
    return torch.ops.avts.sync_pair(video, audio, pairs, labels.double(), margin)


def check_options(objective: str, mining: str, margin: float) -> None:
    """Raise ValueError for options of :func:`sync_contrastive_loss` that do not fit together."""
    if objective not in ("margin", "infonce"):
        raise ValueError(f"objective is {objective!r}, expected 'margin' or 'infonce'")
    if mining not in ("hardest", "all"):
        raise ValueError(f"mining is {mining!r}, expected 'hardest' or 'all'")
    check_margin(margin)


def check_margin(margin: float) -> None:
    """Raise ValueError unless the margin is a positive number."""
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin}, expected a positive number")


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless the temperature is a positive number."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}, expected a positive number")


def kind_bits(negatives: Sequence[str]) -> int:
    """One bit per admissible kind of negative; raises ValueError for an unknown or missing kind."""
    if isinstance(negatives, str) or not negatives or not set(negatives) <= set(_KINDS):
        raise ValueError(f"negatives is {negatives!r}, expected some of {sorted(_KINDS)}")
    return sum(1 << _KINDS[kind] for kind in set(negatives))


def check_times(clip_s: float, min_gap_s: float, min_offset_s: float) -> None:
    """Raise ValueError unless the times describe the kinds of pairs."""
    if not 0 < clip_s < math.inf:
        raise ValueError(f"clip_s is {clip_s}, expected a positive number of seconds")
    if not 0 <= min_gap_s < math.inf:
        raise ValueError(f"min_gap_s is {min_gap_s}, expected 0 or more seconds")
    if not 0 < min_offset_s < math.inf:
        raise ValueError(f"min_offset_s is {min_offset_s}, expected a positive number of seconds")


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


def _checked_batch(
    video: Tensor,
    audio: Tensor,
    ids: tuple[Tensor | None, Tensor | None],
    starts_s: tuple[Tensor | None, Tensor | None],
    times_s: tuple[float, float, float],
    negatives: Sequence[str],
) -> _Batch:
    _check_embeddings(video, audio)
    check_times(*times_s)
    clip_s, min_gap_s, min_offset_s = times_s
    return _Batch(
        _widened(video),
        _widened(audio),
        _checked_ids("video_ids", ids[0], video),
        _checked_ids("audio_ids", ids[1], audio),
        _checked_starts("video_start_s", starts_s[0], video),
        _checked_starts("audio_start_s", starts_s[1], audio),
        clip_s + min_gap_s,
        min_offset_s,
        kind_bits(negatives),
    )


def _widened(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _checked_ids(name: str, ids: Tensor | None, rows: Tensor) -> Tensor:
    if ids is None:
        return torch.arange(len(rows), device=rows.device)
    if ids.shape != rows.shape[:1] or ids.dtype != torch.int64:
        raise ValueError(
            f"{name} is {ids.dtype} of shape {tuple(ids.shape)}, expected int64 of ({len(rows)},)"
        )
    return ids


def _checked_starts(name: str, starts_s: Tensor | None, rows: Tensor) -> Tensor:
    if starts_s is None:
        return torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    if starts_s.shape != rows.shape[:1]:
        raise ValueError(f"{name} is of shape {tuple(starts_s.shape)}, expected ({len(rows)},)")
    return starts_s.double()


def _temperature_tensor(temperature: float | Tensor, like: Tensor) -> Tensor:
    if isinstance(temperature, Tensor):
        if temperature.ndim != 0:
            raise ValueError(f"temperature is of shape {tuple(temperature.shape)}, expected ()")
        return temperature.double()
    check_temperature(temperature)
    return torch.tensor(temperature, dtype=torch.float64, device=like.device)


def _mined_kinds(batch: _Batch, video_rows: Tensor, audio_rows: Tensor) -> Tensor:
    """Kinds of pairs of which one side was mined, where a mined row of -1 has kind -1."""
    exists = (video_rows >= 0) & (audio_rows >= 0)
    if not len(batch.video) or not len(batch.audio):
        return torch.full_like(video_rows, -1, dtype=torch.int8)
    same = batch.video_ids[video_rows] == batch.audio_ids[audio_rows]
    shift_s = (batch.video_start_s[video_rows] - batch.audio_start_s[audio_rows]).abs() + 1e-9
    kind = torch.where(shift_s >= batch.hard_from_s, int(PairKind.HARD), int(PairKind.SUPER_HARD))
    kind = torch.where(same, kind, int(PairKind.EASY))
    return torch.where(exists, kind, -1).to(torch.int8)


# --- Operators ------------------------------------------------------------------------------------

LIBRARY.define(
    f"sync_margin({_BATCH}, float margin, bool hardest) "
    "-> (Tensor loss, Tensor video_negative, Tensor audio_negative, Tensor weights)",
    tags=TAGS,
)
LIBRARY.define(
    f"sync_margin_backward(Tensor grad_loss, {_BATCH}, float margin, bool hardest, "
    "Tensor video_negative, Tensor audio_negative, Tensor weights) -> (Tensor, Tensor)",
    tags=TAGS,
)
LIBRARY.define(
    f"sync_infonce({_BATCH}, Tensor temperature) -> (Tensor loss, Tensor video_lse, "
    "Tensor video_positives, Tensor audio_lse, Tensor audio_positives)",
    tags=TAGS,
)
LIBRARY.define(
    f"sync_infonce_backward(Tensor grad_loss, {_BATCH}, Tensor temperature, Tensor video_lse, "
    "Tensor video_positives, Tensor audio_lse, Tensor audio_positives) -> (Tensor, Tensor, Tensor)",
    tags=TAGS,
)
LIBRARY.define(
    "sync_pair(Tensor video, Tensor audio, Tensor pairs, Tensor labels, float margin) -> Tensor",
    tags=TAGS,
)
LIBRARY.define(
    "sync_pair_backward(Tensor grad_loss, Tensor video, Tensor audio, Tensor pairs, Tensor labels, "
    "float margin) -> (Tensor, Tensor)",
    tags=TAGS,
)

_N_BATCH = len(_Batch._fields)


def _views(batch: _Batch) -> tuple[tuple, tuple, tuple]:
    """What the kernels take: each side as (rows, ids, starts), and the rule."""
    video, audio, video_ids, audio_ids, video_start_s, audio_start_s = (
        x.detach().contiguous() for x in batch[:6]
    )
    rule = batch.hard_from_s, batch.super_hard_from_s, batch.negatives
    return (video, video_ids, video_start_s), (audio, audio_ids, audio_start_s), rule


def _empty_rows(rows: Tensor) -> Tensor:
    return torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)


def _margin_outputs(batch: _Batch) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(len(batch.video), dtype=torch.int64, device=batch.video.device),
        torch.empty(len(batch.audio), dtype=torch.int64, device=batch.video.device),
    )


def _margin_cpu(*args):  # type: ignore[no-untyped-def]
    batch, (margin, hardest) = _Batch(*args[:_N_BATCH]), args[_N_BATCH:]
    mined = _margin_outputs(batch)
    threads = torch.get_num_threads()
    loss, *weights = _C.sync_margin_forward(*_views(batch), margin, hardest, threads, *mined)
    loss = torch.tensor(loss, dtype=batch.video.dtype)
    return loss, *mined, torch.tensor(weights, dtype=torch.float64)


def _margin_fake(*args):  # type: ignore[no-untyped-def]
    batch = _Batch(*args[:_N_BATCH])
    weights = batch.video.new_empty(2, dtype=torch.float64)
    return batch.video.new_empty(()), *_margin_outputs(batch), weights


def _margin_backward_cpu(grad_loss, *args):  # type: ignore[no-untyped-def]
    batch = _Batch(*args[:_N_BATCH])
    margin, hardest, video_negative, audio_negative, weights = args[_N_BATCH:]
    gradients = _empty_rows(batch.video), _empty_rows(batch.audio)
    _C.sync_margin_backward(
        *_views(batch),
        margin,
        hardest,
        *(weights * grad_loss.double()).tolist(),
        torch.get_num_threads(),
        video_negative.contiguous(),
        audio_negative.contiguous(),
        *gradients,
    )
    return gradients


def _gradients_fake(_, video, audio, *__):  # type: ignore[no-untyped-def]
    return _empty_rows(video), _empty_rows(audio)


def _infonce_outputs(batch: _Batch) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty(len(rows), dtype=dtype, device=rows.device)
        for rows in (batch.video, batch.audio)
        for dtype in (torch.float64, torch.int64)
    )


def _infonce_cpu(*args):  # type: ignore[no-untyped-def]
    batch, temperature = _Batch(*args[:_N_BATCH]), args[_N_BATCH]
    state = _infonce_outputs(batch)
    threads = torch.get_num_threads()
    loss = _C.sync_infonce_forward(*_views(batch), temperature.item(), threads, *state)
    return torch.tensor(loss, dtype=batch.video.dtype), *state


def _infonce_fake(*args):  # type: ignore[no-untyped-def]
    batch = _Batch(*args[:_N_BATCH])
    return batch.video.new_empty(()), *_infonce_outputs(batch)


def _infonce_backward_cpu(grad_loss, *args):  # type: ignore[no-untyped-def]
    batch, temperature, state = _Batch(*args[:_N_BATCH]), args[_N_BATCH], args[_N_BATCH + 1 :]
    gradients = _empty_rows(batch.video), _empty_rows(batch.audio)
    by_temperature = _C.sync_infonce_backward(
        *_views(batch),
        temperature.item(),
        grad_loss.item(),
        torch.get_num_threads(),
        *(x.contiguous() for x in state),
        *gradients,
    )
    return *gradients, torch.tensor(by_temperature, dtype=torch.float64)


def _infonce_backward_fake(_, video, audio, *__):  # type: ignore[no-untyped-def]
    by_temperature = video.new_empty((), dtype=torch.float64)
    return _empty_rows(video), _empty_rows(audio), by_temperature


def _pair_cpu(video, audio, pairs, labels, margin):  # type: ignore[no-untyped-def]
    tensors = (x.detach().contiguous() for x in (video, audio, pairs, labels))
    loss = _C.sync_pair_forward(*tensors, margin, torch.get_num_threads())
    return torch.tensor(loss, dtype=video.dtype)


def _pair_fake(video, audio, pairs, labels, margin):  # type: ignore[no-untyped-def]
    return video.new_empty(())


def _pair_backward_cpu(grad_loss, video, audio, pairs, labels, margin):  # type: ignore[no-untyped-def]
    tensors = (x.detach().contiguous() for x in (video, audio, pairs, labels))
    gradients = video.new_zeros(video.shape), audio.new_zeros(audio.shape)
    _C.sync_pair_backward(*tensors, margin, grad_loss.item(), *gradients)
    return gradients


for _name, _cpu, _fake in (
    ("sync_margin", _margin_cpu, _margin_fake),
    ("sync_margin_backward", _margin_backward_cpu, _gradients_fake),
    ("sync_infonce", _infonce_cpu, _infonce_fake),
    ("sync_infonce_backward", _infonce_backward_cpu, _infonce_backward_fake),
    ("sync_pair", _pair_cpu, _pair_fake),
    ("sync_pair_backward", _pair_backward_cpu, _gradients_fake),
):
    LIBRARY.impl(_name, _cpu, "CPU")
    torch.library.register_fake(f"avts::{_name}", _fake, lib=LIBRARY)


def _save_margin(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:6], *output[1:])
    ctx.options = inputs[6:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _margin_backward(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
    none = (None,) * 9
    if grad_loss is None:
        return None, None, *none
    tensors = ctx.saved_tensors
    gradients = torch.ops.avts.sync_margin_backward(
        grad_loss, *tensors[:6], *ctx.options, *tensors[6:]
    )
    return *gradients, *none


def _save_infonce(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:6], inputs[9], *output[1:])
    ctx.options = inputs[6:9]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _infonce_backward(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
    none = (None,) * 7
    if grad_loss is None:
        return None, None, *none, None
    tensors = ctx.saved_tensors
    video, audio, temperature = torch.ops.avts.sync_infonce_backward(
        grad_loss, *tensors[:6], *ctx.options, *tensors[6:]
    )
    return video, audio, *none, temperature


def _save_pair(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:4])
    ctx.margin = inputs[4]


def _pair_backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
    gradients = torch.ops.avts.sync_pair_backward(grad_loss, *ctx.saved_tensors, ctx.margin)
    return *gradients, None, None, None


for _name, _backward, _save in (
    ("sync_margin", _margin_backward, _save_margin),
    ("sync_infonce", _infonce_backward, _save_infonce),
    ("sync_pair", _pair_backward, _save_pair),
):
    torch.library.register_autograd(f"avts::{_name}", _backward, setup_context=_save, lib=LIBRARY)
