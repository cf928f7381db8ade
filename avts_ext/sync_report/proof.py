"""How good is the sync report? Files shifted by known amounts, and files without an answer.

Protocol "sync-report/1". Every file of a set in sync is copied with its sound moved by a known
amount, uniform within the range that is searched, into the containers in turn, and reported on.
Then every file is reported on in four ways that have no answer: with the sound of the next file,
with silence, as a still picture, with a steady tone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from avts_ext.data.clips import ClipSpec
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import probe_open
from avts_ext.data.writer import encode_mp4
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.report import Result
from avts_ext.models.avts import AVTS
from avts_ext.sync_report.calibration import TOLERANCE_S, SyncCalibration
from avts_ext.sync_report.remux import delay_sound
from avts_ext.sync_report.report import LEAST_CONFIDENCE, report_on

__all__ = ["CONTAINERS", "calibration_error", "prove", "read_all"]

CONTAINERS = (".mp4", ".mkv", ".mov", ".ts", ".flv")
_TONE_HZ, _TONE_LEVEL = 180, 0.3


@dataclass(frozen=True)
class _Answer:
    """What was said of a file; the error is infinite where there is no right answer."""

    error_s: float
    confidence: float


def prove(
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
        paths: files in sync that neither was made from, at least two, of material they know.
        seed: of the shifts.
        command: the command line that repeats it.

    Returns:
        Median error; rate of errors within 100 ms among all files and among those that are
        answered; share that is answered; calibration error; how often each kind of file without
        an answer is answered all the same.
    """
    if len(paths) < 2:
        raise ValueError(f"paths: got {len(paths)}, expected at least two files")
    shifted = _shifted_answers(model, calibration, paths, seed)
    without: dict[str, list[_Answer]] = {}
    for index, path in enumerate(tqdm(paths, desc="without an answer", unit="file")):
        other = paths[(index + 1) % len(paths)]
        for kind, answer in _unanswerable(model, calibration, path, other).items():
            without.setdefault(kind, []).append(answer)
    return _results(shifted, without, seed, command)


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equal bins.

    Args:
        confidence: (N,) in [0, 1].
        right: (N,) whether the answer was.

    Returns:
        Mean difference of confidence and share of right answers in a bin, weighted by its size.
        Source: Naeini, Cooper and Hauskrecht, AAAI 2015.
    """
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def _shifted_answers(
    model: AVTS, calibration: SyncCalibration, paths: Sequence[str], seed: int
) -> list[_Answer]:
    rng, answers = np.random.default_rng(seed), []
    for index, path in enumerate(tqdm(paths, desc="shifted", unit="file")):
        late_s = float(rng.uniform(-1, 1)) * calibration.max_offset_s
        suffix = CONTAINERS[index % len(CONTAINERS)]
        with tempfile.TemporaryDirectory() as folder:
            copy = delay_sound(path, Path(folder) / f"shifted{suffix}", late_s)
            report = report_on(copy, model, calibration)
        answers.append(_Answer(abs(report.offset_s - late_s), report.confidence))
    return answers


def _unanswerable(
    model: AVTS, calibration: SyncCalibration, path: str, other: str
) -> dict[str, _Answer]:
    """What is said of a file without anything that could be answered, by kind."""
    spec = model.config.clip
    frames, sound = read_all(path, spec)
    _, foreign = read_all(other, spec)
    tone = _TONE_LEVEL * np.sin(2 * np.pi * _TONE_HZ * np.arange(len(sound)) / spec.sample_rate)
    pairs: dict[str, tuple[NDArray[np.uint8], NDArray[np.floating]]] = {
        "other sound": (frames, foreign[: len(sound)]),
        "silence": (frames, np.zeros_like(sound)),
        "still picture": (np.repeat(frames[:1], len(frames), 0), sound),
        "steady tone": (frames, tone),
    }
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (picture, waveform) in pairs.items():
            file = Path(folder, "file.mp4")
            file.write_bytes(encode_mp4(picture, spec.fps * 2, waveform, spec.sample_rate))
            answers[kind] = _Answer(np.inf, report_on(file, model, calibration).confidence)
    return answers


def read_all(path: str, spec: ClipSpec) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """All frames of a file, at twice the model's rate, and the sound of the same time.

    Returns:
        (F, H, W, 3) and (S,).
    """
    with MediaReader(path) as reader:
        info = probe_open(reader)
        n_frames = int((info.duration_s - 1 / spec.sample_rate) * spec.fps * 2)
        clip = reader.read_clip(info.start_s, replace(spec, fps=spec.fps * 2, n_frames=n_frames))
    return clip.frames.numpy(), clip.waveform.numpy()


def _results(
    shifted: Sequence[_Answer], without: dict[str, list[_Answer]], seed: int, command: str
) -> list[Result]:
    error_s = np.array([answer.error_s for answer in shifted])
    confidence = np.array([answer.confidence for answer in shifted])
    right, answered = error_s <= TOLERANCE_S, confidence >= LEAST_CONFIDENCE
    n = len(shifted)

    def result(name: str, value: float, n: int, **more: Any) -> Result:
        return Result(f"sync-report, {name}/1", value, n, (seed,), command=command, **more)

    def rate(name: str, hits: NDArray[np.bool_]) -> Result:
        interval = wilson_interval(int(hits.sum()), len(hits))
        return result(name, float(hits.mean()), len(hits), interval=interval)

    everything = [answer for answers in without.values() for answer in answers]
    all_confidence = np.append(confidence, [answer.confidence for answer in everything])
    all_right = np.append(right, np.zeros(len(everything), bool))
    return [
        result("median error", float(np.median(error_s)), n, unit="s"),
        rate("within 100 ms", right),
        rate("answered", answered),
        *([rate("within 100 ms where answered", right[answered])] if answered.any() else []),
        result("calibration error, shifted files", calibration_error(confidence, right), n),
        result("calibration error, all files", calibration_error(all_confidence, all_right), n),
        *(
            rate(
                f"answered, {kind}",
                np.array([answer.confidence >= LEAST_CONFIDENCE for answer in answers]),
            )
            for kind, answers in without.items()
        ),
    ]
