"""Plots of the report as SVG to be put into an HTML page.

Text stays text, and colours are left to the page's style sheet, so that a plot follows its light
and dark scheme. Series differ by marker and line style as well as by colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avts_ext.demo.protocols import in_plain_words
from avts_ext.evaluation.report import Result

__all__ = ["Series", "comparison_svg", "curve_svg"]

# Colours that Matplotlib writes, and what of the page they stand for. Each must be one that
# Matplotlib uses for nothing else.
_PAGE_COLOURS = {
    "#010203": "currentColor",
    "#010204": "var(--muted)",
    "#010205": "var(--grid)",
    "#010206": "var(--ground)",
    "#010207": "var(--series-0)",
    "#010208": "var(--series-1)",
    "#010209": "var(--series-2)",
}
_TEXT, _MUTED, _GRID, _GROUND, *_SERIES = _PAGE_COLOURS
_MARKERS = "osD"
_LINES = ("-", "--", "-.")
_CONTROL_MARKERS = "^vDPX*<>"

# A phone shows a plot at about its own size, in CSS pixels; a wider page enlarges it.
_WIDTH_PX = 340
_FONT_PX = 11
_LONGEST_LABEL = 48
_LEGEND: dict[str, Any] = {"loc": "lower left", "borderpad": 0, "borderaxespad": 0.1}
_RC: Any = {
    "svg.fonttype": "none",
    "font.size": _FONT_PX,
    "axes.edgecolor": _MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": _TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": _TEXT,
    "text.color": _TEXT,
    "text.parse_math": False,  # names are no formulas, whatever dollar signs they hold
    "xtick.color": _MUTED,
    "xtick.labelcolor": _TEXT,
    "ytick.color": _MUTED,
    "ytick.labelcolor": _TEXT,
}


@dataclass(frozen=True)
class Series:
    """A measure with its 95 % interval at several places.

    Attributes:
        name: for the legend.
        x: places, increasing.
        values, lows, highs: one for each place.
        chance: what guessing gives, if known: a dotted line.
    """

    name: str
    x: Sequence[float]
    values: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    chance: float | None = None


def curve_svg(series: Sequence[Series], x_label: str, name: str) -> str:
    """At most three measures in [0, 1] against a common axis.

    Args:
        series: the measures.
        x_label: of the common axis.
        name: makes the identifiers of this plot different from those of others in the page.
    """
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}):
        figure = _figure(250)
        axes = figure.add_axes((0.1, 0.3, 0.88, 0.68))
        for one, colour, marker, line in zip(series, _SERIES, _MARKERS, _LINES, strict=False):
            _draw_series(axes, one, colour, marker, line)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel(x_label)
        axes.grid(axis="y")
        axes.locator_params(axis="x", integer=True)
        figure.legend(**_LEGEND, handlelength=3)
        return _inline(figure, name)


def comparison_svg(results: Sequence[Result], name: str) -> str:
    """Rates in [0, 1], one line each, beside chance, random network and controls.

    Args:
        results: at least one.
        name: makes the identifiers of this plot different from those of others in the page.
    """
    controls = list(dict.fromkeys(c for result in results for c in result.controls))
    markers = {c: _CONTROL_MARKERS[i % len(_CONTROL_MARKERS)] for i, c in enumerate(controls)}
    row_px, axis_px, legend_px = 42, 26, 17 * -(-(3 + len(controls)) // 2)
    height_px = row_px * len(results) + axis_px + legend_px
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}):
        figure = _figure(height_px)
        bottom = (axis_px + legend_px) / height_px
        axes = figure.add_axes((0.03, bottom, 0.94, 1 - bottom))
        for row, result in enumerate(results):
            _draw_result(axes, -row, result, markers)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0.45 - len(results), 0.72)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        order = ["measured", "chance", "random network", *controls]
        named = [name for name in order if name in unique]
        figure.legend([unique[name] for name in named], named, **_LEGEND, ncols=2)
        return _inline(figure, name)


def _figure(height_px: float) -> Figure:
    # SVG counts in points, 72 an inch: one point here is one CSS pixel of the page.
    return Figure(figsize=(_WIDTH_PX / 72, height_px / 72), dpi=72)


def _draw_series(axes: Axes, one: Series, colour: str, marker: str, line: str) -> None:
    if one.chance is not None:
        axes.axhline(one.chance, color=colour, linestyle=":", linewidth=1.2)
        axes.text(max(one.x), one.chance, "chance", ha="right", va="bottom", color=colour)
    axes.fill_between(one.x, one.lows, one.highs, color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        one.x,
        one.values,
        color=colour,
        linestyle=line,
        marker=marker,
        markerfacecolor=_GROUND,
        markersize=6,
        linewidth=1.8,
        label=one.name,
    )


def _draw_result(axes: Axes, y: float, result: Result, markers: dict[str, str]) -> None:
    style: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none", "markersize": 7}
    label = shorten(in_plain_words(result.protocol).full_name, _LONGEST_LABEL, placeholder=" …")
    axes.text(0, y + 0.36, label, va="center")
    axes.axhline(y, color=_GRID, linewidth=0.8)
    if result.interval is not None:
        axes.plot(result.interval, (y, y), color=_SERIES[0], linewidth=3.5, alpha=0.4)
    for control, figure in result.controls.items():
        axes.plot(figure, y, markers[control], color=_SERIES[1], label=control, **style)
    if result.baseline is not None:
        axes.plot(result.baseline, y, "s", color=_MUTED, label="random network", **style)
    if result.chance is not None:
        tick = {**style, "markersize": 13, "markeredgewidth": 2}
        axes.plot(result.chance, y, "|", color=_TEXT, label="chance", **tick)
    axes.plot(
        result.value, y, "o", color=_SERIES[0], markersize=8, linestyle="none", label="measured"
    )


def _inline(figure: Figure, name: str) -> str:
    """The figure as an element <svg> that belongs in a page: no prologue, no foreign names."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for drawn, meant in _PAGE_COLOURS.items():
        svg = svg.replace(drawn, meant)
    return svg.strip()
