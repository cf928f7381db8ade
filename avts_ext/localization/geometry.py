"""Which pixel a cell of a feature map looks at, and maps drawn at the size of the picture.

A convolution with kernel k, stride s and padding p puts the centre of its cell i at input position
``s * i + (k - 1) / 2 - p``. Chained over layers this gives every cell's centre exactly. Resizing a
map as an image instead would take cell i of n to be centred at ``(i + 0.5) * size / n - 0.5``,
which for towers padded by half is wrong by half a cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["CellGrid", "cell_grid", "interpolation", "spectrogram_grid", "upsample"]

_LAYERS = {2: (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d), 3: (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)}


@dataclass(frozen=True)
class CellGrid:
    """Cell i along an axis is centred at ``first + i * stride`` of the input.

    Attributes:
        stride: by axis: of pictures (time, y, x), of spectrograms (band, time).
        first: centre of cell 0, likewise.
    """

    stride: tuple[float, ...]
    first: tuple[float, ...]


def cell_grid(tower: nn.Module, last: str | None = None) -> CellGrid:
    """Grid of a video tower's output, or of its submodule ``last``'s output.

    Args:
        tower: its 3D convolutions and poolings are taken in the order they are registered.
            Shortcuts named ``downsample`` run beside the chain and are left out.
        last: name of the submodule whose output is meant; None is the whole tower.

    Raises:
        ValueError: no such submodule, or no 3D layer in it.
    """
    return _grid(tower, last, 3)


def spectrogram_grid(tower: nn.Module, last: str | None = None) -> CellGrid:
    """Grid, over mel bands and frames, of an audio tower's output; see `cell_grid`."""
    return _grid(tower, last, 2)


def upsample(maps: Tensor, grid: CellGrid, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of cell values at every pixel; beyond the outer cells they continue.

    Args:
        maps: (..., h, w) floating point.
        grid: of the map.
        size: (H, W) of the picture in pixels.

    Returns:
        (..., H, W).
    """
    rows = interpolation(size[0], maps.shape[-2], grid.stride[1], grid.first[1]).to(maps)
    columns = interpolation(size[1], maps.shape[-1], grid.stride[2], grid.first[2]).to(maps)
    return rows @ maps @ columns.T


def interpolation(n_pixels: int, n_cells: int, stride: float, first: float) -> Tensor:
    """(n_pixels, n_cells) float64 weights of cells for the pixels of one axis; rows sum to 1."""
    pixels = torch.arange(n_pixels, dtype=torch.float64)
    position = ((pixels - first) / stride).clamp(0, n_cells - 1)
    cells = torch.arange(n_cells, dtype=torch.float64)
    return (1 - (position[:, None] - cells).abs()).clamp(min=0)


def _grid(tower: nn.Module, last: str | None, n_axes: int) -> CellGrid:
    layers = [layer for layer in _chain(tower, last) if isinstance(layer, _LAYERS[n_axes])]
    if not layers:
        raise ValueError(f"tower: {type(tower).__name__} has no {n_axes}D layer up to {last!r}")
    strides, firsts = zip(*(_axis_grid(layers, axis) for axis in range(n_axes)), strict=True)
    return CellGrid(strides, firsts)


def _chain(tower: nn.Module, last: str | None) -> Iterable[nn.Module]:
    named = [(name, module) for name, module in tower.named_modules() if "downsample" not in name]
    if last is not None:
        inside = [n for n, (name, _) in enumerate(named) if f"{name}.".startswith(f"{last}.")]
        if not inside:
            raise ValueError(f"last: got {last!r}, expected the name of a submodule of the tower")
        named = named[: inside[-1] + 1]
    return (module for _, module in named)


def _axis_grid(layers: Iterable[nn.Module], axis: int) -> tuple[float, float]:
    stride, first = 1.0, 0.0
    for layer in layers:
        kernel, step, padding = (
            _at(getattr(layer, name), axis) for name in ("kernel_size", "stride", "padding")
        )
        dilation = _at(getattr(layer, "dilation", 1), axis)
        first += stride * (dilation * (kernel - 1) / 2 - padding)
        stride *= step
    return stride, first


def _at(value: int | tuple[int, ...], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]
