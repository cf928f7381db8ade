"""What a map must beat before it may be said to listen.

The others need nothing of their own: the sound of another recording, no sound, and a network that
has learned nothing (`avts_ext.evaluation.random_network`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avts_ext.localization.readout import TRACK_SIGMA_S, blur, track

__all__ = ["centre_maps", "motion", "motion_maps"]


def centre_maps(n_maps: int, size: tuple[int, int]) -> Tensor:
    """Maps (n_maps, H, W) float32 that always point at the centre, half as high H / 7 away."""
    height, width = size
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    squared = y[:, None] ** 2 + x[None, :] ** 2
    return torch.exp2(-squared / (height / 7) ** 2).expand(n_maps, -1, -1).clone()


def motion_maps(frames: Tensor, fps: float) -> Tensor:
    """Maps (F, H, W) float32 of how much changes: an answer that needs no network and no sound.

    Args:
        frames: (F, H, W, 3) uint8.
        fps: frames per second. Differences of neighbouring frames are tracked over time and blurred
            as the read-out does with its maps.
    """
    changes = motion(frames)
    return blur(track(changes, TRACK_SIGMA_S * fps), 2.0)


def motion(frames: Tensor) -> Tensor:
    """(F, H, W) float32: mean change of each pixel from the frame before and to the next one."""
    grey = frames.float().mean(3)
    steps = F.pad(grey.diff(dim=0).abs(), (0, 0, 0, 0, 1, 1))
    return (steps[1:] + steps[:-1]) / 2
