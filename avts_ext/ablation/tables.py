"""What a grid came to: rows over seeds as Markdown, CSV and records, and a plot with error bars."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from avts_ext._files import write_atomically
from avts_ext.ablation.grid import Point
from avts_ext.evaluation.plots import Curve, write_curves
from avts_ext.evaluation.report import Result, save_results

__all__ = ["Row", "markdown_rows", "rows_over_seeds", "write_all"]


@dataclass(frozen=True)
class Row:
    """Models that differ in their seed alone.

    Attributes:
        points: one for each seed.
    """

    points: Sequence[Point]

    @property
    def first(self) -> Point:
        """The first one: what is not a score is the same in all."""
        return self.points[0]

    def values(self, measure: str) -> list[float]:
        """A score of every seed."""
        return [point.scores[measure].value for point in self.points]

    def mean(self, measure: str) -> float:
        """Mean over seeds."""
        return fmean(self.values(measure))

    def spread(self, measure: str) -> float | None:
        """Standard deviation over seeds (n - 1 in the denominator); None for one seed."""
        values = self.values(measure)
        return stdev(values) if len(values) > 1 else None


def rows_over_seeds(points: Sequence[Point]) -> list[Row]:
    """Models of the same set, size and epochs in one row, in the order in which they come."""
    groups: dict[tuple[str, int, int], list[Point]] = {}
    for point in points:
        groups.setdefault((point.set_name, point.files, point.epochs), []).append(point)
    return [Row(group) for group in groups.values()]


def markdown_rows(rows: Sequence[Row]) -> str:
    """A table: mean over seeds, standard deviation in brackets."""
    measures = list(rows[0].first.scores)
    header = ["pretraining set", "files", "share", "epochs", *measures, "seeds"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        first = row.first
        lines.append(
            [
                first.set_name,
                f"{first.files}",
                f"{first.share:.0%}",
                f"{first.epochs}",
                *(_cell(row, measure) for measure in measures),
                ", ".join(str(point.seed) for point in row.points),
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write_all(
    rows: Sequence[Row], folder: Path, name: str, command: str, card: dict[str, Any]
) -> list[Path]:
    """Write NAME.md, NAME.csv (a line per model), NAME.json (records) and NAME.svg.

    Args:
        rows: at least one.
        folder: where.
        name: "epochs" or "examples", which is also what the plot shows.
        command: the command line that repeats it.
        card: what the figures depend on, for the records.

    Returns:
        The files.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in ("md", "csv", "json", "svg")]
    text = f"```bash\n{command}\n```\n\n{markdown_rows(rows)}"
    write_atomically(paths[0], text.encode())
    write_atomically(paths[1], _csv(rows).encode())
    save_results(_records(rows, name, command, card), paths[2])
    axis = _AXES[name]
    sets = list(dict.fromkeys(row.first.set_name for row in rows))
    curves = [
        _curve([row for row in rows if row.first.set_name == one], one, measure, sets, axis.place)
        for measure in rows[0].first.scores
        for one in sets
    ]
    write_curves(curves, paths[3], x_label=axis.label, y_label="accuracy, sd over seeds")
    return paths


@dataclass(frozen=True)
class _Axis:
    label: str
    place: Callable[[Point], float]


_AXES = {
    "epochs": _Axis("epochs of pretraining", lambda point: point.epochs),
    "examples": _Axis("videos for pretraining", lambda point: point.files),
}


def _curve(
    rows: Sequence[Row],
    set_name: str,
    measure: str,
    sets: Sequence[str],
    place: Callable[[Point], float],
) -> Curve:
    spreads = [row.spread(measure) or 0.0 for row in rows]
    name = measure if len(sets) == 1 else f"{measure}, {set_name}"
    return Curve(
        name, [place(row.first) for row in rows], [r.mean(measure) for r in rows], spreads, spreads
    )


def _cell(row: Row, measure: str) -> str:
    spread = row.spread(measure)
    return f"{row.mean(measure):.3f}" + ("" if spread is None else f" ({spread:.3f})")


def _csv(rows: Sequence[Row]) -> str:
    measures = list(rows[0].first.scores)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [f"{measure}{suffix}" for measure in measures for suffix in ("", "_low", "_high")]
    writer.writerow(["set", "files", "share", "epochs", "seed", "model_hash", *columns])
    for point in (point for row in rows for point in row.points):
        figures = [
            figure
            for measure in measures
            for figure in (point.scores[measure].value, *point.scores[measure].interval)
        ]
        known = [point.set_name, point.files, point.share, point.epochs, point.seed]
        writer.writerow([*known, point.model_hash, *figures])
    return buffer.getvalue()


def _records(rows: Sequence[Row], name: str, command: str, card: dict[str, Any]) -> list[Result]:
    return [
        Result(
            f"ablate-{name}, {row.first.set_name} {row.first.files}, "
            f"{row.first.epochs} epochs, {measure}/1",
            row.mean(measure),
            sum(point.scores[measure].n for point in row.points),
            tuple(point.seed for point in row.points),
            spread=row.spread(measure),
            command=command,
            card=card | {"model_hashes": [point.model_hash for point in row.points]},
        )
        for row in rows
        for measure in row.first.scores
    ]
