"""PCEN of mel energies: the operator, its gradient, and the NumPy door to the same kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS, batch_first
from avts_ext.ops.log_mel_spec import PCEN_FIRST_MEAN, pcen_options, spec_of

# `energies` are what log_mel gives for the same spec, whose key is `spec`; so are `lengths`.
LIBRARY.define("log_mel_pcen(Tensor energies, Tensor? lengths, str spec) -> Tensor", tags=TAGS)
LIBRARY.define(
    "log_mel_pcen_backward(Tensor grad, Tensor energies, Tensor? lengths, str spec) -> Tensor",
    tags=TAGS,
)


def _dtype(energies: Tensor, key: str) -> torch.dtype:
    name = spec_of(key).dtype
    return getattr(torch, name) if name else energies.dtype


def _flat(values: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return values.reshape(-1, *values.shape[-2:]).to(dtype).contiguous()


def _present(lengths: Tensor | None, key: str) -> Tensor | None:
    return None if lengths is None else spec_of(key).frames(lengths).reshape(-1).contiguous()


def _pcen(energies: Tensor, lengths: Tensor | None, key: str) -> Tensor:
    spec, rows = spec_of(key), _flat(energies)
    means = torch.full((len(rows), spec.n_mels), PCEN_FIRST_MEAN, dtype=torch.float64)
    values = torch.empty_like(rows)
    _C.pcen(
        pcen_options(key),
        rows,
        spec.layout == "time_mel",
        _present(lengths, key),
        means,
        values,
        torch.get_num_threads(),
    )
    return values.view(energies.shape).to(_dtype(energies, key))


def _pcen_fake(energies: Tensor, lengths: Tensor | None, key: str) -> Tensor:
    return energies.new_empty(energies.shape, dtype=_dtype(energies, key))


def _pcen_backward(grad: Tensor, energies: Tensor, lengths: Tensor | None, key: str) -> Tensor:
    rows = _flat(energies)
    grad_energies = torch.empty_like(rows)
    _C.pcen_gradient(
        pcen_options(key),
        rows,
        spec_of(key).layout == "time_mel",
        _present(lengths, key),
        PCEN_FIRST_MEAN,
        _flat(grad, energies.dtype),
        grad_energies,
        torch.get_num_threads(),
    )
    return grad_energies.view(energies.shape)


def _pcen_backward_fake(grad: Tensor, energies: Tensor, lengths: Tensor | None, key: str) -> Tensor:
    return energies.new_empty(energies.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    energies, lengths, ctx.key = inputs
    ctx.save_for_backward(energies, lengths)


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.avts.log_mel_pcen_backward(grad, *ctx.saved_tensors, ctx.key), None, None


def _setup_second_order(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    pass


def _second_order(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    raise NotImplementedError("log_mel_spectrogram has no second derivative")


def _pcen_vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
    return torch.ops.avts.log_mel_pcen(*batch_first(info.batch_size, in_dims, inputs)), 0


def _pcen_backward_vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
    return torch.ops.avts.log_mel_pcen_backward(*batch_first(info.batch_size, in_dims, inputs)), 0


for _name, _kernel, _fake, _setup, _gradient, _vmap in (
    ("log_mel_pcen", _pcen, _pcen_fake, _setup_context, _autograd, _pcen_vmap),
    (
        "log_mel_pcen_backward",
        _pcen_backward,
        _pcen_backward_fake,
        _setup_second_order,
        _second_order,
        _pcen_backward_vmap,
    ),
):
    LIBRARY.impl(_name, _kernel, "CPU")
    torch.library.register_fake(f"avts::{_name}", _fake, lib=LIBRARY)
    torch.library.register_autograd(f"avts::{_name}", _gradient, setup_context=_setup, lib=LIBRARY)
    torch.library.register_vmap(f"avts::{_name}", _vmap, lib=LIBRARY)


def pcen_numpy(
    energies: np.ndarray, present: np.ndarray | None, means: np.ndarray, key: str, threads: int
) -> np.ndarray:
    """(items, ...) energies to values of their type; moves on `means`, (items, n_mels) float64."""
    values = np.empty_like(energies)
    time_mel = spec_of(key).layout == "time_mel"
    _C.pcen(pcen_options(key), energies, time_mel, present, means, values, threads)
    return values
