"""The verb `results`: runs with different seeds side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from avts_ext.evaluation.report import load_results, markdown_table, over_seeds


def results(folder: str, name: str = "report.json") -> None:
    """Print tables of results: the mean over runs with different seeds.

    Args:
        folder: Holds the runs, each in a folder of its own.
        name: Of the file of each run: a report of the demo, or what `avts evaluate` wrote.
    """
    files = sorted(Path(folder).glob(f"*/{name}"))
    if not files:
        raise ValueError(f"folder: got {folder!r} without any */{name}, expected at least one")
    print(markdown_table(over_seeds([load_results(file) for file in files])))
    reports = [json.loads(file.read_text()) for file in files]
    if all(isinstance(report, dict) for report in reports):
        print(_row_table([report["epochs"] for report in reports], "epoch"))
        print(_row_table([report["subsets"]["rows"] for report in reports], "videos"))


def _row_table(runs: Sequence[Sequence[dict[str, Any]]], key: str) -> str:
    """Rows with the same ``key`` in every run, as "mean (sd over runs)" of each measure."""
    measures = [name for name, value in runs[0][0].items() if isinstance(value, dict)]
    lines = [f"| {key} | {' | '.join(measures)} |", "|---" * (1 + len(measures)) + "|"]
    for rows in zip(*runs, strict=True):
        cells = [_mean_and_sd([row[name]["value"] for row in rows]) for name in measures]
        lines.append(f"| {rows[0][key]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_and_sd(values: Sequence[float]) -> str:
    spread = f" ({stdev(values):.3f})" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"
