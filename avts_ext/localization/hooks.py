"""Looking into a network while it runs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["OutputHook"]


class OutputHook:
    """Context in which a module's output is replaced, and kept.

    Attributes:
        value: what the module's last output was replaced by.

    Args:
        module: the module; None does nothing.
        replacement: of an output. Later layers get a copy, because they may work in place.
    """

    value: Tensor

    def __init__(
        self, module: nn.Module | None, replacement: Callable[[Tensor], Tensor] = Tensor.clone
    ) -> None:
        self._module, self._replacement = module, replacement

    def __enter__(self) -> OutputHook:
        if self._module is not None:
            self._handle = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        if self._module is not None:
            self._handle.remove()

    def _keep(self, _module: nn.Module, _args: object, output: Tensor) -> Tensor:
        self.value = self._replacement(output)
        return self.value.clone()
