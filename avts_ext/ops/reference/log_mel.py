"""Log-mel spectrogram in plain PyTorch, in the waveform's own precision and differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def _mel_of_hz(hz: float, mel_scale: str) -> float:
    if mel_scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _hz_of_mel(mel: float, mel_scale: str) -> float:
    if mel_scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def mel_filterbank(
    sample_rate: float,
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    mel_scale: str,
    norm: str | None,
) -> Tensor:
    """Triangular filters, (n_mels, n_fft // 2 + 1) float64."""
    low, high = _mel_of_hz(f_min, mel_scale), _mel_of_hz(f_max, mel_scale)
    edges = torch.tensor(
        [_hz_of_mel(low + (high - low) * i / (n_mels + 1), mel_scale) for i in range(n_mels + 2)],
        dtype=torch.float64,
    )
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = torch.minimum((bins - left) / (peak - left), (right - bins) / (right - peak))
    filters = filters.clamp(min=0)
    return filters * 2 / (right - left) if norm == "slaney" else filters


def _window(window: str, win_length: int) -> Tensor:
    if window == "hann":
        return torch.hann_window(win_length, periodic=True, dtype=torch.float64)
    if window == "hamming":
        return torch.hamming_window(win_length, periodic=True, dtype=torch.float64)
    return torch.ones(win_length, dtype=torch.float64)


def log_mel_spectrogram(
    waveform: Tensor,
    *,
    sample_rate: float = 16000,
    n_fft: int = 512,
    win_length: int = 320,
    hop_length: int = 160,
    window: str = "hann",
    power: float = 2,
    center: bool = True,
    pad_mode: str = "reflect",
    drop_last: bool = True,
    n_mels: int = 40,
    f_min: float = 0,
    f_max: float | None = None,
    mel_scale: str = "htk",
    norm: str | None = None,
    log: str = "ln_add",
    eps: float = 1e-6,
) -> Tensor:
    """What :func:`avts_ext.ops.log_mel_spectrogram` computes, step by step."""
    x = waveform.reshape(-1, waveform.shape[-1])
    if center and n_fft > 1:
        x = F.pad(x[:, None], (n_fft // 2, n_fft // 2), mode=pad_mode)[:, 0]
    before = (n_fft - win_length) // 2
    weights = F.pad(_window(window, win_length), (before, n_fft - win_length - before)).to(waveform)
    frames = x.unfold(-1, n_fft, hop_length) * weights
    if drop_last:
        frames = frames[:, :-1]
    spectrum = torch.fft.rfft(frames)
    magnitude = spectrum.abs() if power == 1 else spectrum.real**2 + spectrum.imag**2
    f_max = sample_rate / 2 if f_max is None else f_max
    filters = mel_filterbank(sample_rate, n_fft, n_mels, f_min, f_max, mel_scale, norm).to(waveform)
    mel = filters @ magnitude.transpose(-1, -2)
    if log == "ln_add":
        mel = (mel + eps).log()
    elif log == "ln_clamp":
        mel = mel.clamp(min=eps).log()
    elif log == "log10_clamp":
        mel = mel.clamp(min=eps).log10()
    return mel.reshape(*waveform.shape[:-1], *mel.shape[-2:])
