"""Does the sync report tell a drift from a constant offset?

Protocol "sync-drift/1". Files in sync are joined, in a row, to films of at least a minute. Each
film is reported on twice: with its sound stretched by 0.1 to 0.5 %, or compressed, which makes it
drift, and with its sound moved by a constant.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from avts_ext.data.clips import ClipSpec
from avts_ext.data.writer import encode_mp4
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.report import Result
from avts_ext.models.avts import AVTS
from avts_ext.sync_report.calibration import SyncCalibration
from avts_ext.sync_report.proof import read_all
from avts_ext.sync_report.report import SyncReport, report_on

__all__ = ["prove_drift", "stretched"]

Frames = NDArray[np.uint8]
Floats = NDArray[np.floating]

_FILM_S = 60.0
# Seconds per second, either way.
_LEAST_DRIFT, _MOST_DRIFT = 0.001, 0.005
# Share of the range that is searched: what a drift adds stays inside.
_MOST_OFFSET = 0.5


def prove_drift(
    model: AVTS,
    calibration: SyncCalibration,
    paths: Sequence[str],
    *,
    seed: int,
    command: str = "",
) -> list[Result]:
    """Put the protocol to a model.

    Args:
        model: with its calibration.
        calibration: of the model.
        paths: files in sync that neither was made from, of material they know.
        seed: of offsets and drifts.
        command: the command line that repeats it.

    Returns:
        How often a drift is found; median error of its size in milliseconds per minute; how often
        a constant offset is called a drift.
    """
    rng = np.random.default_rng(seed)
    found, errors_ms, mistaken = [], [], []
    for frames, sound in tqdm(_films(paths, model.config.clip), desc="films", unit="film"):
        late_s = float(rng.uniform(-1, 1)) * _MOST_OFFSET * calibration.max_offset_s
        drift = float(rng.choice([-1, 1]) * rng.uniform(_LEAST_DRIFT, _MOST_DRIFT))
        drifting = _report_on_film(model, calibration, frames, sound, late_s, drift)
        constant = _report_on_film(model, calibration, frames, sound, late_s, 0.0)
        found.append(drifting.verdict == "drifts")
        errors_ms.append(1e3 * abs(drifting.drift_s_per_min - 60 * drift))
        mistaken.append(constant.verdict == "drifts")

    def rate(name: str, hits: list[bool]) -> Result:
        interval = wilson_interval(sum(hits), len(hits))
        value = sum(hits) / len(hits)
        return Result(name, value, len(hits), (seed,), interval=interval, command=command)

    name, error_ms = "sync-drift, median error/1", float(np.median(errors_ms))
    return [
        rate("sync-drift, found/1", found),
        Result(name, error_ms, len(found), (seed,), command=command, unit="ms per minute"),
        rate("sync-drift, constant offset called a drift/1", mistaken),
    ]


def stretched(waveform: Floats, late_s: float, drift: float, sample_rate: int) -> Floats:
    """Sound that is late by ``late_s`` at first and by ``drift`` more every second.

    Args:
        waveform: (S,), in sync.
        late_s: seconds; what comes before the beginning, if negative, is lost.
        drift: seconds per second, above -1.
        sample_rate: samples per second.

    Returns:
        (S',) by linear interpolation, as long as the sound then lasts.
    """
    length_s = len(waveform) / sample_rate * (1 + drift) + late_s
    times_s = np.arange(int(length_s * sample_rate)) / sample_rate
    heard = (times_s - late_s) / (1 + drift) * sample_rate
    return np.interp(heard, np.arange(len(waveform)), waveform, left=0, right=0)


def _report_on_film(
    model: AVTS,
    calibration: SyncCalibration,
    frames: Frames,
    sound: Floats,
    late_s: float,
    drift: float,
) -> SyncReport:
    spec = model.config.clip
    heard = stretched(sound, late_s, drift, spec.sample_rate)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "film.mp4")
        file.write_bytes(encode_mp4(frames, spec.fps * 2, heard, spec.sample_rate))
        return report_on(file, model, calibration)


def _films(paths: Sequence[str], spec: ClipSpec) -> Iterator[tuple[Frames, Floats]]:
    """Files in a row; where all together last less than a film, the first ones come again."""
    pictures: list[Frames] = []
    sounds: list[Floats] = []
    n_films = 0
    for index, path in enumerate(itertools.cycle(paths)):
        if index >= len(paths) and n_films:
            return
        frames, sound = read_all(path, spec)
        pictures.append(frames)
        sounds.append(sound[: int(len(frames) * spec.sample_rate / (spec.fps * 2))])
        if sum(map(len, pictures)) >= _FILM_S * spec.fps * 2:
            yield np.concatenate(pictures), np.concatenate(sounds)
            pictures, sounds, n_films = [], [], n_films + 1
