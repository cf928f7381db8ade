"""The operators' CUDA kernels, registered for PyTorch's CUDA dispatch key.

The compiled module is imported at first use: without a GPU nothing of it is ever loaded. Kernels
are queued on PyTorch's current stream, take all memory from its allocator, and wait for nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from avts_ext._extension import load_cuda
from avts_ext.ops._clip_offset_operator import empty_outputs
from avts_ext.ops._library import LIBRARY
from avts_ext.ops._sync_operators import (
    Batch,
    Numbers,
    Outputs,
    empty_loss,
    sides_of,
)
from avts_ext.ops.log_mel import backward_by, forward_by, limit_range_
from avts_ext.ops.log_mel_spec import kernel_options, spec_of


@functools.cache
def module() -> ModuleType:
    """The compiled CUDA module."""
    return load_cuda()


# --- Log-mel ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _log_mel_kernel(key: str) -> Any:
    return module().LogMel(kernel_options(key))


@functools.lru_cache(maxsize=64)
def _log_mel_tables(key: str, in_double: bool, device: torch.device) -> Tensor:
    """A spec's window, twiddles and filters; copied to the device once."""
    tables = bytearray(_log_mel_kernel(key).tables(in_double))
    return torch.frombuffer(tables, dtype=torch.uint8).to(device)


def _log_mel_memory(key: str, rows: Tensor, out: Tensor, backward: bool) -> tuple[Tensor, Tensor]:
    """The tables and the workspace of a call whose result in time has the frames of `out`."""
    kernel, in_double = _log_mel_kernel(key), rows.dtype == torch.float64
    frames = out.shape[1 if spec_of(key).layout == "time_mel" else 2]
    with torch.cuda.device_of(rows):
        size = kernel.workspace_bytes(len(rows), frames, in_double, backward)
    tables = _log_mel_tables(key, in_double, rows.device)
    return tables, rows.new_empty(size, dtype=torch.uint8)


def _run_log_mel(key: str, inputs: tuple[Any, ...], out: Tensor, mel: Tensor | None) -> None:
    memory = _log_mel_memory(key, inputs[0], out, backward=False)
    _log_mel_kernel(key).forward(*inputs, out, mel, *memory)
    if mel is None:
        limit_range_(out, inputs[2], key)


_log_mel, _log_mel_with_mel = forward_by(_run_log_mel)


def _log_mel_backward(*arguments: Any) -> Tensor:
    def run(
        key: str, inputs: tuple[Any, ...], mel: Tensor, grad: Tensor, grad_waveform: Tensor
    ) -> None:
        memory = _log_mel_memory(key, inputs[0], grad, backward=True)
        _log_mel_kernel(key).backward(*inputs, mel, grad, grad_waveform, *memory)

    return backward_by(run, *arguments)


# --- Clip offsets -------------------------------------------------------------------------------


def _clip_offset(*arguments: Any) -> tuple[Tensor, ...]:
    outputs = empty_outputs(*arguments)
    inputs = (vector.contiguous() for vector in arguments[:3])
    module().clip_offset(*inputs, *arguments[3:-1], *outputs)
    return outputs


# --- Sync losses --------------------------------------------------------------------------------


def _explicit(batch: Batch) -> Batch:
    """With all that may be left out on the CPU: ids, starts, and the learned scalars as tensors."""
    video, audio, numbers = batch.video, batch.audio, Numbers(*batch.numbers)

    def ids(given: Tensor | None, rows: Tensor) -> Tensor:
        return torch.arange(len(rows), device=rows.device) if given is None else given

    def starts_s(given: Tensor | None, rows: Tensor) -> Tensor:
        return rows.new_zeros(len(rows), dtype=torch.float64) if given is None else given

    def scalar(given: Tensor | None, value: float) -> Tensor:
        # Not new_tensor(), which would wait for the device.
        return video.new_full((), value, dtype=torch.float64) if given is None else given.detach()

    return batch._replace(
        video_ids=ids(batch.video_ids, video),
        audio_ids=ids(batch.audio_ids, audio),
        video_start_s=starts_s(batch.video_start_s, video),
        audio_start_s=starts_s(batch.audio_start_s, audio),
        temperature=scalar(batch.temperature, numbers.temperature),
        bias=scalar(batch.bias, numbers.bias),
    )


def _sync_loss(*arguments: Any) -> Outputs:
    batch, outputs = _explicit(Batch(*arguments)), empty_loss(*arguments)
    for gradient in (outputs.video_gradient, outputs.audio_gradient):
        gradient.zero_()
    options = (batch.choices, batch.numbers)
    size = module().sync_loss_workspace_bytes(len(batch.video), len(batch.audio), *options)
    workspace = batch.video.new_empty(size, dtype=torch.uint8)
    scalars = (batch.temperature, batch.bias)
    module().sync_loss(*sides_of(batch), scalars, *options, outputs, workspace)
    return outputs


def _pair_tensors(*tensors: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """The kernels' arguments, and room for a number per pair."""
    contiguous = tuple(x.detach().contiguous() for x in tensors)
    return contiguous, torch.empty_like(contiguous[3])


def _sync_pair(
    video: Tensor, audio: Tensor, pairs: Tensor, labels: Tensor, margin: float
) -> Tensor:
    tensors, terms = _pair_tensors(video, audio, pairs, labels)
    loss = video.new_empty(())
    module().sync_pair_forward(*tensors, margin, loss, terms)
    return loss


def _sync_pair_backward(
    grad_loss: Tensor, video: Tensor, audio: Tensor, pairs: Tensor, labels: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    tensors, terms = _pair_tensors(video, audio, pairs, labels)
    gradients = video.new_zeros(video.shape), audio.new_zeros(audio.shape)
    module().sync_pair_backward(*tensors, margin, grad_loss.detach(), *gradients, terms)
    return gradients


KERNELS: dict[str, Callable[..., Any]] = {
    "log_mel": _log_mel,
    "log_mel_with_mel": _log_mel_with_mel,
    "log_mel_backward": _log_mel_backward,
    "clip_offset": _clip_offset,
    "sync_loss": _sync_loss,
    "sync_pair": _sync_pair,
    "sync_pair_backward": _sync_pair_backward,
}
for _name, _kernel in KERNELS.items():
    LIBRARY.impl(_name, _kernel, "CUDA")
