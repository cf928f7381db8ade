"""Log-mel spectrogram: one fused pass from samples to log-mel values, with a fused gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avts_ext.ops._library import LIBRARY, TAGS, batch_first
from avts_ext.ops._pcen_operator import pcen_numpy
from avts_ext.ops.log_mel_spec import PCEN_FIRST_MEAN, LogMelSpec, kernel_of, spec_of

_INPUTS = "Tensor waveform, Tensor? starts, Tensor? lengths, int clip_length, str spec"
# `spec` is LogMelSpec.key; a negative `clip_length` means the rest of the row. `log_mel` has no
# gradient. The second result of `log_mel_with_mel` is what the logarithm is taken of, which the
# gradient needs, and `top_db` has yet to be applied to its first, by an operation that has one. One
# operator would be simpler: PyTorch's Python for a gradient and an empty result cost a call 4 us.
LIBRARY.define(f"log_mel({_INPUTS}) -> Tensor", tags=TAGS)
LIBRARY.define(f"log_mel_with_mel({_INPUTS}) -> (Tensor, Tensor)", tags=TAGS)
LIBRARY.define(f"log_mel_backward(Tensor grad, Tensor mel, {_INPUTS}) -> Tensor", tags=TAGS)

_SAMPLE_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int16)


def _precision(waveform: Tensor) -> torch.dtype:
    return torch.float64 if waveform.dtype == torch.float64 else torch.float32


def _check_per_item(name: str, values: Tensor | None, waveform: Tensor) -> None:
    if values is None:
        return
    if values.dtype != torch.int64 or values.shape != waveform.shape[:-1]:
        raise ValueError(
            f"{name} is {values.dtype} of shape {tuple(values.shape)}, expected torch.int64 of the "
            f"waveform's batch shape {tuple(waveform.shape[:-1])}"
        )


def _frames(
    waveform: Tensor, starts: Tensor | None, lengths: Tensor | None, clip_length: int, key: str
) -> int:
    """Frames of the result, after all checks that do not read values; works on fake tensors."""
    spec, shape = spec_of(key), waveform.shape
    if waveform.dtype not in _SAMPLE_TYPES:
        raise TypeError(
            f"waveform is {waveform.dtype}, expected torch.float32, float64, float16, bfloat16 or "
            f"int16"
        )
    if not shape:
        raise ValueError("waveform is 0-dimensional, expected shape (..., time)")
    _check_per_item("starts", starts, waveform)
    _check_per_item("lengths", lengths, waveform)
    if starts is not None and lengths is None and clip_length < 0:
        raise ValueError("clip_length is None, expected a number of samples if starts are given")
    if clip_length > shape[-1]:
        raise ValueError(f"clip_length is {clip_length}, expected at most {shape[-1]}")
    samples = shape[-1] if clip_length < 0 else clip_length
    if samples < spec.samples_needed:
        raise ValueError(
            f"waveform is {samples} samples long, expected at least {spec.samples_needed}"
        )
    return spec.frames(samples)


def _values_shape(batch: Any, frames: int, spec: LogMelSpec) -> tuple[int, ...]:
    last_two = (frames, spec.n_mels) if spec.layout == "time_mel" else (spec.n_mels, frames)
    return (*batch, *last_two)


def _empty_values(waveform: Tensor, *rest: Any) -> Tensor:
    """Memory for the values, after the checks; works on fake tensors."""
    frames, spec = _frames(waveform, *rest), spec_of(rest[-1])
    dtype = _precision(waveform)
    if spec.dtype is not None and spec.pcen is None:  # which rounds its own result
        dtype = getattr(torch, spec.dtype)
    return waveform.new_empty(_values_shape(waveform.shape[:-1], frames, spec), dtype=dtype)


def _wants_gradient(waveform: Tensor) -> bool:
    return waveform.requires_grad and torch.is_grad_enabled()


def _empty_without_mel(waveform: Tensor, *rest: Any) -> Tensor:
    if _wants_gradient(waveform):
        raise ValueError(
            "waveform requires a gradient, which avts::log_mel does not have, expected "
            "avts::log_mel_with_mel"
        )
    return _empty_values(waveform, *rest)


def _empty_with_mel(waveform: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    out, spec = _empty_values(waveform, *rest), spec_of(rest[-1])
    frames = out.shape[-2 if spec.layout == "time_mel" else -1]
    mel_shape = (*waveform.shape[:-1], spec.n_mels, frames)
    return out, waveform.new_empty(mel_shape, dtype=_precision(waveform))


def _rows(waveform: Tensor) -> Tensor:
    """(items, time) whose samples are consecutive; the rows need not be."""
    rows = waveform if waveform.dim() == 2 else waveform.reshape(-1, waveform.shape[-1])
    return rows if rows.stride(-1) == 1 else rows.contiguous()


def _items(values: Tensor) -> Tensor:
    """(items, ., .) of new values, without a view where none is needed: it would cost 1 us."""
    return values if values.dim() == 3 else values.view(-1, *values.shape[-2:])


def _flat(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.reshape(-1).contiguous()


def _missing_frames(values: Tensor, lengths: Tensor, key: str) -> Tensor:
    """Which values are of frames that an item is too short for; (..., 1, frames) or so."""
    spec = spec_of(key)
    time_dim = -2 if spec.layout == "time_mel" else -1
    index = torch.arange(values.shape[time_dim], device=values.device)
    return (index >= spec.frames(lengths)[..., None]).unsqueeze(-1 if time_dim == -2 else -2)


def _limit_range(values: Tensor, lengths: Tensor | None, key: str) -> Tensor:
    """Raises what is further than the dynamic range below its item's largest value."""
    limit = spec_of(key).dynamic_range
    if lengths is None:
        return torch.clamp(values, min=values.amax((-2, -1), keepdim=True) - limit)
    missing = _missing_frames(values, lengths, key)
    largest = values.masked_fill(missing, -torch.inf).amax((-2, -1), keepdim=True)
    return torch.clamp(values, min=largest - limit).masked_fill(missing, 0)


