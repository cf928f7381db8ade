"""Grids of pretraining runs: each cell is pretrained once, scored, and kept.

A grid goes on where it was interrupted, and grows when more seeds or sizes are asked for. Its
folder holds `grid.json` (what all cells share), `sets/` (manifests), and for each cell a run folder
`cells/SET_FILES/seed_S/` with the scores of its models in `scores.json`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avts_ext._files import write_atomically
from avts_ext.ablation.measures import MeasureConfig, Measures
from avts_ext.ablation.subsets import PretrainingSet
from avts_ext.data import open_index
from avts_ext.evaluation.recordings import open_entry, untrained_network
from avts_ext.evaluation.world_scores import Score
from avts_ext.models.avts import AVTS
from avts_ext.models.pretrained import model_hash
from avts_ext.training import PretrainConfig, pretrain

__all__ = ["Cell", "Grid", "Point", "Rule"]

Rule = Literal["epochs", "steps"]


@dataclass(frozen=True)
class Cell:
    """A pretraining run.

    Attributes:
        media: the set it is trained on.
        count: how many of its files, about; see `PretrainingSet.subset`.
        seed: of weights, clips and negatives, and of the draws of the scores.
    """

    media: PretrainingSet
    count: int
    seed: int


@dataclass(frozen=True)
class Point:
    """Scores of one model.

    Attributes:
        set_name: of the set it was pretrained on.
        files: how many of its files.
        share: of the set.
        seed: of the cell.
        epochs: passes over these files before the model was kept.
        model_hash: of the model.
        scores: by name.
    """

    set_name: str
    files: int
    share: float
    seed: int
    epochs: int
    model_hash: str
    scores: dict[str, Score]


class Grid:
    """A folder of cells that share a recipe and measures.

    Args:
        folder: of the grid; new, or holding cells of the same recipe and measures.
        recipe: of every cell; its data, seed and folder are replaced.
        measure: what the models are scored on.
        rule: in what the runs on smaller subsets are equal to that on the whole set: "epochs" or,
            with more epochs for fewer files, "steps".

    Raises:
        ValueError: the folder holds a grid of another recipe, other measures or another rule.
        OSError: it cannot be written.
    """

    def __init__(
        self, folder: Path, recipe: PretrainConfig, measure: MeasureConfig, rule: Rule = "epochs"
    ) -> None:
        self.folder, self._recipe, self._rule = folder, recipe, rule
        self._measures = Measures(measure, recipe.model.clip)
        self._claim(measure)

    def run(self, cell: Cell, n_whole: int, *, all_kept: bool = False) -> list[Point]:
        """Pretrain and score a cell, or read what was done before.

        Args:
            cell: what to train on.
            n_whole: files of the whole set, to whose length the `rule` compares.
            all_kept: score the untrained model and those after every `run.keep_every` epochs of the
                recipe too; otherwise only the last.

        Returns:
            A point for each model, in the order of epochs.

        Raises:
            KeyboardInterrupt: interrupted; the same call goes on.
            ValueError: an earlier run of the cell did not keep the models that are wanted.
        """
        manifest, files = cell.media.write_subset(cell.count, self.folder / "sets")
        folder = self.folder / "cells" / manifest.stem / f"seed_{cell.seed}"
        config = self._config(manifest, files, n_whole, folder, cell.seed)
        done = {point.epochs: point for point in _read_points(folder / "scores.json")}
        wanted = _epochs_to_score(config, all_kept)
        missing = [epoch for epoch in wanted if epoch not in done]
        if missing and pretrain(config).interrupted:
            raise KeyboardInterrupt
        for epoch in missing:
            print(f"{manifest.stem}, seed {cell.seed}: scores after {epoch} epochs", flush=True)
            model = self._model(folder, epoch, config)
            done[epoch] = Point(
                cell.media.name,
                files,
                files / len(cell.media.rows),
                cell.seed,
                epoch,
                model_hash(model),
                self._measures.score(model, cell.seed),
            )
            plain = [dataclasses.asdict(point) for point in done.values()]
            _write_json(folder / "scores.json", plain)
        return [done[epoch] for epoch in wanted]

    def _config(
        self, manifest: Path, files: int, n_whole: int, folder: Path, seed: int
    ) -> PretrainConfig:
        """The recipe on a subset, as long as the rule says."""
        recipe, longer = self._recipe, 1.0
        if self._rule == "steps":
            batch_size = recipe.run.batch_size
            longer = max(1, n_whole // batch_size) / max(1, files // batch_size)
        stages = tuple(
            dataclasses.replace(stage, first_epoch=round(stage.first_epoch * longer))
            for stage in recipe.curriculum
        )
        run = dataclasses.replace(
            recipe.run,
            out_dir=str(folder),
            epochs=round(recipe.run.epochs * longer),
            seed=seed,
            resume=True,
        )
        data = dataclasses.replace(recipe.data, root=str(manifest), max_files=None)
        return dataclasses.replace(recipe, data=data, run=run, curriculum=stages)

    def _model(self, folder: Path, epoch: int, config: PretrainConfig) -> AVTS:
        path = folder / f"epoch_{epoch:03}.safetensors"
        if not path.exists():
            raise ValueError(f"{str(path)!r} was not kept: delete its folder to pretrain it again")
        model = AVTS.load(path)
        if epoch:
            return model
        # An untrained network's BatchNorm has no statistics yet: it gets those of some clips.
        entries, _ = open_index(config.data.root, split=config.data.split)
        spec, cache_dir = config.model.clip, config.data.cache_dir
        recordings = [open_entry(entry, spec, cache_dir) for entry in entries]
        return untrained_network(model, recordings, config.run.seed)

    def _claim(self, measure: MeasureConfig) -> None:
        """Make sure that all cells of the folder are comparable."""
        recipe = self._recipe.plain()
        for group, names in _REPLACED.items():
            for name in names:
                del recipe[group][name]
        mine = {"recipe": recipe, "measure": measure.plain(), "rule": self._rule}
        path = self.folder / "grid.json"
        if path.exists():
            found = json.loads(path.read_text())
            changed = [name for name in mine if mine[name] != found.get(name)]
            if changed:
                raise ValueError(
                    f"out_dir {str(self.folder)!r} holds cells of another {', '.join(changed)}: "
                    "choose another folder"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_json(path, mine)


# What differs between cells, or changes nothing that is computed.
_REPLACED = {
    "data": ("root", "cache_dir", "workers", "max_files", "max_broken_files"),
    "run": ("out_dir", "seed", "resume", "keep_every"),
}


def _epochs_to_score(config: PretrainConfig, all_kept: bool) -> list[int]:
    last, every = config.run.epochs, config.run.keep_every
    if not all_kept:
        return [last]
    return [*range(0, last, every), last]


def _read_points(path: Path) -> list[Point]:
    plain: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return [Point(**{**one, "scores": _scores(one["scores"])}) for one in plain]


def _scores(plain: dict[str, dict[str, Any]]) -> dict[str, Score]:
    return {
        name: Score(**{**score, "interval": (score["interval"][0], score["interval"][1])})
        for name, score in plain.items()
    }


def _write_json(path: Path, content: Any) -> None:
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
