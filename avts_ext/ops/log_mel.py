"""Log-mel spectrogram: one fused pass from samples to log-mel values, with a fused gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avts_ext._extension import _C
from avts_ext.ops._library import LIBRARY, TAGS

_OPTIONS = (
    "float sample_rate, int n_fft, int win_length, int hop_length, str window, float power, "
    "bool center, str pad_mode, bool drop_last, int n_mels, float f_min, float f_max, "
    "str mel_scale, str norm, str log, float eps"
)
LIBRARY.define(f"log_mel(Tensor waveform, {_OPTIONS}) -> Tensor", tags=TAGS)
LIBRARY.define(f"log_mel_backward(Tensor grad, Tensor waveform, {_OPTIONS}) -> Tensor", tags=TAGS)


def _frame_count(samples: int, options: tuple[Any, ...]) -> int:
    """Frames of `samples` samples; a ValueError where there is none. Works on symbolic sizes."""
    _, n_fft, _, hop_length, _, _, center, pad_mode, drop_last, *_ = options
    pad = n_fft // 2 if center else 0
    needed = max(pad + 1 if pad and pad_mode == "reflect" else 1, n_fft - 2 * pad)
    if drop_last:
        needed = max(needed, n_fft - 2 * pad + hop_length)
    if samples < needed:
        raise ValueError(f"waveform is {samples} samples long, expected at least {needed}")
    return (samples + 2 * pad - n_fft) // hop_length + (0 if drop_last else 1)


def _output_shape(waveform: Tensor, options: tuple[Any, ...]) -> tuple[int, ...]:
    """Shape of the log-mel spectrogram, after all checks; the same for real and fake tensors."""
    _C.log_mel_check_options(options)
    if waveform.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"waveform is {waveform.dtype}, expected torch.float32 or torch.float64")
    if waveform.dim() < 1:
        raise ValueError("waveform is 0-dimensional, expected shape (..., time)")
    n_mels = options[9]
    return (*waveform.shape[:-1], n_mels, _frame_count(waveform.shape[-1], options))


def _check_grad(grad: Tensor, waveform: Tensor, options: tuple[Any, ...]) -> None:
    shape = _output_shape(waveform, options)
    if tuple(grad.shape) != shape or grad.dtype != waveform.dtype:
        raise ValueError(
            f"grad is {grad.dtype} of shape {tuple(grad.shape)}, expected {waveform.dtype} of "
            f"shape {shape}"
        )


def _log_mel(waveform: Tensor, *options: Any) -> Tensor:
    out = waveform.new_empty(_output_shape(waveform, options))
    if out.numel():
        rows = waveform.reshape(-1, waveform.shape[-1]).contiguous()
        _C.log_mel(rows, out.view(-1, *out.shape[-2:]), options, torch.get_num_threads())
    return out


def _log_mel_fake(waveform: Tensor, *options: Any) -> Tensor:
    return waveform.new_empty(_output_shape(waveform, options))


def _log_mel_backward(grad: Tensor, waveform: Tensor, *options: Any) -> Tensor:
    _check_grad(grad, waveform, options)
    out = waveform.new_empty(waveform.shape)
    if out.numel():
        rows = waveform.reshape(-1, waveform.shape[-1]).contiguous()
        grad_rows = grad.reshape(-1, *grad.shape[-2:]).contiguous()
        _C.log_mel_backward(grad_rows, rows, out.view(rows.shape), options, torch.get_num_threads())
    return out


def _log_mel_backward_fake(grad: Tensor, waveform: Tensor, *options: Any) -> Tensor:
    _check_grad(grad, waveform, options)
    return waveform.new_empty(waveform.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.options = inputs[1:]


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (waveform,) = ctx.saved_tensors
    grad_waveform = torch.ops.avts.log_mel_backward(grad, waveform, *ctx.options)
    return (grad_waveform, *(None for _ in ctx.options))


def _setup_second_order(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    pass


def _second_order(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    raise NotImplementedError("log_mel_spectrogram has no second derivative")


LIBRARY.impl("log_mel", _log_mel, "CPU")
LIBRARY.impl("log_mel_backward", _log_mel_backward, "CPU")
torch.library.register_fake("avts::log_mel", _log_mel_fake, lib=LIBRARY)
torch.library.register_fake("avts::log_mel_backward", _log_mel_backward_fake, lib=LIBRARY)
torch.library.register_autograd(
    "avts::log_mel", _autograd, setup_context=_setup_context, lib=LIBRARY
)
torch.library.register_autograd(
    "avts::log_mel_backward", _second_order, setup_context=_setup_second_order, lib=LIBRARY
)


def log_mel_spectrogram(
    waveform: Tensor,
    *,
    sample_rate: float = 16000,
    n_fft: int = 512,
    win_length: int = 320,
    hop_length: int = 160,
    window: str = "hann",
    power: float = 2.0,
    center: bool = True,
    pad_mode: str = "reflect",
    drop_last: bool = True,
    n_mels: int = 40,
    f_min: float = 0.0,
    f_max: float | None = None,
    mel_scale: str = "htk",
    norm: str | None = None,
    log: str = "ln_add",
    eps: float = 1e-6,
) -> Tensor:
    """Log-mel spectrogram of waveforms; the defaults give (..., 40, 100) for 1 s at 16 kHz.

    Frame, window, Fourier transform, power, mel filters and logarithm are one pass: no spectrogram
    is stored. Differentiable once with respect to the waveform. An item's values are the same
    bits alone, in any batch and at any number of threads, and a NaN spoils only its own frames.

    Args:
        waveform: (..., time) float32 or float64, computed in that precision, or bfloat16 or
            float16, computed and returned in float32.
        sample_rate: Hz.
        n_fft: length of the Fourier transform in samples; any length, fastest if its only prime
            factors are 2, 3 and 5.
        win_length: length of the window in samples, at most ``n_fft``; it stands in the middle of
            the transform, as in :func:`torch.stft`.
        hop_length: samples from one frame to the next.
        window: "hann" or "hamming" (both periodic), or "rectangular".
        power: 2 for the power spectrum, 1 for its magnitude.
        center: pad ``n_fft // 2`` samples on both sides, so that frame t is centred on sample
            ``t * hop_length``.
        pad_mode: "reflect" or "constant" (zeros).
        drop_last: leave out the last frame, so that a whole number of hops gives that many frames.
        n_mels: number of triangular filters, at most ``n_fft // 2 + 1``. Filters too narrow to
            contain a frequency of the transform are zero.
        f_min: lower edge of the first filter, Hz.
        f_max: upper edge of the last filter, Hz; None: ``sample_rate / 2``.
        mel_scale: "htk" or "slaney".
        norm: "slaney" divides each filter by half its width in Hz; None leaves its peak at 1.
        log: "none", "ln_add": ln(x + eps), "ln_clamp": ln(max(x, eps)), or "log10_clamp":
            log10(max(x, eps)).
        eps: see ``log``.

    Returns:
        (..., n_mels, frames) with frames = 1 + (time + 2 * pad - n_fft) // hop_length, less one if
        ``drop_last``.

    Raises:
        ValueError: an option is out of its range, or the waveform is too short for one frame or
            for the reflection.
        TypeError: the waveform is not a floating-point tensor.
    """
    if waveform.dtype in (torch.bfloat16, torch.float16):
        waveform = waveform.float()
    return torch.ops.avts.log_mel(
        waveform,
        sample_rate,
        n_fft,
        win_length,
        hop_length,
        window,
        power,
        center,
        pad_mode,
        drop_last,
        n_mels,
        f_min,
        sample_rate / 2 if f_max is None else f_max,
        mel_scale,
        norm or "none",
        log,
        eps,
    )