def limit_range_(values: Tensor, lengths: Tensor | None, key: str) -> None:
    """The same in place, which a gradient would forbid."""
    if spec_of(key).top_db is None:
        return
    if lengths is not None:
        missing = _missing_frames(values, lengths, key)
        values.masked_fill_(missing, -torch.inf)
    values.clamp_(min=values.amax((-2, -1), keepdim=True) - spec_of(key).dynamic_range)
    if lengths is not None:
        values.masked_fill_(missing, 0)


Kernel = Callable[..., Any]


def forward_by(run: Kernel) -> tuple[Kernel, Kernel]:
    """The two operators by a device's kernel, ``run(key, inputs, out, mel or None)``.

    `inputs` are rows of samples, starts, lengths and `clip_length`. Without `mel` it applies
    ``top_db``.
    """

    def fill(inputs: tuple[Any, ...], out: Tensor, mel: Tensor | None) -> None:
        waveform, starts, lengths, clip_length, key = inputs
        if out.numel():
            rows = (_rows(waveform), _flat(starts), _flat(lengths), clip_length)
            run(key, rows, _items(out), None if mel is None else _items(mel))

    def log_mel(*inputs: Any) -> Tensor:
        out = _empty_without_mel(*inputs)
        fill(inputs, out, None)
        return out

    def log_mel_with_mel(*inputs: Any) -> tuple[Tensor, Tensor]:
        out, mel = _empty_with_mel(*inputs)
        fill(inputs, out, mel)
        return out, mel

    return log_mel, log_mel_with_mel


def _run(key: str, inputs: tuple[Any, ...], out: Tensor, mel: Tensor | None) -> None:
    limit = spec_of(key).dynamic_range if mel is None else math.inf
    kernel_of(key).forward(*inputs, out, mel, torch.get_num_threads(), limit)


_any_log_mel, _log_mel_with_mel = forward_by(_run)


@functools.lru_cache(maxsize=64)
def _whole_rows(key: str) -> Callable[[Tensor, int], Tensor | None]:
    """Computes the values of whole rows by so many threads; None where there is more to do."""
    spec = spec_of(key)
    if spec.dtype is not None:
        return lambda waveform, threads: None
    return functools.partial(kernel_of(key).values, spec.dynamic_range)


def _log_mel(
    waveform: Tensor, starts: Tensor | None, lengths: Tensor | None, clip_length: int, key: str
) -> Tensor:
    """`log_mel` on the CPU. The usual call, of whole rows, leaves the checks to the kernel."""
    if starts is None and lengths is None and clip_length < 0 and not _wants_gradient(waveform):
        values = _whole_rows(key)(waveform, torch.get_num_threads())
        if values is not None:
            return values
    return _any_log_mel(waveform, starts, lengths, clip_length, key)


def _check_grad(grad: Tensor, mel: Tensor, waveform: Tensor, key: str, frames: int) -> None:
    spec, batch = spec_of(key), waveform.shape[:-1]
    shape = _values_shape(batch, frames, spec)
    if grad.shape != shape:
        raise ValueError(f"grad is of shape {tuple(grad.shape)}, expected {shape}")
    if mel.shape != (*batch, spec.n_mels, frames):
        raise ValueError(f"mel is of shape {tuple(mel.shape)}, expected that of log_mel_with_mel")


