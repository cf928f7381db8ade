"""Grad-CAM of the agreement between picture and sound.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks", ICCV 2017. Two things
differ. The score explained is the dot product of the video embedding *before* its final
normalisation with the audio embedding: through the normalisation only the part of the gradient at
right angles to the embedding is left, and it vanishes where the two agree. And weights are taken
per time step: an embedding that keeps time holds steps that mean different things.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["grad_cam"]


def grad_cam(features: Tensor, project: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
    """Maps of where the video features speak for the sound.

    Args:
        features: (B, C, T, h, w) feature maps.
        project: maps features to embeddings (B, D) before the final normalisation, each item by
            itself (a model in evaluation mode).
        audio: (B, D) embeddings of the sound, taken as constants.

    Returns:
        (B, T, h, w), not negative: at every cell the channels, weighted by their mean gradient
        over the picture at that time step, summed; negative sums are 0.

    Raises:
        ValueError: shapes do not fit.
    """
    if features.ndim != 5:
        raise ValueError(f"features: got shape {tuple(features.shape)}, expected (B, C, T, h, w)")
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        video = project(features)
        if video.shape != audio.shape:
            raise ValueError(
                f"audio: got shape {tuple(audio.shape)}, expected {tuple(video.shape)}, that of "
                "the projected features"
            )
        (gradient,) = torch.autograd.grad((video * audio.detach()).sum(), features)
    weights = gradient.mean((3, 4), keepdim=True)
    return (weights * features.detach()).sum(1).relu()
