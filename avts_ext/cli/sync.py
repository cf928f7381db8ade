"""The verbs `sync` and `calibrate`: is a file in sync, by how much is it off, and its repair."""

from __future__ import annotations

import json as json_module
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from avts_ext._files import write_atomically
from avts_ext.data.faults import MediaError
from avts_ext.data.files import media_paths
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import probe_open
from avts_ext.evaluation.report import markdown_table, save_results
from avts_ext.models.avts import AVTS
from avts_ext.shipped import WORLD_MODEL
from avts_ext.sync_report.calibration import (
    TOLERANCE_S,
    SyncCalibration,
    calibration_path,
    fit_calibration,
    sha256_of,
)
from avts_ext.sync_report.drift_proof import prove_drift
from avts_ext.sync_report.plot import save_plot
from avts_ext.sync_report.proof import prove
from avts_ext.sync_report.remux import delay_sound, keeps_timestamps
from avts_ext.sync_report.report import CONVENTION, SyncReport, report_on
from avts_ext.sync_report.windows import Windows, embed_windows

_HEADER = f"offset_s  confidence  verdict      file ({CONVENTION})"


def sync(
    files: list[str],
    fix: bool = False,
    json: bool = False,
    out_dir: str | None = None,
    model: str | None = None,
) -> None:
    """Tell whether files are in sync, and by how many seconds they are off: positive = audio late.

    Prints the verdict, the offset, a confidence in 0 to 1, and why where one cannot tell: silence,
    a still picture, a steady sound, material that the model does not know; a table for several
    files. Files come before all options. The exit status is 1 if a file could not be read.

    Args:
        files: Media files, and folders that are searched for them.
        fix: Of each file that is off by a constant, write a copy in sync beside it, named
            NAME.in_sync.SUFFIX: time stamps change, nothing is encoded again.
        json: Print JSON instead.
        out_dir: Folder for a JSON file and a plot of each file.
        model: A model that pretraining saved and `avts calibrate` calibrated. The default came with
            the package and knows the generated world (`avts world`) only; it says of other
            material that it cannot tell.
    """
    paths = _media_files(files)
    model_path = Path(model) if model is not None else WORLD_MODEL
    calibration = SyncCalibration.load(_existing_calibration(model_path), model_path)
    network = AVTS.load(model_path)
    torch.set_num_threads(1)  # spinning threads stall each other on small machines
    records, failed, tabular = [], 0, len(paths) > 1
    if tabular:
        _say(json, _HEADER)
    bar = tqdm(paths, desc="sync", unit="file", disable=len(paths) == 1 or not sys.stderr.isatty())
    for path in bar:
        try:
            report = report_on(path, network, calibration)
            fixed = _fix(report) if fix else None
        except (MediaError, ValueError) as error:
            failed += 1
            records.append({"path": str(path), "error": str(error)})
            _say(json, str(error))
            continue
        records.append(report.to_dict() | ({"fixed": str(fixed)} if fixed else {}))
        line = _row(report) if tabular else _line(report)
        _say(json, line + _told_of_fix(report, fixed) if fix else line)
        if out_dir is not None:
            _save(report, records[-1], Path(out_dir))
    if json:
        print(json_module.dumps(records, indent=2, allow_nan=False))
    if failed:
        raise ValueError(f"{failed} of {len(paths)} files could not be read")


def calibrate(model: str, folder: str, max_offset_s: float = 2.0, seed: int = 0) -> None:
    """Learn how sure a model may be of its offsets, and what material it knows, for `avts sync`.

    Writes NAME.sync.safetensors beside the model. With it, `avts sync --model` works on material
    like that of the folder.

    Args:
        model: A model that pretraining saved.
        folder: At least twenty media files that are known to be in sync, like those that will be
            asked about, and that the model was not trained on.
        max_offset_s: Largest offset that will be searched, both ways.
        seed: Of the shifts and cuts of which is learned.
    """
    network, files = AVTS.load(model), []
    torch.set_num_threads(1)
    for path in tqdm(media_paths(Path(folder)), desc="calibrate", unit="file"):
        files.append(_embed(network, path))
    calibration = fit_calibration(files, sha256_of(model), max_offset_s=max_offset_s, seed=seed)
    calibration.save(calibration_path(model))
    print(
        f"{calibration_path(model)}: from {len(files)} files; confidence is the probability of "
        f"being right to {TOLERANCE_S * 1e3:.0f} ms"
    )


