"""The one ``torch.library.Library`` that all operators register themselves in.

Each operator module defines its schema, then its kernel per device, its fake kernel and its
autograd formula. Registering from Python keeps the compiled kernels free of PyTorch, and
``Library`` costs a third of ``torch.library.custom_op`` per call.
"""

from typing import Any

import torch
from torch import Tensor

LIBRARY = torch.library.Library("avts", "DEF")
TAGS = (torch.Tag.pt2_compliant_tag,)


def batch_first(size: int, dims: tuple[Any, ...], values: tuple[Any, ...]) -> list[Any]:
    """The tensors among an operator's arguments, all with the mapped dimension first."""

    def moved(dim: int | None, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)

    return [moved(*pair) for pair in zip(dims, values, strict=True)]
