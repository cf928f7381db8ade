"""The report as a picture: distance over offset, and offset over time."""

from __future__ import annotations

import io
import os
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avts_ext._files import write_atomically
from avts_ext.sync_report.report import CONVENTION, IN_SYNC_S, LEAST_CONFIDENCE, SyncReport

__all__ = ["save_plot"]

_LINE = "#0060a0"
_LEAST_ROOM_S = 0.15
_TITLE_WIDTH = 50  # characters that fit, however wide


def save_plot(report: SyncReport, path: str | os.PathLike[str]) -> None:
    """Write a PNG; an existing file is replaced when all is written.

    Above: how far picture and sound are apart when the sound is moved by each offset. Below: the
    offset in each part of the file; hollow points are too uncertain to count.
    """
    figure = Figure(figsize=(6.4, 5.6), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1)
    figure.suptitle(_title(report), fontsize=9, x=0.02, ha="left")
    _draw_curve(upper, report)
    _draw_segments(lower, report)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(Path(path), buffer.getvalue())


def _title(report: SyncReport) -> str:
    name = Path(report.path).name
    shown = name if len(name) <= 60 else f"{name[:28]}…{name[-28:]}"
    told = [shown, report.summary(), *(f"({reason})" for reason in report.reasons)]
    lines = [line for text in told for line in textwrap.wrap(text, _TITLE_WIDTH)]
    return "\n".join(lines).replace("$", r"\$")


def _draw_curve(axes: Axes, report: SyncReport) -> None:
    axes.plot(report.offsets_s, report.curve, color=_LINE)
    axes.axvspan(-IN_SYNC_S, IN_SYNC_S, color="0.88", label=f"in sync: ±{IN_SYNC_S * 1e3:.0f} ms")
    axes.axvline(report.offset_s, color="black", linestyle="--", label="estimate")
    axes.set(
        xlabel=f"offset in seconds, {CONVENTION}",
        ylabel="distance less its mean\n(lower = better match)",
    )
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _draw_segments(axes: Axes, report: SyncReport) -> None:
    axes.axhspan(-IN_SYNC_S, IN_SYNC_S, color="0.88")
    for segment in report.segments:
        times_s = [report.start_s + segment.start_s, report.start_s + segment.end_s]
        sure = segment.confidence >= LEAST_CONFIDENCE
        axes.plot(times_s, [segment.offset_s] * 2, color=_LINE, linestyle="-" if sure else ":")
        face = _LINE if sure else "white"
        axes.plot(sum(times_s) / 2, segment.offset_s, "o", color=_LINE, markerfacecolor=face)
    axes.set(xlabel="time in the file in seconds", ylabel="offset in seconds")
    axes.set_xlim(report.start_s, report.start_s + report.duration_s)
    axes.set_ylim(_offset_range_s(report))
    axes.set_title("hollow = too uncertain to count", fontsize=8, loc="left", pad=3)


def _offset_range_s(report: SyncReport) -> tuple[float, float]:
    """Zero and what is sure, with room around, so that a drift of some frames can be seen."""
    sure = [part.offset_s for part in report.segments if part.confidence >= LEAST_CONFIDENCE]
    shown = [0.0, report.offset_s, *(sure or [part.offset_s for part in report.segments])]
    room = max(_LEAST_ROOM_S, 0.15 * (max(shown) - min(shown)))
    return min(shown) - room, max(shown) + room