def evaluate_sync_report(
    data: str, model: str | None = None, out: str | None = None, seed: int = 0
) -> None:
    """Score `avts sync`: files shifted by known amounts, files without an answer, and drift.

    Args:
        data: Folder of media in sync that neither the model nor its calibration was made from, of
            material that they know; for the default model, videos of a generated world.
        model: A calibrated model; by default the one that came with the package.
        out: JSON file for the results.
        seed: Of the shifts.
    """
    model_path = Path(model) if model is not None else WORLD_MODEL
    calibration = SyncCalibration.load(_existing_calibration(model_path), model_path)
    torch.set_num_threads(1)
    paths = [str(path) for path in _media_files([data])]
    command = "avts " + shlex.join(sys.argv[1:])
    network = AVTS.load(model_path)
    results = prove(network, calibration, paths, seed=seed, command=command)
    results += prove_drift(network, calibration, paths, seed=seed, command=command)
    print(markdown_table(results))
    if out is not None:
        save_results(results, Path(out))
        print(f"results: {out}")


def _embed(network: AVTS, path: Path) -> Windows:
    with MediaReader(path) as reader:
        info = probe_open(reader)
        assert info.video is not None
        return embed_windows(
            network, reader, info.start_s, info.duration_s, file_fps=info.video.fps
        )


def _media_files(files: Sequence[str]) -> list[Path]:
    paths: list[Path] = []
    for name in files:
        found = media_paths(Path(name)) if os.path.isdir(name) else [Path(name)]
        if not found:
            raise ValueError(f"files: got the folder {name!r}, which holds no media file")
        paths += found
    if not paths:
        raise ValueError("files: got none, expected at least one")
    return paths


def _existing_calibration(model: Path) -> Path:
    path = calibration_path(model)
    if model.exists() and not path.exists():
        raise ValueError(
            f"model: got {str(model)!r} without a calibration: make one with "
            f"`avts calibrate {model} FOLDER`"
        )
    return path


def _fix(report: SyncReport) -> Path | None:
    if report.verdict != "out of sync":
        return None
    path = Path(report.path)
    suffix = path.suffix if keeps_timestamps(path) else ".mkv"
    return delay_sound(path, path.with_name(f"{path.stem}.in_sync{suffix}"), -report.offset_s)


def _told_of_fix(report: SyncReport, fixed: Path | None) -> str:
    if fixed:
        return f"; fixed: {fixed}"
    return "; not fixed: it drifts" if report.verdict == "drifts" else ""


def _line(report: SyncReport) -> str:
    return f"{report.path}: {report.summary()}{_why(report)}"


def _row(report: SyncReport) -> str:
    numbers = f"{report.offset_s:+8.3f}  {report.confidence:10.2f}  {report.verdict:<11}"
    drift = f"  {report.drift_s_per_min:+.3f} s per minute" if report.drift_s_per_min else ""
    return f"{numbers}  {report.path}{drift}{_why(report)}"


def _why(report: SyncReport) -> str:
    return f" ({'; '.join(report.reasons)})" if report.reasons else ""


def _say(json: bool, text: str) -> None:
    if not json:
        tqdm.write(text)


def _save(report: SyncReport, record: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(report.path).name
    text = json_module.dumps(record, indent=2, allow_nan=False)
    write_atomically(folder / f"{name}.json", f"{text}\n".encode())
    save_plot(report, folder / f"{name}.png")
