"""The verb `ablate`: the two ablations of the paper's supplement, each one resumable grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from avts_ext.ablation.grid import Cell, Grid, Point, Rule
from avts_ext.ablation.measures import MeasureConfig
from avts_ext.ablation.subsets import PretrainingSet
from avts_ext.ablation.tables import markdown_rows, rows_over_seeds, write_all
from avts_ext.cli.outputs import command_line
from avts_ext.training import PretrainConfig


def ablate_epochs(
    recipe: str,
    out_dir: str,
    measure: MeasureConfig,
    keep_every: int = 9,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> None:
    """Score against epochs of pretraining, from the untrained network on.

    Writes epochs.md, .csv, .json and .svg into `out_dir`, with means and standard deviations over
    seeds. After an interruption, the same command goes on; with more seeds, it adds to the grid.

    Args:
        recipe: YAML file as of `avts pretrain`; its `data.root` is a folder or a manifest.
        out_dir: Folder of the grid.
        measure: What the models are scored on.
        keep_every: Epochs between two points.
        seeds: Of the runs: weights, clips, negatives, and draws of the scores.
    """
    if keep_every < 1:
        raise ValueError(f"keep_every: got {keep_every}, expected at least 1")
    config = _recipe(recipe, f"--run.keep_every={keep_every}")
    media = _media("all", config, Path(out_dir))
    grid = Grid(Path(out_dir), config, measure)
    points = [
        point
        for seed in _checked(seeds)
        for point in _run(grid, Cell(media, len(media.rows), seed), media, all_kept=True)
    ]
    _finish(points, grid, "epochs", {"measure": measure.plain(), "recipe": config.plain()})


def ablate_examples(
    recipe: str,
    out_dir: str,
    measure: MeasureConfig,
    shares: tuple[float, ...] = (0.13, 0.28, 0.55, 1.0),
    counts: tuple[int, ...] = (),
    second: str | None = None,
    rule: Rule = "epochs",
    seeds: tuple[int, ...] = (0, 1, 2),
) -> None:
    """Score against the number of pretraining videos, in subsets with the proportions of classes.

    Subsets are nested and the same for all seeds. Writes examples.md, .csv, .json and .svg into
    `out_dir`, with means and standard deviations over seeds. After an interruption, the same
    command goes on; with more seeds or sizes, it adds to the grid.

    Args:
        recipe: YAML file as of `avts pretrain`; its `data.root` is a folder or a manifest. Classes
            are those of the manifest, or of the generated world.
        out_dir: Folder of the grid.
        measure: What the models are scored on.
        shares: Of the whole set; the default is that of the paper's Table 1.
        counts: Numbers of videos in place of the shares.
        second: Another set for pretraining, folder or manifest, to tell content from size: it is
            compared with as many videos of the first.
        rule: Whether runs on fewer videos have as many `epochs` or as many `steps` as that on all.
        seeds: Of the runs: weights, clips, negatives, and draws of the scores.
    """
    config = _recipe(recipe)
    media = _media("all", config, Path(out_dir))
    n_whole = len(media.rows)
    if min(shares) <= 0 or max(shares) > 1:
        raise ValueError(f"shares: got {shares}, expected more than 0 and at most 1")
    sizes = list(counts) or [max(1, round(share * n_whole)) for share in shares]
    wanted = [(media, size) for size in sizes]
    if second is not None:
        other = PretrainingSet.open("second", second, config.data.split, Path(out_dir) / "sets")
        equal = min(n_whole, len(other.rows))
        wanted += [(media, equal), (other, equal)]
    grid = Grid(Path(out_dir), config, measure, rule)
    # One size is often asked for twice, and two sizes may round up to the same subset.
    unique = {(one.name, len(one.subset(size))): Cell(one, size, 0) for one, size in wanted}
    cells = [unique[key] for key in sorted(unique)]
    points = [
        point
        for seed in _checked(seeds)
        for cell in cells
        for point in _run(grid, Cell(cell.media, cell.count, seed), media)
    ]
    card = {"measure": measure.plain(), "recipe": config.plain(), "rule": rule}
    _finish(points, grid, "examples", card)


def _recipe(path: str, *overrides: str) -> PretrainConfig:
    # The folder of each cell takes the place of this one.
    return PretrainConfig.from_yaml(path, "--run.out_dir=of_the_cell", *overrides)


def _media(name: str, config: PretrainConfig, out_dir: Path) -> PretrainingSet:
    return PretrainingSet.open(name, config.data.root, config.data.split, out_dir / "sets")


def _checked(seeds: Sequence[int]) -> Sequence[int]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: got {list(seeds)}, expected at least one, each once")
    return seeds


def _run(grid: Grid, cell: Cell, whole: PretrainingSet, all_kept: bool = False) -> list[Point]:
    torch.set_num_threads(1)  # spinning threads stall each other on small machines
    try:
        return grid.run(cell, len(whole.rows), all_kept=all_kept)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None


def _finish(points: Sequence[Point], grid: Grid, name: str, card: dict[str, Any]) -> None:
    rows = sorted(
        rows_over_seeds(points),
        key=lambda row: (row.first.set_name, row.first.files, row.first.epochs),
    )
    command = command_line()
    print(markdown_rows(rows))
    for path in write_all(rows, grid.folder, name, command, card):
        print(path)


TASKS = {"epochs": ablate_epochs, "examples": ablate_examples}
