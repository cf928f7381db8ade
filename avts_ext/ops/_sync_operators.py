"""The sync losses as operators of PyTorch's dispatcher.

``avts::sync_loss`` computes the loss together with its gradient, while the products it needs are at
hand. :func:`sync_loss` makes one differentiable function of both. It is an ``autograd.Function``
because the overhead of ``torch.library.register_autograd`` is more than the loss of 64 rows costs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS


class Choices(NamedTuple):
    """Options that are whole numbers, in the order of the operator's list."""

    objective: int
    mining: int
    k: int
    video_anchors: int
    audio_anchors: int
    squared: int
    seed: int
    want_gradient: int
    want_statistics: int


class Numbers(NamedTuple):
    """Options that are not, likewise. The learned ones are of no account where they are tensors."""

    hard_from_s: float
    super_hard_from_s: float
    easy_weight: float
    hard_weight: float
    super_hard_weight: float
    margin: float
    temperature: float
    bias: float


class Batch(NamedTuple):
    """Checked arguments, in the order of the operator's schema."""

    video: Tensor
    audio: Tensor
    video_ids: Tensor | None
    audio_ids: Tensor | None
    video_start_s: Tensor | None
    audio_start_s: Tensor | None
    video_groups: Tensor | None
    audio_groups: Tensor | None
    audio_silent: Tensor | None
    temperature: Tensor | None
    bias: Tensor | None
    choices: Choices
    numbers: Numbers


class Outputs(NamedTuple):
    """What the operator returns. The gradients are empty unless they were wanted."""

    loss: Tensor
    video_gradient: Tensor
    audio_gradient: Tensor
    video_negative: Tensor
    audio_negative: Tensor
    sums: Tensor  # float64: the derivatives by temperature and bias, then the statistics


SUMS = 15  # see Statistics in csrc/sync_loss/sync_loss.h

LIBRARY.define(
    "sync_loss(Tensor video, Tensor audio, Tensor? video_ids, Tensor? audio_ids, "
    "Tensor? video_start_s, Tensor? audio_start_s, Tensor? video_groups, Tensor? audio_groups, "
    "Tensor? audio_silent, Tensor? temperature, Tensor? bias, int[] choices, float[] numbers) "
    "-> (Tensor loss, Tensor video_gradient, Tensor audio_gradient, Tensor video_negative, "
    "Tensor audio_negative, Tensor sums)",
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
    video, audio, choices = batch.video, batch.audio, Choices(*batch.choices)
    rows = (video.shape[0], audio.shape[0])
    with_gradient = rows if choices.want_gradient else (0, 0)
    return Outputs(
        video.new_empty(()),
        video.new_empty((with_gradient[0], video.shape[1])),
        audio.new_empty((with_gradient[1], audio.shape[1])),
        video.new_empty((rows[0], choices.k), dtype=torch.int64),
        audio.new_empty((rows[1], choices.k), dtype=torch.int64),
        video.new_empty(SUMS, dtype=torch.float64),
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


def _loss_cpu(*args):  # type: ignore[no-untyped-def]
    batch, outputs = Batch(*args), empty_loss(*args)
    numbers = batch.numbers
    if batch.temperature is not None:
        numbers[-2] = batch.temperature.item()
    if batch.bias is not None:
        numbers[-1] = batch.bias.item()
    _C.sync_loss(*sides_of(batch), batch.choices, numbers, torch.get_num_threads(), outputs)
    return outputs


# The operator computes a gradient but has none.
LIBRARY.impl("sync_loss", torch.library.fallthrough_kernel, "Autograd")


_OPERATOR = torch.ops.avts.sync_loss.default
_TEMPERATURE, _BIAS = map(Batch._fields.index, ("temperature", "bias"))


class _SyncLoss(torch.autograd.Function):
    # Not setup_context(), for which PyTorch looks up the signature in each call.
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = _OPERATOR(*args)
        _, video_gradient, audio_gradient, _, _, sums = outputs
        gradients = {0: video_gradient, 1: audio_gradient}
        if args[_TEMPERATURE] is not None or args[_BIAS] is not None:
            gradients |= {_TEMPERATURE: sums[0], _BIAS: sums[1]}
        ctx.at = [n for n in gradients if ctx.needs_input_grad[n]]
        ctx.save_for_backward(*[gradients[n] for n in ctx.at], *[args[n] for n in ctx.at])
        ctx.mark_non_differentiable(*outputs[1:])
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        results: list[Tensor | None] = [None] * len(Batch._fields)
        if grad_loss is not None:
            scale = _Refusing.apply if torch.is_grad_enabled() else _scaled
            for n, gradient in zip(ctx.at, scale(grad_loss, *ctx.saved_tensors), strict=True):
                results[n] = gradient
        return tuple(results)


def _scaled(grad_loss: Tensor, *gradients_and_inputs: Tensor) -> tuple[Tensor, ...]:
    gradients = gradients_and_inputs[: len(gradients_and_inputs) // 2]
    return tuple([x * grad_loss for x in gradients])


def _refuse(ctx: Any, *_: Any) -> Any:
    raise NotImplementedError("the sync losses have no second derivative")


class _Refusing(torch.autograd.Function):
    """The backward pass where a second derivative may follow; by the inputs there is none."""

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> tuple[Tensor, ...]:
        return _scaled(*args)

    backward = staticmethod(_refuse)


def sync_loss(batch: Batch) -> Outputs:
    """The operator, with a gradient of the loss by rows, temperature and bias."""
    return Outputs(*_SyncLoss.apply(*batch))


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
    ("sync_pair", _pair_cpu, _pair_fake),
    ("sync_pair_backward", _pair_backward_cpu, _pair_backward_fake),
):
    LIBRARY.impl(_name, _cpu, "CPU")
    torch.library.register_fake(f"avts::{_name}", _fake, lib=LIBRARY)


def _save_pair(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:4])
    ctx.margin = inputs[4]


def _pair_backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
    gradients = torch.ops.avts.sync_pair_backward(grad_loss, *ctx.saved_tensors, ctx.margin)
    return *gradients, None, None, None


for _name, _backward, _save in (
    ("sync_pair", _pair_backward, _save_pair),
    ("sync_pair_backward", _refuse, None),
):
    torch.library.register_autograd(f"avts::{_name}", _backward, setup_context=_save, lib=LIBRARY)
