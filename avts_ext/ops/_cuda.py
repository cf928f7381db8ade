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
from avts_ext.ops.log_mel import backward_by, forward_by
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


def _log_mel(*arguments: Any) -> tuple[Tensor, Tensor]:
    def run(key: str, inputs: tuple[Any, ...], out: Tensor, mel: Tensor | None) -> None:
        memory = _log_mel_memory(key, inputs[0], out, backward=False)
        _log_mel_kernel(key).forward(*inputs, out, mel, *memory)

    return forward_by(run, *arguments)


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


KERNELS: dict[str, Callable[..., Any]] = {
    "log_mel": _log_mel,
    "log_mel_backward": _log_mel_backward,
    "clip_offset": _clip_offset,
}
for _name, _kernel in KERNELS.items():
    LIBRARY.impl(_name, _kernel, "CUDA")
