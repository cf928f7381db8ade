"""Plots as files, for papers and pages: .svg, .png or .pdf."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avts_ext.evaluation.sync_sets import OffsetBin

__all__ = ["Curve", "check_plot_path", "write_curves", "write_offset_plot"]

SUFFIXES = (".svg", ".png", ".pdf")
_RC: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "avts_ext",  # the same figures give the same file
}
_MARKERS = "osD^vP"


@dataclass(frozen=True)
class Curve:
    """A measure at several places.

    Attributes:
        name: for the legend.
        x: places, increasing.
        values: at each place, in [0, 1].
        below, above: lengths of the error bars, at least 0.
    """

    name: str
    x: Sequence[float]
    values: Sequence[float]
    below: Sequence[float]
    above: Sequence[float]


def check_plot_path(path: str | os.PathLike[str]) -> Path:
    """The path, if a plot can be written there.

    Raises:
        ValueError: another suffix than `SUFFIXES`.
        FileNotFoundError: its folder is not there.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"plot must end in one of {', '.join(SUFFIXES)}, got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"plot: the folder {str(path.parent)!r} is not there")
    return path


def write_curves(
    curves: Sequence[Curve],
    path: str | os.PathLike[str],
    *,
    x_label: str,
    y_label: str,
    chance: float | None = None,
) -> None:
    """Draw measures against a common axis, with error bars.

    Raises:
        ValueError: no curve, or another suffix than `SUFFIXES`.
        OSError: the file cannot be written.
    """
    path = check_plot_path(path)
    if not curves:
        raise ValueError("curves: got none, expected at least one")
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for curve, marker in zip(curves, _cycled(len(curves)), strict=True):
            _draw(axes, curve, marker)
        if chance is not None:
            axes.axhline(chance, color="0.4", linestyle=":", label="chance")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def write_offset_plot(bins: Sequence[OffsetBin], path: str | os.PathLike[str]) -> None:
    """Draw the accuracy of sync questions by offset, with 95 % intervals; arguments as above."""
    curve = Curve(
        "accuracy, 95 % interval",
        [(one.from_s + one.to_s) / 2 for one in bins],
        [one.accuracy for one in bins],
        [one.accuracy - one.interval[0] for one in bins],
        [one.interval[1] - one.accuracy for one in bins],
    )
    label = "offset of the wrong sound (s)"
    write_curves([curve], path, x_label=label, y_label="accuracy", chance=0.5)


def _draw(axes: Axes, curve: Curve, marker: str) -> None:
    errors = np.array([curve.below, curve.above])
    axes.errorbar(
        curve.x, curve.values, errors, marker=marker, markersize=5, capsize=3, label=curve.name
    )


def _cycled(n: int) -> list[str]:
    return [_MARKERS[k % len(_MARKERS)] for k in range(n)]
