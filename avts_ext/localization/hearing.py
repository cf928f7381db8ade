"""The other direction: when, and in which mel bands, the picture of a recording is heard."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avts_ext.evaluation.inference import inference
from avts_ext.localization.cam import audio_cam
from avts_ext.localization.geometry import CellGrid, cell_grid, interpolation, spectrogram_grid
from avts_ext.localization.readout import contrast_embeddings, sound_windows
from avts_ext.models.avts import AVTS
from avts_ext.ops.log_mel_spec import LogMelSpec
from avts_ext.ops.reference.log_mel import mel_filterbank

__all__ = ["HeardMap", "hear"]


@dataclass(frozen=True)
class HeardMap:
    """How much each cell of a recording's log-mel spectrogram speaks for its picture.

    Attributes:
        map: (n_mels, N) float32, not negative, of any scale; lowest band first.
        log_mel: (n_mels, N) float32, the spectrogram itself.
        times_s: (N,) float64, middles of its frames, seconds after the first sample.
        bands_hz: (n_mels, 2) float64, where each filter reaches half its height.
    """

    map: Tensor
    log_mel: Tensor
    times_s: Tensor
    bands_hz: Tensor


def hear(
    model: AVTS,
    frames: Tensor,
    waveform: Tensor,
    *,
    contrast: bool = True,
    layer: str | None = None,
    batch_size: int = 32,
) -> HeardMap:
    """Where in a recording's sound its picture is heard.

    As `readout.locate`, with the towers exchanged: clips slide over the recording, from the picture
    of each is taken off that of the moments around, and all maps of one moment are averaged before
    what speaks against is cut off at zero.

    Args:
        model: a `models.AVTS`.
        frames: (F, H, W, 3) uint8 at the model's frame rate, at least one clip long.
        waveform: (S,) float32 from the time of the first frame on, at least as long.
        contrast: take off the picture of other moments.
        layer: name of the audio tower's submodule; None is conv5.
        batch_size: clips at a time; does not change the result.

    Raises:
        ValueError: no such layer.
    """
    clip, grid = model.config.clip, spectrogram_grid(model.audio, layer)
    step = int(cell_grid(model.video).stride[0])
    clips = frames.unfold(0, clip.n_frames, step).permute(0, 4, 1, 2, 3)
    sounds = sound_windows(waveform, clip, step, len(clips))
    with inference(model):
        log_mel = model.log_mel(waveform[None])[0]
        pictures = torch.cat([model.embed_video(part) for part in clips.split(batch_size)])
        if contrast:
            pictures = contrast_embeddings(pictures, step / float(clip.fps))
        parts = zip(sounds.split(batch_size), pictures.split(batch_size), strict=True)
        maps = torch.cat([audio_cam(model, *part, layer=layer, signed=True) for part in parts])
    spec = model.log_mel.spec
    hop_s = spec.hop_length / clip.sample_rate
    cells = _on_frames(maps, len(log_mel), spec.frames(clip.n_samples), grid)
    starts = [round(window * step / float(clip.fps) / hop_s) for window in range(len(cells))]
    first_s = (spec.n_fft / 2 - spec.padding) / clip.sample_rate
    times_s = first_s + torch.arange(log_mel.shape[1], dtype=torch.float64) * hop_s
    return HeardMap(
        _mean_of_overlaps(cells, starts, log_mel.shape[1]).relu(), log_mel, times_s, _bands(spec)
    )


def _bands(spec: LogMelSpec) -> Tensor:
    """(n_mels, 2) the lower and upper end of each filter at half its height, in Hz."""
    filters = mel_filterbank(spec)
    bins_hz = torch.linspace(0, spec.sample_rate / 2, filters.shape[1], dtype=torch.float64)
    half = filters >= filters.amax(1, keepdim=True) / 2
    low = torch.where(half, bins_hz, torch.inf).amin(1)
    high = torch.where(half, bins_hz, -torch.inf).amax(1)
    return torch.stack([low, high], 1)


def _on_frames(maps: Tensor, n_mels: int, n_frames: int, grid: CellGrid) -> Tensor:
    """Maps (W, m', t') of cells at every band and frame of a clip, (W, n_mels, n_frames)."""
    bands = interpolation(n_mels, maps.shape[1], grid.stride[0], grid.first[0]).to(maps)
    frames = interpolation(n_frames, maps.shape[2], grid.stride[1], grid.first[1]).to(maps)
    return bands @ maps @ frames.T


def _mean_of_overlaps(parts: Tensor, starts: list[int], n_frames: int) -> Tensor:
    """Mean (n_mels, n_frames) of parts (W, n_mels, n) laid down from their first frames on."""
    total, count = torch.zeros(parts.shape[1], n_frames), torch.zeros(n_frames)
    for part, first in zip(parts, starts, strict=True):
        length = min(parts.shape[2], n_frames - first)
        total[:, first : first + length] += part[:, :length]
        count[first : first + length] += 1
    return total / count.clamp(min=1)
