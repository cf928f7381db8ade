"""Random flips and gains, each a function of (seed, epoch, medium)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avts_ext.data import Batch
from avts_ext.data.draws import hash64
from avts_ext.training.config import DataConfig

_FLIP, _GAIN = 101, 102  # keep these draws apart from others made from the same seed and epoch


def augment(batch: Batch, config: DataConfig, *, seed: int, epoch: int) -> Batch:
    """Mirror some clips and vary the level of every stretch of sound. Works on the CPU, in place.

    Raises:
        ValueError: the batch is on another device.
    """
    if batch.frames.device.type != "cpu":
        raise ValueError(f"batch must be on the CPU, got {batch.frames.device}")
    if config.flip:
        chosen = random_flips(batch.video_ids, seed=seed, epoch=epoch)
        for row in chosen.nonzero()[:, 0].tolist():  # by a mask it takes several times as long
            batch.frames[row] = batch.frames[row].flip(2)
    is_extra = torch.arange(len(batch.audio_ids)) >= len(batch.video_ids)
    gains = random_gains(
        batch.audio_ids, is_extra, std_db=config.gain_std_db, seed=seed, epoch=epoch
    )
    batch.waveforms.mul_(gains[:, None])
    return batch


def random_flips(media_ids: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Whether to mirror each clip: (B,) bool on the CPU from ids (B,) int64."""
    draws = hash64(_FLIP, seed, epoch, media_ids.cpu().numpy())
    return torch.from_numpy((draws >> np.uint64(63)).astype(bool))


def random_gains(
    media_ids: Tensor, is_extra: Tensor, *, std_db: float, seed: int, epoch: int
) -> Tensor:
    """Factors (B,) float32 on the CPU whose decibels are normal with `std_db`.

    Args:
        media_ids: (B,) int64.
        is_extra: (B,) bool, true for a second stretch of sound of the same medium: it gets a gain
            of its own.
        std_db: standard deviation in dB.
        seed: of the run.
        epoch: of the batch.
    """
    ids, extra = media_ids.cpu().numpy(), is_extra.cpu().numpy().astype(np.int64)
    uniform = [
        ((hash64(_GAIN, seed, epoch, ids, extra, part) >> np.uint64(11)) + np.uint64(1)) / 2.0**53
        for part in (0, 1)
    ]
    normal = np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1])  # Box and Muller
    return torch.from_numpy(10 ** (std_db * normal / 20)).float()