def backward_by(
    run: Kernel,
    grad: Tensor,
    mel: Tensor,
    waveform: Tensor,
    starts: Tensor | None,
    lengths: Tensor | None,
    clip_length: int,
    key: str,
) -> Tensor:
    """The gradient by a device's kernel, ``run(key, inputs, mel, grad, out)``."""
    _check_grad(grad, mel, waveform, key, _frames(waveform, starts, lengths, clip_length, key))
    out = waveform.new_empty(waveform.shape, dtype=_precision(waveform))
    if grad.numel():
        rows = _rows(waveform).contiguous()
        run(
            key,
            (rows, _flat(starts), _flat(lengths), clip_length),
            mel.reshape(-1, *mel.shape[-2:]).contiguous(),
            grad.reshape(-1, *grad.shape[-2:]).to(out.dtype).contiguous(),
            out.view(rows.shape),
        )
    return out.to(waveform.dtype)


def _log_mel_backward(*arguments: Any) -> Tensor:
    def run(key: str, inputs: tuple[Any, ...], *tensors: Tensor) -> None:
        kernel_of(key).backward(*inputs, *tensors, torch.get_num_threads())

    return backward_by(run, *arguments)


def _log_mel_backward_fake(
    grad: Tensor,
    mel: Tensor,
    waveform: Tensor,
    starts: Tensor | None,
    lengths: Tensor | None,
    clip_length: int,
    key: str,
) -> Tensor:
    _check_grad(grad, mel, waveform, key, _frames(waveform, starts, lengths, clip_length, key))
    return waveform.new_empty(waveform.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    waveform, starts, lengths, clip_length, key = inputs
    mel = output[1]
    ctx.mark_non_differentiable(mel)
    ctx.set_materialize_grads(False)  # or PyTorch writes zeros as mel's gradient
    ctx.save_for_backward(mel, waveform, starts, lengths)
    ctx.rest = (clip_length, key)


def _autograd(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None, None, None, None, None)
    grad_waveform = torch.ops.avts.log_mel_backward(grad, *ctx.saved_tensors, *ctx.rest)
    return (grad_waveform, None, None, None, None)


def _setup_second_order(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    pass


def _second_order(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    raise NotImplementedError("log_mel_spectrogram has no second derivative")


def _log_mel_vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
    return torch.ops.avts.log_mel(*batch_first(info.batch_size, in_dims, inputs)), 0


def _log_mel_with_mel_vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
    mapped = batch_first(info.batch_size, in_dims, inputs)
    return torch.ops.avts.log_mel_with_mel(*mapped), (0, 0)


def _log_mel_backward_vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
    mapped = batch_first(info.batch_size, in_dims, inputs)
    return torch.ops.avts.log_mel_backward(*mapped), 0


LIBRARY.impl("log_mel", _log_mel, "CPU")
LIBRARY.impl("log_mel_with_mel", _log_mel_with_mel, "CPU")
LIBRARY.impl("log_mel_backward", _log_mel_backward, "CPU")
torch.library.register_fake("avts::log_mel", _empty_without_mel, lib=LIBRARY)
torch.library.register_fake("avts::log_mel_with_mel", _empty_with_mel, lib=LIBRARY)
torch.library.register_fake("avts::log_mel_backward", _log_mel_backward_fake, lib=LIBRARY)
torch.library.register_autograd(
    "avts::log_mel_with_mel", _autograd, setup_context=_setup_context, lib=LIBRARY
)
torch.library.register_autograd(
    "avts::log_mel_backward", _second_order, setup_context=_setup_second_order, lib=LIBRARY
)
torch.library.register_vmap("avts::log_mel", _log_mel_vmap, lib=LIBRARY)
torch.library.register_vmap("avts::log_mel_with_mel", _log_mel_with_mel_vmap, lib=LIBRARY)
torch.library.register_vmap("avts::log_mel_backward", _log_mel_backward_vmap, lib=LIBRARY)


# An operator only so that compilers, which stumble over a spec's methods, see one call.
LIBRARY.define("log_mel_limit_range(Tensor values, Tensor? lengths, str spec) -> Tensor", tags=TAGS)
LIBRARY.impl("log_mel_limit_range", _limit_range, "CompositeImplicitAutograd")


_LOG_MEL, _LOG_MEL_WITH_MEL = (
    torch.ops.avts.log_mel.default,
    torch.ops.avts.log_mel_with_mel.default,
)


def _check_device(name: str, values: Tensor, waveform: Tensor) -> None:
    if values.device != waveform.device:
        raise ValueError(f"{name} is on {values.device}, expected {waveform.device}")


@torch.compiler.assume_constant_result
def _spec_with(options: tuple[tuple[str, Any], ...]) -> LogMelSpec:
    return LogMelSpec(**dict(options))


def log_mel_spectrogram(
    waveform: Tensor,
    spec: LogMelSpec | None = None,
    *,
    starts: Tensor | None = None,
    lengths: Tensor | None = None,
    clip_length: int | None = None,
    **options: Any,
) -> Tensor:
    """Log-mel spectrogram of waveforms; the defaults give (..., 40, 100) for 1 s at 16 kHz.

    Frame, window, Fourier transform, power, mel filters and logarithm are one pass: no spectrogram
    is stored. Differentiable once with respect to the waveform. An item's values are the same
    bits alone, in any batch and at any number of threads, and a NaN spoils only its own frames.

    Args:
        waveform: (..., time) float32 or float64, computed in that precision, or float16, bfloat16
            or int16 (which stands for -1 to 1), computed in float32. Autocast changes nothing.
        spec: what to compute; None: ``LogMelSpec(**options)``.
        starts: (...) int64; item i begins at this sample of its row, and knows nothing of what
            was before: long tracks are cropped without a copy. Wants `clip_length` or `lengths`.
        lengths: (...) int64, samples of each item, which is padded at its own end.
            ``spec.frames(lengths)`` are its frames; those after them are zero.
        clip_length: samples of each item without `lengths`, and the longest of them with; None:
            as long as a row.
        options: instead of a spec, the arguments of :class:`LogMelSpec`.

    Returns:
        (..., n_mels, frames), or (..., frames, n_mels) if the layout is "time_mel", with
        ``frames = spec.frames(time)``, or of `clip_length` where that is given.

    Raises:
        ValueError: an option is out of its range, an item is too short for one frame or for the
            reflection, or does not lie within its row; starts or lengths are on another device than
            the waveform; or the spec has ``pcen`` and the waveform is on a GPU.
        TypeError: the waveform is of another type.
    """
    if spec is None:
        spec = _spec_with(tuple(options.items())) if options else _DEFAULT
    elif options:
        raise ValueError(f"options are {sorted(options)}, expected none beside a spec")
    if spec.pcen is not None and waveform.is_cuda:
        raise ValueError(f"waveform is on {waveform.device}, expected the CPU with pcen")
    if starts is not None:
        _check_device("starts", starts, waveform)
    if lengths is not None:
        _check_device("lengths", lengths, waveform)
    inputs = (waveform, starts, lengths, -1 if clip_length is None else clip_length, spec.key)
    if _wants_gradient(waveform):
        values, _ = _LOG_MEL_WITH_MEL(*inputs)
        if spec.top_db is not None:
            values = torch.ops.avts.log_mel_limit_range(values, lengths, spec.key)
    else:
        values = _LOG_MEL(*inputs)
    if spec.pcen is not None:
        return torch.ops.avts.log_mel_pcen(values, lengths, spec.key)
    return values


_DEFAULT = LogMelSpec()


def log_mel_spectrogram_numpy(
    waveform: np.ndarray,
    spec: LogMelSpec,
    *,
    starts: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    clip_length: int | None = None,
    threads: int = 1,
) -> np.ndarray:
    """:func:`log_mel_spectrogram` on NumPy arrays, by the same kernel and without a tensor.

    For workers that hold no tensors, such as a DataLoader's. Arguments, results and errors are
    those of the function, in NumPy's types; there is no gradient and no bfloat16.
    """
    if spec.dtype == "bfloat16":
        raise ValueError("dtype is 'bfloat16', expected a NumPy type")
    clip = -1 if clip_length is None else clip_length
    rows = np.ascontiguousarray(waveform).reshape(-1, waveform.shape[-1])
    samples = rows.shape[1] if clip < 0 else clip
    if samples < spec.samples_needed:
        raise ValueError(
            f"waveform is {samples} samples long, expected at least {spec.samples_needed}"
        )
    computed = "float64" if waveform.dtype == np.float64 else "float32"
    shape = _values_shape((rows.shape[0],), spec.frames(samples), spec)
    out = np.empty(shape, dtype=computed if spec.pcen else spec.dtype or computed)
    flat = [None if v is None else np.ascontiguousarray(v).reshape(-1) for v in (starts, lengths)]
    if out.size:
        kernel_of(spec.key).forward(rows, *flat, clip, out, None, threads, spec.dynamic_range)
        if spec.pcen is not None:
            present = None if flat[1] is None else spec.frames(flat[1])
            means = np.full((len(rows), spec.n_mels), PCEN_FIRST_MEAN)
            out = pcen_numpy(out, present, means, spec.key, threads)
    return out.astype(spec.dtype or computed, copy=False).reshape(*waveform.shape[:-1], *shape[1:])
