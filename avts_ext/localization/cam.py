"""Grad-CAM of the agreement between picture and sound, in both directions.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks", ICCV 2017. Three
things differ. The score explained is the dot product of one tower's embedding *before* its final
normalisation with the other's: through the normalisation only the part of the gradient at right
angles to the embedding is left, and it vanishes where the two agree. Weights are taken per time
step: an embedding that keeps time holds steps that mean different things. And negative sums may be
kept: then maps are linear in the other embedding, so that the map of a difference of two sounds is
the difference of their maps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avts_ext.localization.hooks import OutputHook
from avts_ext.models.avts import AVTS

__all__ = ["audio_cam", "grad_cam"]


def grad_cam(
    model: AVTS, frames: Tensor, audio: Tensor, *, layer: str | None = None, signed: bool = False
) -> Tensor:
    """Where in space and time the picture speaks for a sound.

    Args:
        model: in evaluation mode; its parameters get no gradient.
        frames: (B, T, H, W, 3) uint8 clips.
        audio: (B, D) embeddings of sound, such as ``model.embed_audio(waveform)``, or differences
            of such; (B, N, D) for N sounds each, which costs one pass backwards each.
        layer: name of a submodule of ``model.video``; None is its last convolution's output.
        signed: keep negative sums instead of putting 0.

    Returns:
        (B, T', h, w), or (B, N, T', h, w): at every cell of the layer, its channels weighted by
        their mean gradient over the picture at that time step, summed. `geometry.cell_grid` tells
        where the cells are.

    Raises:
        ValueError: shapes do not fit.
        AttributeError: no such layer.
    """
    if frames.ndim != 5:
        raise ValueError(f"frames: got shape {tuple(frames.shape)}, expected (B, T, H, W, 3)")
    pixels = model.video_input(frames)
    return _cam(
        model.video,
        layer,
        lambda: model.project_video(model.video_features(pixels)),
        audio,
        axes=(3, 4),
        signed=signed,
    )


def audio_cam(
    model: AVTS, waveform: Tensor, video: Tensor, *, layer: str | None = None, signed: bool = False
) -> Tensor:
    """The other direction: when, and in which mel bands, a sound speaks for a picture.

    Args:
        model: in evaluation mode.
        waveform: (B, S) float32 clips.
        video: (B, D) or (B, N, D) embeddings of pictures, or differences of such.
        layer: name of a submodule of ``model.audio``; None is conv5.
        signed: keep negative sums instead of putting 0.

    Returns:
        (B, m', t'), or (B, N, m', t'): cells over mel bands, lowest first, and time. Weights are
        the mean gradient over bands, per time step.

    Raises:
        ValueError: shapes do not fit.
        AttributeError: no such layer.
    """
    log_mel = model.audio_input(waveform)
    return _cam(
        model.audio,
        layer,
        lambda: model.project_audio(model.audio_features(log_mel)),
        video,
        axes=(2,),
        signed=signed,
    )


def _cam(
    tower: nn.Module,
    layer: str | None,
    embed: Callable[[], Tensor],
    other: Tensor,
    *,
    axes: tuple[int, ...],
    signed: bool,
) -> Tensor:
    """Maps of the tower's layer for embeddings ``other`` of the other tower."""
    module = tower if layer is None else tower.get_submodule(layer)
    with torch.no_grad(), OutputHook(module, _begin_gradient) as kept:
        own = embed()
        wanted = other if other.ndim == 3 else other[:, None]
        if wanted.ndim != 3 or (len(wanted), wanted.shape[2]) != tuple(own.shape):
            raise ValueError(
                f"embeddings: got shape {tuple(other.shape)}, expected {tuple(own.shape)} or one "
                "more axis in the middle"
            )
        scores = (own[:, None] * wanted.detach()).sum((0, 2))
        features = kept.value
        gradients = [
            torch.autograd.grad(score, features, retain_graph=True)[0].mean(axes, keepdim=True)
            for score in scores
        ]
    maps = torch.stack([(weights * features.detach()).sum(1) for weights in gradients], 1)
    maps = maps if signed else maps.relu()
    return maps if other.ndim == 3 else maps[:, 0]


def _begin_gradient(output: Tensor) -> Tensor:
    """The leaf that gradients are taken of; what comes before it needs none and records none."""
    torch.set_grad_enabled(True)  # until the end of the surrounding `no_grad`
    return output.detach().requires_grad_()
