"""Running a network without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["apply_in_batches", "inference"]


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module's mode is what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def apply_in_batches(
    function: Callable[[Tensor], Tensor], items: Tensor, batch_size: int
) -> Tensor:
    """``function`` over ``items`` (N, ...), ``batch_size`` at a time, results joined on axis 0.

    Raises:
        ValueError: no item, or a batch size below 1.
    """
    if len(items) == 0:
        raise ValueError("items: got none, expected at least one")
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
    return torch.cat([function(batch) for batch in items.split(batch_size)])
