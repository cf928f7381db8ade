"""What a map must beat before it may be said to listen.

Two more controls need nothing but `locate`: the sound of another recording, and no sound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avts_ext.evaluation.inference import inference
from avts_ext.localization.readout import TRACK_SIGMA_S, blur, track
from avts_ext.models.avts import AVTS

__all__ = ["centre_maps", "motion", "motion_maps", "random_network"]


def random_network(model: AVTS, frames: Tensor | None, waveform: Tensor | None, seed: int) -> AVTS:
    """A network like ``model`` that has learned nothing.

    Its BatchNorm layers take their statistics from the given clips: with those it was built with,
    a random network would be worse than random, since its activations would have no fixed scale.

    Args:
        model: a `models.AVTS`; only its configuration and device are used.
        frames: (B, T, H, W, 3) uint8 clips; None leaves the video half as it was built.
        waveform: (B, S) float32 sounds; None leaves the audio half as it was built.
        seed: of the weights.

    Returns:
        A new model in evaluation mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = type(model)(model.config).to(next(model.parameters()).device)
    norms = [m for m in untrained.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with inference(untrained):
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        if frames is not None:
            untrained.embed_video(frames)
        if waveform is not None:
            untrained.embed_audio(waveform)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return untrained.eval()


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
