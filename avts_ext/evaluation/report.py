"""One measured number with everything needed to judge and repeat it."""

from __future__ import annotations

import json
import math
import os
import platform
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from avts_ext import __version__
from avts_ext._files import write_atomically
from avts_ext.data.clips import ClipSpec
from avts_ext.data.fingerprint import clips_hash

__all__ = [
    "Result",
    "clip_card",
    "load_results",
    "markdown_table",
    "over_seeds",
    "package_versions",
    "save_results",
]

DECODED_CLIPS = "decoded clips"
_PACKAGES = ("torch", "numpy", "scikit-learn", "av")


def package_versions() -> dict[str, str]:
    """Versions of everything that can move a number, and a hash of how known clips decode."""
    found = {name: version(name) for name in _PACKAGES}
    found[DECODED_CLIPS] = clips_hash()
    return {"avts_ext": __version__, "python": platform.python_version(), **found}


def clip_card(clip: ClipSpec) -> dict[str, Any]:
    """Clips as JSON types, for the card of a record; `fps` is a string such as "30000/1001"."""
    return asdict(clip) | {"fps": str(clip.fps)}


@dataclass(frozen=True)
class Result:
    """One figure beside its chance level and its random-network baseline.

    Attributes:
        protocol: what was measured and how, ending in the protocol's version ("sync-hard/1").
        value: the figure, in ``unit``.
        chance: what guessing gives.
        baseline: the same protocol on a randomly initialised network.
        n: number of answers behind ``value`` (questions, recordings, frames).
        interval: 95 % interval (low, high) for the choice of test items.
        spread: standard deviation over ``seeds``.
        seeds: seeds whose mean ``value`` is.
        controls: the same protocol with something taken away, by name ("wrong audio").
        command: the command line that repeats it.
        unit: "rate" in [0, 1], "s", ...
        versions: of the packages used.
        folds: the figure on each fold, by name; ``value`` is their mean.
        card: what else the figure depends on (clips, search, coverage, hashes), as JSON types.

    Raises:
        ValueError: an empty protocol, a figure that is not finite, no seed, or ``n`` below 1.
    """

    protocol: str
    value: float
    n: int
    seeds: tuple[int, ...]
    chance: float | None = None
    baseline: float | None = None
    interval: tuple[float, float] | None = None
    spread: float | None = None
    controls: dict[str, float] = field(default_factory=dict)
    command: str = ""
    unit: str = "rate"
    versions: dict[str, str] = field(default_factory=package_versions)
    folds: dict[str, float] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.protocol:
            raise ValueError("protocol: got an empty name, expected for example 'sync-hard/1'")
        if self.n < 1:
            raise ValueError(f"n: got {self.n}, expected at least 1")
        if not self.seeds:
            raise ValueError("seeds: got none, expected at least one")
        # A NaN would be written as invalid JSON and read as a missing result.
        for name, figure in self._figures():
            if not math.isfinite(figure):
                raise ValueError(f"{name}: got {figure}, expected a finite number")

    def _figures(self) -> list[tuple[str, float]]:
        named = [("value", self.value), ("chance", self.chance), ("baseline", self.baseline)]
        named += [("spread", self.spread), *self.controls.items()]
        named += self.folds.items()
        named += [("interval", end) for end in self.interval or ()]
        return [(name, figure) for name, figure in named if figure is not None]

    @property
    def spread_over_folds(self) -> float | None:
        """Standard deviation over the folds (n - 1 in the denominator), if there are several."""
        return stdev(self.folds.values()) if len(self.folds) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Result:
        """The record from :meth:`to_dict` or from JSON, where tuples have become lists."""
        interval = record["interval"]
        return cls(
            **{
                **record,
                "seeds": tuple(record["seeds"]),
                "interval": None if interval is None else (interval[0], interval[1]),
            }
        )


def save_results(results: Sequence[Result], path: str | os.PathLike[str]) -> None:
    """Write results as one JSON file; an existing file is replaced only when all is written."""
    text = json.dumps([result.to_dict() for result in results], indent=2, allow_nan=False)
    write_atomically(Path(path), f"{text}\n".encode())


def load_results(path: str | os.PathLike[str]) -> list[Result]:
    """Read what :func:`save_results` wrote, or the "results" of a report of the demo."""
    content = json.loads(Path(path).read_text())
    records = content["results"] if isinstance(content, dict) else content
    return [Result.from_dict(record) for record in records]


def over_seeds(runs: Sequence[Sequence[Result]]) -> list[Result]:
    """The mean of the same results over runs with different seeds.

    Args:
        runs: one list of results for each run, of the same protocols in the same order.

    Returns:
        A record for each protocol: means of value, baseline and controls; ``spread`` is the
        standard deviation of the value over runs (n - 1 in the denominator), and ``n`` the number
        of answers in all. An interval is left out: it would speak of test items only.

    Raises:
        ValueError: no run, runs that differ in their protocols, or two runs of the same seed.
    """
    protocols = [[result.protocol for result in run] for run in runs]
    if not runs or any(names != protocols[0] for names in protocols):
        raise ValueError(f"runs: got protocols {protocols}, expected the same in every run")
    decoders = {result.versions.get(DECODED_CLIPS) for run in runs for result in run}
    if len(decoders) > 1:
        warnings.warn(f"the media were decoded differently in these runs: {decoders}", stacklevel=2)
    return [_mean_result(results) for results in zip(*runs, strict=True)]


def _mean_result(results: Sequence[Result]) -> Result:
    seeds = [seed for result in results for seed in result.seeds]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"runs: got seeds {seeds} of {results[0].protocol}, expected each once")
    values = [result.value for result in results]
    baselines = [result.baseline for result in results if result.baseline is not None]
    first = results[0]
    return replace(
        first,
        value=fmean(values),
        n=sum(result.n for result in results),
        seeds=tuple(seeds),
        baseline=fmean(baselines) if len(baselines) == len(results) else None,
        interval=None,
        spread=stdev(values) if len(values) > 1 else None,
        controls=_means([result.controls for result in results]),
        folds=_means([result.folds for result in results]),
    )


def _means(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: fmean([one[name] for one in figures]) for name in figures[0]}


def markdown_table(results: Sequence[Result]) -> str:
    """Results as a Markdown table, one row each; what was not measured is left blank."""
    names = list(dict.fromkeys(name for result in results for name in result.controls))
    header = ["protocol", "value", "95 % interval", "sd over seeds", "chance", "random network"]
    has_folds = any(result.folds for result in results)
    header += [*names, *(["sd over folds"] if has_folds else []), "n", "seeds"]
    lines = [_row(header), _row(["---"] * len(header))]
    lines += [_row(_cells(result, names, has_folds)) for result in results]
    return "\n".join(lines) + "\n"


def _cells(result: Result, controls: Sequence[str], has_folds: bool) -> list[str]:
    interval = "" if result.interval is None else "{:.3f}–{:.3f}".format(*result.interval)
    value = f"{result.value:.3f}" + ("" if result.unit == "rate" else f" {result.unit}")
    figures = [result.spread, result.chance, result.baseline]
    figures += [result.controls.get(name) for name in controls]
    figures += [result.spread_over_folds] if has_folds else []
    blank_or_number = ["" if figure is None else f"{figure:.3f}" for figure in figures]
    seeds = ", ".join(str(seed) for seed in result.seeds)
    return [result.protocol, value, interval, *blank_or_number, str(result.n), seeds]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
