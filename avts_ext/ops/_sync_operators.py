"""The sync losses as operators of PyTorch's dispatcher.

The forward pass computes the gradient as well, while the products it needs are at hand; the
backward pass multiplies it with the incoming gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS


class Batch(NamedTuple):
    """Checked arguments, in the order of the operator's schema."""

    video: Tensor
    audio: Tensor
    video_ids: Tensor
    audio_ids: Tensor
    video_start_s: Tensor
    audio_start_s: Tensor
    video_groups: Tensor | None
    audio_groups: Tensor | None
    audio_silent: Tensor | None
    temperature: Tensor
    bias: Tensor
    hard_from_s: float
    super_hard_from_s: float
    kind_weights: list[float]
    objective: int
    mining: int
    k: int
    video_anchors: bool
    audio_anchors: bool
    squared: bool
    margin: float
    seed: int
    want_gradient: bool
    want_statistics: bool


class Outputs(NamedTuple):
    """What the operator returns. The gradients are empty unless they were wanted."""

    loss: Tensor
    video_gradient: Tensor
    audio_gradient: Tensor
    by_temperature: Tensor
    by_bias: Tensor
    video_negative: Tensor
    audio_negative: Tensor
    statistics: Tensor


STATISTICS = 13  # see Statistics in csrc/sync_loss/sync_loss.h

LIBRARY.define(
    "sync_loss(Tensor video, Tensor audio, Tensor video_ids, Tensor audio_ids, "
    "Tensor video_start_s, Tensor audio_start_s, Tensor? video_groups, Tensor? audio_groups, "
    "Tensor? audio_silent, Tensor temperature, Tensor bias, float hard_from_s, "
    "float super_hard_from_s, float[] kind_weights, int objective, int mining, int k, "
    "bool video_anchors, bool audio_anchors, bool squared, float margin, int seed, "
    "bool want_gradient, bool want_statistics) -> (Tensor loss, Tensor video_gradient, "
    "Tensor audio_gradient, Tensor by_temperature, Tensor by_bias, Tensor video_negative, "
    "Tensor audio_negative, Tensor statistics)",
    tags=TAGS,
)
LIBRARY.define(
    "sync_loss_backward(Tensor grad_loss, Tensor video, Tensor audio, Tensor video_gradient, "
    "Tensor audio_gradient, Tensor by_temperature, Tensor by_bias) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
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


def empty_loss(*args):  # type: ignore[no-untyped-def]
    """Memory for the results of the sync loss, of arguments that may be fake."""
    batch = Batch(*args)
    video, audio = batch.video, batch.audio
    rows = (len(video), len(audio)) if batch.want_gradient else (0, 0)
    scalar = video.new_empty((), dtype=torch.float64)
    return Outputs(
        video.new_empty(()),
        video.new_empty((rows[0], video.shape[1])),
        audio.new_empty((rows[1], audio.shape[1])),
        scalar,
        torch.empty_like(scalar),
        video.new_empty((len(video), batch.k), dtype=torch.int64),
        audio.new_empty((len(audio), batch.k), dtype=torch.int64),
        video.new_empty(STATISTICS, dtype=torch.float64),
    )


def sides_of(batch: Batch) -> tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...]]:
    """The tensors of video and of audio, as the kernels take them."""
    tensors = [x if x is None else x.detach().contiguous() for x in batch[:9]]
    video, audio, video_ids, audio_ids, video_start_s, audio_start_s, *flags = tensors
    video_groups, audio_groups, audio_silent = flags
    return (
        (video, video_ids, video_start_s, video_groups, None),
        (audio, audio_ids, audio_start_s, audio_groups, audio_silent),
    )


def options_of(batch: Batch) -> dict[str, Any]:
    """What is no tensor, and the learned scalars."""
    return dict(zip(Batch._fields[9:], batch[9:], strict=True))


def _loss_cpu(*args):  # type: ignore[no-untyped-def]
    batch, outputs = Batch(*args), empty_loss(*args)
    scalars = {"temperature": batch.temperature.item(), "bias": batch.bias.item()}
    loss, by_temperature, by_bias, statistics = _C.sync_loss(
        *sides_of(batch),
        options_of(batch) | scalars | {"threads": torch.get_num_threads()},
        (*outputs[1:3], *outputs[5:7]),
    )
    video = batch.video
    return outputs._replace(
        loss=torch.tensor(loss, dtype=video.dtype),
        by_temperature=torch.tensor(by_temperature, dtype=torch.float64),
        by_bias=torch.tensor(by_bias, dtype=torch.float64),
        statistics=torch.tensor(statistics, dtype=torch.float64),
    )


def loss_backward(grad_loss, video, audio, *gradients):  # type: ignore[no-untyped-def]
    """The gradients by the incoming one, on any device."""
    # The embeddings are arguments so that a second derivative by them is noticed, and refused.
    return tuple(x * grad_loss.to(x.dtype) for x in gradients)


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


def _pair_backward_fake(_, video, audio, *__):  # type: ignore[no-untyped-def]
    return video.new_empty(video.shape), audio.new_empty(audio.shape)


for _name, _cpu, _fake in (
    ("sync_loss", _loss_cpu, empty_loss),
    ("sync_loss_backward", loss_backward, loss_backward),
    ("sync_pair", _pair_cpu, _pair_fake),
    ("sync_pair_backward", _pair_backward_cpu, _pair_backward_fake),
):
    LIBRARY.impl(_name, _cpu, "CPU")
    torch.library.register_fake(f"avts::{_name}", _fake, lib=LIBRARY)


def _save_loss(ctx, inputs, output):  # type: ignore[no-untyped-def]
    outputs = Outputs(*output)
    ctx.save_for_backward(*inputs[:2], *outputs[1:5])
    ctx.mark_non_differentiable(*outputs[1:])
    ctx.set_materialize_grads(False)


def _loss_backward(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
    rest = (None,) * (len(Batch._fields) - 11)
    if grad_loss is None:
        return (None,) * len(Batch._fields)
    # The operator is there to refuse a second derivative; without one in sight its call is saved.
    backward = torch.ops.avts.sync_loss_backward if torch.is_grad_enabled() else loss_backward
    video, audio, temperature, bias = backward(grad_loss, *ctx.saved_tensors)
    return video, audio, *(None,) * 7, temperature, bias, *rest


def _save_pair(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:4])
    ctx.margin = inputs[4]


def _pair_backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
    gradients = torch.ops.avts.sync_pair_backward(grad_loss, *ctx.saved_tensors, ctx.margin)
    return *gradients, None, None, None


def _refuse(*_):  # type: ignore[no-untyped-def]
    raise NotImplementedError("the sync losses have no second derivative")


for _name, _backward, _save in (
    ("sync_loss", _loss_backward, _save_loss),
    ("sync_loss_backward", _refuse, None),
    ("sync_pair", _pair_backward, _save_pair),
    ("sync_pair_backward", _refuse, None),
):
    torch.library.register_autograd(f"avts::{_name}", _backward, setup_context=_save, lib=LIBRARY)
