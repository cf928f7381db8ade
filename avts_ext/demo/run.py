"""The demonstration, top to bottom: a world, a network that learns from it, and what it learned.

Every part leaves its figures in a file of its own, so that an interrupted run goes on where it
stopped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from avts_ext import world
from avts_ext._extension import build_info
from avts_ext._files import write_atomically
from avts_ext.data import ClipSpec, manifest_of, open_index
from avts_ext.demo.effects import check_effects
from avts_ext.demo.gallery import exhibit
from avts_ext.demo.html import REPORT_VERSION, write_html
from avts_ext.demo.plan import FULL, LABELS_FOR_PROBE, QUICK, DemoPlan, seeds
from avts_ext.demo.scores import HeldOut, place_results, score_results
from avts_ext.evaluation.recordings import untrained_network
from avts_ext.evaluation.report import Result, package_versions
from avts_ext.evaluation.world_scores import (
    Score,
    WorldSet,
    curve_scores,
    open_world,
)
from avts_ext.models.avts import AVTS
from avts_ext.training import pretrain
from avts_ext.world.scene import SCENE_KINDS, SceneKind

__all__ = ["demo"]


def demo(out_dir: str = "avts_demo", quick: bool = False, seed: int = 0) -> Path:
    """Make a world of videos, pretrain on it, evaluate, and write a report for the browser.

    Writes ``report.html`` and ``report.json``, and keeps the videos, the trained models and the
    figures of every part below `out_dir`. After an interruption, the same command goes on.

    Args:
        out_dir: Folder of the run: new, empty, or holding a run of the same length and seed.
        quick: A small run to see everything work: fewer videos, shorter training, larger errors.
        seed: Everything random in the run follows from it.

    Returns:
        The report in HTML.

    Raises:
        ValueError: `out_dir` holds something else, or `seed` is negative.
        OSError: `out_dir` cannot be written, for instance because the disk is full.
        KeyboardInterrupt: Interrupted; the message says how to go on.
    """
    run = _Run(Path(out_dir), QUICK if quick else FULL, quick, seed)
    torch.set_num_threads(1)  # spinning threads stall each other on small machines
    try:
        run.claim()
        report = run.report()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; to go on: {run.command}") from None
    path = run.folder / "report.html"
    _write_json(run.folder / "report.json", report)
    write_html(report, run.folder, path)
    _say_what_came_of_it(report, path)
    return path


class _Run:
    """One run: its folder, its plan, and its parts in their order."""

    def __init__(self, folder: Path, plan: DemoPlan, quick: bool, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed: got {seed}, expected at least 0")
        self.folder, self.plan, self.quick, self.seed = folder, plan, quick, seed
        self.command = " ".join(
            ["avts demo", f"--out_dir {shlex.quote(str(folder))}", f"--seed {seed}"]
            + (["--quick"] if quick else [])
        )
        self.cache = folder / "cache"
        self._manifest = folder / "training.parquet"
        self.seconds: dict[str, float] = {}

    def claim(self) -> None:
        """Make sure that the folder is ours to write to, and note what will be in it."""
        mine = {"report_version": REPORT_VERSION, "plan": asdict(self.plan), "seed": self.seed}
        mine = json.loads(json.dumps(mine))
        note = self.folder / "demo.json"
        if note.exists():
            if json.loads(note.read_text()) != mine:
                raise ValueError(
                    f"out_dir {str(self.folder)!r} holds a run of another length, seed or version: "
                    "choose another folder"
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"out_dir {str(self.folder)!r} is not empty and holds no such run")
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_json(note, mine)

    def report(self) -> dict[str, Any]:
        """Do what is not done yet, and put all figures together."""
        for name in self._worlds():
            self._part(f"world: {name}", partial(self._generate, name))
        self._part("index", self._index)
        training = self._pretrain(self.plan.train_videos)
        for percent in self.plan.subset_percents:
            self._pretrain(self.plan.subset_videos(percent))
        epochs = self._part("curve over epochs", self._curve)
        subsets = self._part("subset sizes", self._subsets)
        results = self._part("scores", self._scores)
        for scene in SCENE_KINDS:
            results += self._part(f"localization, {scene}", partial(self._places, scene))
        gallery = self._part("gallery", self._gallery)
        records = [Result.from_dict(record) for record in results]
        return {
            "version": REPORT_VERSION,
            "command": self.command,
            "quick": self.quick,
            "seed": self.seed,
            "seeds": seeds(self.seed),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": package_versions(),
            "machine": {"cpu level": build_info()["cpu_level"], "cores": os.cpu_count()},
            "seconds": self.seconds,
            "effects": check_effects(records, subsets["rows"], quick=self.quick),
            "results": results,
            "epochs": epochs,
            "subsets": subsets,
            "training": training["history"],
            "skipped": training["skipped"],
            "gallery": gallery,
            "files": {
                "model": str(self._model_path(self.plan.train_videos)),
                "videos": str(self.folder / "worlds"),
                "figures": str(self.folder / "report.json"),
            },
        }

    def _part(self, name: str, work: Callable[[], Any]) -> Any:
        """The figures of one part: those on disk, or what ``work`` returns now."""
        path = self.folder / "parts" / f"{re.sub('[^a-z0-9]+', '_', name)}.json"
        if not path.exists():
            print(f"== {name}", flush=True)
            began_s = time.monotonic()
            figures = work()
            path.parent.mkdir(exist_ok=True)
            _write_json(path, {"seconds": time.monotonic() - began_s, "figures": figures})
        part = json.loads(path.read_text())
        self.seconds[name] = round(part["seconds"], 1)
        return part["figures"]

    def _worlds(self) -> dict[str, tuple[int, int, SceneKind]]:
        """Videos, seed and kind of each world, by the name of its folder."""
        plan, numbers = self.plan, seeds(self.seed)
        held_out = plan.labelled_videos + plan.test_videos
        return {
            "training": (plan.train_videos, numbers["training world"], "solo"),
            "held_out": (held_out, numbers["held-out world"], "solo"),
            "duets": (plan.duet_videos, numbers["held-out duets"], "duet"),
        }

    def _generate(self, name: str) -> int:
        videos, seed, kind = self._worlds()[name]
        world.generate(self.folder / "worlds" / name, videos, seed, kind)
        return videos

    def _index(self) -> int:
        """Examine the training world into a manifest; how many of its files are usable."""
        path = manifest_of(self.folder / "worlds" / "training", self._manifest)
        return len(open_index(path)[0])

    def _open(self, name: str) -> WorldSet:
        return open_world(self.folder / "worlds" / name, ClipSpec(), self.cache)

    def _pretrain(self, videos: int) -> dict[str, Any]:
        """Pretrain on the first videos of the training world, which all classes share equally."""
        config = self.plan.pretraining(
            self._manifest,
            self.cache,
            self._model_path(videos).parent,
            self.seed,
            videos,
        )

        def work() -> dict[str, Any]:
            result = pretrain(config)
            if result.interrupted:
                raise KeyboardInterrupt
            return {"history": result.history, "skipped": str(result.skipped)}

        return self._part(f"pretraining, {videos} videos", work)

    def _model_path(self, videos: int) -> Path:
        return self.folder / "runs" / f"{videos}_videos" / "last.safetensors"

    def _networks(self) -> tuple[AVTS, AVTS]:
        trained = AVTS.load(self._model_path(self.plan.train_videos))
        return trained, untrained_network(trained, self._open("training").recordings, self.seed)

    def _held_out(self) -> HeldOut:
        videos, n = self._open("held_out"), self.plan.labelled_videos
        return HeldOut(videos[:n], videos[n:])

    def _curve(self) -> list[dict[str, Any]]:
        _, untrained = self._networks()
        held_out = self._held_out()
        points = [{"epoch": 0, **self._two_measures(untrained, held_out)}]
        every = self.plan.keep_every
        for epoch in tqdm(range(every, self.plan.epochs + 1, every), desc="epochs", unit="model"):
            path = self._model_path(self.plan.train_videos)
            model = AVTS.load(path.with_name(f"epoch_{epoch:03}.safetensors"))
            points.append({"epoch": epoch, **self._two_measures(model, held_out)})
        return points

    def _subsets(self) -> dict[str, Any]:
        held_out, rows = self._held_out(), []
        for percent in self.plan.subset_percents:
            videos = self.plan.subset_videos(percent)
            measures = self._two_measures(AVTS.load(self._model_path(videos)), held_out)
            rows.append({"percent": percent, "videos": videos, **measures})
        return {"rule": f"{self.plan.epochs} epochs for each part, so fewer steps", "rows": rows}

    def _two_measures(self, model: AVTS, held_out: HeldOut) -> dict[str, Any]:
        scores = curve_scores(
            model,
            held_out.labelled,
            held_out.test,
            per_class=LABELS_FOR_PROBE,
            n_questions=self.plan.n_questions,
            draws=self.plan.draws,
            seed=self.seed,
        )
        return {name: _measure(score) for name, score in scores.items()}

    def _scores(self) -> list[dict[str, Any]]:
        results = score_results(
            *self._networks(),
            self._held_out(),
            n_questions=self.plan.n_questions,
            draws=self.plan.draws,
            seed=self.seed,
            command=self.command,
        )
        return [result.to_dict() for result in results]

    def _videos_of(self, scene: SceneKind) -> WorldSet:
        return self._open("duets") if scene == "duet" else self._held_out().test

    def _places(self, scene: SceneKind) -> list[dict[str, Any]]:
        videos = self._videos_of(scene)
        results = place_results(
            *self._networks(), videos, scene, seed=self.seed, command=self.command
        )
        return [result.to_dict() for result in results]

    def _gallery(self) -> list[dict[str, Any]]:
        trained, untrained = self._networks()
        exhibits = []
        for scene in SCENE_KINDS:
            videos = self._videos_of(scene)
            # The first videos as they come, not the best ones; they are of different classes.
            for index in tqdm(range(self.plan.exhibits), desc=f"{scene} exhibits", unit="video"):
                name = f"{scene}_{index}"
                exhibits.append(
                    exhibit(trained, untrained, videos, index, scene, self.folder, name)
                )
        return exhibits


def _measure(score: Score) -> dict[str, float]:
    low, high = score.interval
    return {"value": score.value, "low": low, "high": high}


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def _say_what_came_of_it(report: dict[str, Any], path: Path) -> None:
    print()
    for effect in report["effects"]:
        mark = "holds" if effect["holds"] else "DOES NOT HOLD"
        print(f"{effect['name']:26}{effect['measured']:>7}  {effect['expected']:14}  {mark}")
    print(f"\nreport: {path.resolve()}\nmodel:  {report['files']['model']}")
