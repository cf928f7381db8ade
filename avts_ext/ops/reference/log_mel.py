"""Log-mel spectrogram in plain PyTorch, in the waveform's own precision and differentiable."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avts_ext._extension import _C
from avts_ext.ops.log_mel_spec import LogMelSpec


def _mel_of_hz(hz: float, mel_scale: str) -> float:
    if mel_scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _hz_of_mel(mel: float, mel_scale: str) -> float:
    if mel_scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def mel_filterbank(spec: LogMelSpec) -> Tensor:
    """Triangular filters, (n_mels, n_fft // 2 + 1) float64."""
    f_max = spec.sample_rate / 2 if spec.f_max is None else spec.f_max
    low, high = _mel_of_hz(spec.f_min, spec.mel_scale), _mel_of_hz(f_max, spec.mel_scale)
    mels = [low + (high - low) * i / (spec.n_mels + 1) for i in range(spec.n_mels + 2)]
    edges_hz = torch.tensor([_hz_of_mel(m, spec.mel_scale) for m in mels], dtype=torch.float64)
    bins_hz = [k * spec.sample_rate / spec.n_fft for k in range(spec.n_fft // 2 + 1)]
    if spec.mel_slopes == "mel":
        edges = torch.tensor(mels, dtype=torch.float64)
        bins = torch.tensor([_mel_of_hz(f, spec.mel_scale) for f in bins_hz], dtype=torch.float64)
    else:
        edges, bins = edges_hz, torch.tensor(bins_hz, dtype=torch.float64)
    left, peak, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = torch.minimum((bins - left) / (peak - left), (right - bins) / (right - peak))
    filters = filters.clamp(min=0)
    widths_hz = (edges_hz[2:] - edges_hz[:-2])[:, None]
    return filters * 2 / widths_hz if spec.norm == "slaney" else filters


def _window(spec: LogMelSpec) -> Tensor:
    if not isinstance(spec.window, str):
        return torch.tensor(spec.window, dtype=torch.float64)
    if spec.window == "rectangular":
        return torch.ones(spec.win_length, dtype=torch.float64)
    if spec.window == "hamming":
        return torch.hamming_window(spec.win_length, periodic=spec.periodic, dtype=torch.float64)
    hann = torch.hann_window(spec.win_length, periodic=spec.periodic, dtype=torch.float64)
    return hann**0.85 if spec.window == "povey" else hann


def dither_noise(seed: int, samples: int) -> Tensor:
    """Standard normal numbers, (samples,) float64: Philox4x32-10, then Box and Muller."""
    noise: list[float] = []
    for counter in range((samples + 3) // 4):
        words = _C.philox([counter & 0xFFFFFFFF, counter >> 32, 0, 0], seed)
        for first, second in (words[:2], words[2:]):
            radius = math.sqrt(-2 * math.log((first + 0.5) / 2**32))
            angle = 2 * math.pi * second / 2**32
            noise += [radius * math.cos(angle), radius * math.sin(angle)]
    return torch.tensor(noise[:samples], dtype=torch.float64)


def _frames(x: Tensor, spec: LogMelSpec) -> Tensor:
    """Windowed frames of (items, time), each `n_fft` long."""
    if spec.dither:
        x = x + spec.dither * dither_noise(spec.dither_seed, x.shape[-1]).to(x)
    if spec.padding:
        x = F.pad(x[:, None], (spec.padding, spec.padding), mode=spec.pad_mode)[:, 0]
    span = spec.n_fft if spec.frame_span == "n_fft" else spec.win_length
    before = (span - spec.win_length) // 2
    frames = x.unfold(-1, span, spec.hop_length)
    if spec.drop_last:
        frames = frames[:, :-1]
    seen = frames[..., before : before + spec.win_length]
    if spec.remove_dc:
        seen = seen - seen.mean(-1, keepdim=True)
    previous = torch.cat([seen[..., :1], seen[..., :-1]], dim=-1)
    windowed = (seen - spec.preemphasis * previous) * _window(spec).to(x)
    return F.pad(windowed, (before, spec.n_fft - spec.win_length - before))


def _logarithm(mel: Tensor, spec: LogMelSpec) -> Tensor:
    if spec.log == "ln_add":
        return (mel + spec.eps).log()
    if spec.log == "ln_clamp":
        return mel.clamp(min=spec.eps).log()
    if spec.log == "log10_clamp":
        return mel.clamp(min=spec.eps).log10()
    if spec.log == "db":
        return 10 * mel.clamp(min=spec.eps).log10()
    return mel


def _pcen(mel: Tensor, spec: LogMelSpec) -> Tensor:
    """(n_mels, frames) energies, frame by frame."""
    pcen = spec.pcen
    assert pcen is not None
    frames = pcen.time_constant_s * spec.sample_rate / spec.hop_length
    smoothing = (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    mean, values = torch.ones_like(mel[:, 0]), []
    for energy in mel.unbind(1):
        mean = (1 - smoothing) * mean + smoothing * energy
        scaled = energy / (pcen.eps + mean) ** pcen.gain
        values.append((scaled + pcen.bias) ** pcen.power - pcen.bias**pcen.power)
    return torch.stack(values, dim=1)


def _item(x: Tensor, spec: LogMelSpec) -> Tensor:
    """(time) -> (n_mels, frames)."""
    spectrum = torch.fft.rfft(_frames(x[None], spec))[0]
    squares = spectrum.real**2 + spectrum.imag**2
    power = squares if spec.power == 2 else squares ** (spec.power / 2)
    values = _logarithm(mel_filterbank(spec).to(x) @ power.transpose(-1, -2), spec)
    if spec.pcen is not None:
        values = _pcen(values, spec)
    if spec.top_db is not None:
        units = {"db": 1, "log10_clamp": 0.1}.get(spec.log, math.log(10) / 10)
        values = torch.maximum(values, values.max() - spec.top_db * units)
    values = (values - spec.mean) / spec.std
    return values.transpose(-1, -2) if spec.layout == "time_mel" else values


def log_mel_spectrogram(
    waveform: Tensor,
    *,
    starts: Tensor | None = None,
    lengths: Tensor | None = None,
    clip_length: int | None = None,
    **options: Any,
) -> Tensor:
    """What :func:`avts_ext.ops.log_mel_spectrogram` computes, item by item and step by step.

    `waveform` is float32 or float64, and so is the result.
    """
    spec = LogMelSpec(**options)
    rows = waveform.reshape(-1, waveform.shape[-1])
    samples = rows.shape[-1] if clip_length is None else clip_length
    time_dim = 0 if spec.layout == "time_mel" else 1
    results = []
    for i, row in enumerate(rows):
        start = 0 if starts is None else int(starts.reshape(-1)[i])
        length = samples if lengths is None else int(lengths.reshape(-1)[i])
        values = _item(row[start : start + length], spec)
        missing = spec.frames(samples) - values.shape[time_dim]
        results.append(F.pad(values, (0, 0, 0, missing) if time_dim == 0 else (0, missing)))
    return torch.stack(results).reshape(*waveform.shape[:-1], *results[0].shape)
