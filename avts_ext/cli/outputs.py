"""What the verbs that measure something share: their command line, and where results go."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from avts_ext.evaluation.plots import check_plot_path
from avts_ext.evaluation.report import Result, markdown_table, save_results

__all__ = ["check_outputs", "command_line", "print_and_save"]


def command_line() -> str:
    """The line that was typed, for records."""
    return "avts " + shlex.join(sys.argv[1:])


def check_outputs(out: str | None, plot: str | None = None) -> None:
    """Refuse what could not be written before hours are spent on it."""
    if out is not None and not Path(out).parent.is_dir():
        raise FileNotFoundError(f"out: the folder {str(Path(out).parent)!r} is not there")
    if plot is not None:
        check_plot_path(plot)


def print_and_save(results: Sequence[Result], out: str | None) -> None:
    """Print the table, and write the records if a file is named."""
    print(markdown_table(results))
    if out is not None:
        save_results(results, out)
        print(f"results: {out}")
