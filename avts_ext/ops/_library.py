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


def _dispatch_keys(tensor: Tensor) -> int:
    keys = torch._C._dispatch_keys(tensor) | torch._C._dispatch_tls_local_include_set()
    return int(keys.raw_repr())


def _keys_of_plain_tensors() -> frozenset[int]:
    usual = _dispatch_keys(torch.empty(0, device="cpu"))
    with torch.inference_mode():
        return frozenset((usual, _dispatch_keys(torch.empty(0, device="cpu"))))


_PLAIN = _keys_of_plain_tensors()


def needs_no_dispatch(tensor: Tensor) -> bool:
    """Whether an operator on `tensor` that needs no gradient is just a call of its CPU kernel.

    Then the kernel may be called as the Python function that it is. The dispatcher takes 5 us to
    find it, and more than 100 us where what ran before has driven its code out of the caches. No
    subclass, transform, mode, trace or profiler, nor another device, may have a say.
    """
    return (
        _dispatch_keys(tensor) in _PLAIN
        and not torch.overrides.has_torch_function_unary(tensor)
        and not torch.autograd._profiler_enabled()
    )
