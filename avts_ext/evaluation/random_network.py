"""The baseline of every score: a network that has learned nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avts_ext.evaluation.inference import inference
from avts_ext.models.avts import AVTS

__all__ = ["random_network"]


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
