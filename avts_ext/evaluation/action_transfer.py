"""What a video tower knows of actions: UCF101 and HMDB51, fine-tuned from several beginnings."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from avts_ext.data.fingerprint import decode_fingerprint
from avts_ext.evaluation.action_training import ActionRecipe, FoldResult, Part, finetune_fold
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.labelled import LabelledSet
from avts_ext.evaluation.report import Result, clip_card
from avts_ext.models.avts import AVTS
from avts_ext.models.pretrained import model_hash
from avts_ext.models.video import load_torchvision_weights

__all__ = ["action_transfer", "beginnings"]

AVTS_NAME, SCRATCH, SUPERVISED = "AVTS", "from scratch", "supervised"


def beginnings(
    model: AVTS, scratch: bool, supervised: str | os.PathLike[str] | None, seed: int
) -> dict[str, AVTS]:
    """Models whose towers fine-tuning begins from, by name.

    Args:
        model: the pretrained one.
        scratch: whether one with random weights is among them.
        supervised: state_dict of a tower of the same kind that was trained on labels, as
            torchvision hands them out, if that is to be among them.
        seed: of the random weights.

    Raises:
        OSError: the state_dict cannot be read.
        ValueError: it does not fit the tower.
    """
    models = {AVTS_NAME: model}
    if scratch:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            models[SCRATCH] = AVTS(model.config).to(next(model.parameters()).device)
    if supervised is not None:
        models[SUPERVISED] = copy.deepcopy(model)
        state = torch.load(supervised, map_location="cpu", weights_only=True)
        try:
            load_torchvision_weights(models[SUPERVISED].video, state)
        except RuntimeError as error:
            problem = " ".join(str(error).split())
            raise ValueError(f"supervised: {os.fspath(supervised)!r}: {problem}") from None
    return models


def action_transfer(
    models: dict[str, AVTS],
    data: LabelledSet,
    recipe: ActionRecipe,
    out_dir: str | os.PathLike[str],
    *,
    splits: Sequence[int] = (1, 2, 3),
    workers: int = 0,
    allow_partial: bool = False,
    command: str = "",
) -> list[Result]:
    """Accuracies after fine-tuning under one recipe, for clips and for videos.

    Args:
        models: from `beginnings`; each is fine-tuned on each split.
        data: from `labelled.open_labelled`.
        recipe: of all runs.
        out_dir: holds a folder for each run, from which it goes on.
        splits: which of the official splits; fewer than three are told in the record.
        workers: processes that decode.
        allow_partial: leave out videos that cannot be read, with the coverage in the record.
        command: the command line that repeats it.

    Returns:
        For each model the mean over splits; beside AVTS, what training from scratch gave.

    Raises:
        ValueError: a split that does not exist, or a folder that holds another run.
        MediaError: a video cannot be read.
    """
    if not splits or not set(splits) <= {1, 2, 3}:
        raise ValueError(f"splits: got {list(splits)}, expected some of 1, 2, 3")
    found = {
        name: [
            _run(model, name, data, split, recipe, Path(out_dir), workers, allow_partial)
            for split in splits
        ]
        for name, model in models.items()
    }
    results = []
    for kind in ("clip", "video"):
        scratch = found.get(SCRATCH)
        for name, folds in found.items():
            beside = _mean(scratch, kind) if scratch and name == AVTS_NAME else None
            card = _card(models[name], name, data, folds, recipe)
            n = sum(fold.n_videos for fold in folds)
            mean = _mean(folds, kind)
            results.append(
                Result(
                    f"{data.name}-finetune-{kind}, {name}/1",
                    mean,
                    n,
                    (recipe.seed,),
                    chance=1 / len(data.classes),
                    baseline=beside,
                    # Clips of a video are not independent, so their interval is that of videos.
                    interval=wilson_interval(mean * n, n),
                    command=command,
                    folds={
                        f"split {split}": _accuracy(fold, kind)
                        for split, fold in zip(splits, folds, strict=True)
                    },
                    card=card,
                )
            )
    return results


def _run(
    model: AVTS,
    name: str,
    data: LabelledSet,
    split: int,
    recipe: ActionRecipe,
    out_dir: Path,
    workers: int,
    allow_partial: bool,
) -> FoldResult:
    fold = data.folds[split - 1]
    print(f"{data.name}, {name}, split {split}", flush=True)
    train, test = (
        Part([data.paths[row] for row in rows], data.labels[rows])
        for rows in (fold.train, fold.test)
    )
    return finetune_fold(
        model,
        train,
        test,
        len(data.classes),
        recipe,
        # A folder belongs to weights, not to a name, so that no other model's run is taken up.
        out_dir / f"{name.replace(' ', '_')}_{model_hash(model)[:8]}" / f"split_{split}",
        workers=workers,
        allow_broken=allow_partial,
    )


def _card(
    model: AVTS, name: str, data: LabelledSet, folds: Sequence[FoldResult], recipe: ActionRecipe
) -> dict[str, Any]:
    broken = sorted({path for fold in folds for path in fold.broken})
    holes = [*data.holes, f"{len(broken)} files are there but cannot be used"]
    return {
        "data_set": data.name,
        "coverage": data.coverage() | {"holes": holes if broken else data.holes},
        "begins_from": name,
        "model_hash": model_hash(model),
        "clip": clip_card(model.config.clip),
        "training_crops": "random scale 1 to 1.25, random place, mirrored half of the time",
        "test_crops": "centre",
        "answer": "class of the largest mean probability over the clips of a video",
        "recipe": asdict(recipe),
        "search": "none",
        "answer_hashes": [fold.answer_hash for fold in folds],
        "decoder": decode_fingerprint(),
    }


def _mean(folds: Sequence[FoldResult], kind: str) -> float:
    return fmean(_accuracy(fold, kind) for fold in folds)


def _accuracy(fold: FoldResult, kind: str) -> float:
    return fold.clip_accuracy if kind == "clip" else fold.video_accuracy
