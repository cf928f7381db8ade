"""Every localization score of a model, for plain and for offset-contrast maps, beside controls.

Protocol "motion-controlled/1", on the generated world: only frames count in which the picture
changes at least as much within the box of the silent object as within that of the sounding one. A
map that follows motion is on the sounding object at most as often as on the silent one there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from avts_ext.data.clips import ClipSpec
from avts_ext.data.faults import MediaError
from avts_ext.data.files import media_paths
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import MediaInfo, probe_open
from avts_ext.evaluation.intervals import bootstrap_interval
from avts_ext.evaluation.recordings import Recording, read_whole
from avts_ext.evaluation.report import Result
from avts_ext.evaluation.world_scores import WorldSet
from avts_ext.localization.annotations import Annotations
from avts_ext.localization.controls import centre_maps, motion, motion_maps
from avts_ext.localization.protocols import (
    SUCCESS,
    MapScore,
    consensus_map,
    detection_scores,
    score_map,
    success_auc,
)
from avts_ext.localization.readout import agreement, locate_sources
from avts_ext.localization.scores import boxes_at
from avts_ext.models.avts import AVTS
from avts_ext.world.scene import FPS as WORLD_FPS

__all__ = ["Case", "annotated_cases", "score_cases", "world_cases"]

Floats = NDArray[np.floating]

READOUTS = {"contrast": True, "plain": False}
CONTROLS = ("wrong audio", "no audio", "centre", "whole picture", "motion")
OWN, UNTRAINED, _RANDOM_WRONG = "own", "random network", "random network, wrong audio"
_VERSIONS = {"detection-ap": 2, "detection-max-f1": 2}  # all others are at 1
# Seconds of an annotated clip around the annotated picture that are looked at.
_AROUND_S = 3.0


@dataclass(frozen=True)
class Case:
    """A recording with pictures in which one knows where the sound comes from.

    Attributes:
        frames: (F, H, W, 3) uint8. waveform: (S,) float32, its sound.
        scored: (K,) int64, the pictures, indices of frames.
        truth: (K, H, W) in [0, 1], with something above 0.
        silent: (K, H, W) bool, a silent object that moves as well, or None where there is none.
    """

    frames: Tensor
    waveform: Tensor
    scored: NDArray[np.int64]
    truth: Floats
    silent: NDArray[np.bool_] | None = None


def world_cases(model: AVTS, videos: WorldSet) -> list[Callable[[], Case]]:
    """A case of every video of a world; all frames in which both objects are seen are scored."""

    def case(index: int) -> Case:
        frames, waveform = read_whole(videos.recordings[index], model.config.clip)
        size, row = (frames.shape[1], frames.shape[2]), videos.truth[index]
        times_s = np.arange(len(frames)) / float(model.config.clip.fps)
        truth, silent = (
            np.stack([consensus_map(box / [*size[::-1], *size[::-1]], size) for box in boxes])
            for boxes in (
                boxes_at(row.source_box, WORLD_FPS, times_s),
                boxes_at(row.silent_box, WORLD_FPS, times_s),
            )
        )
        scored = np.flatnonzero(truth.any((1, 2)) & silent.any((1, 2)))
        return Case(frames, waveform, scored, truth[scored], silent[scored] > 0)

    return [partial(case, index) for index in range(len(videos))]


def annotated_cases(
    model: AVTS, folder: Path, annotations: Annotations
) -> tuple[list[Callable[[], Case]], int]:
    """A case of every annotated clip whose file is there, its middle picture scored.

    Args:
        model: whose frame size and rate are read.
        folder: of media named after the clips.
        annotations: of the test set.

    Returns:
        The cases, and how many annotated clips have no usable file.
    """
    files = {path.stem: path for path in media_paths(folder)}
    spec = model.config.clip
    cases: list[Callable[[], Case]] = []
    for name in (name for name in annotations.boxes if name in files):
        try:
            with MediaReader(files[name]) as reader:
                info = probe_open(reader)
        except MediaError:
            continue
        boxes = _in_view(annotations.boxes[name], info, spec)
        truth = consensus_map(boxes, (spec.height, spec.width), annotations.votes)
        if truth.any() and info.duration_s > spec.duration_s:
            cases.append(partial(_middle_case, spec, info, truth))
    return cases, len(annotations.boxes) - len(cases)


def score_cases(
    trained: AVTS,
    untrained: AVTS,
    cases: Sequence[Callable[[], Case]],
    *,
    sharpen: str | None,
    seed: int,
    command: str = "",
) -> list[Result]:
    """Every protocol of `protocols`, and "motion-controlled/1" where there is a silent object.

    Args:
        trained, untrained: two networks of one architecture.
        cases: at least two; the wrong audio is the sound of the next one.
        sharpen: earlier layer of the video tower that sharpens the maps, or None.
        seed: of the untrained network, for the records.
        command: the command line that repeats it.

    Returns:
        Records for both read-outs, with the untrained network as baseline and the conditions of
        ``CONTROLS``.
    """
    if len(cases) < 2:
        raise ValueError(f"cases: got {len(cases)}, expected at least two")
    table: dict[tuple[str, str], list[_CaseScores]] = {}
    following = cases[0]()
    for make in tqdm([*cases[1:], cases[0]], desc="localization", unit="video"):
        case, following = following, make()
        agreements = _agreements(trained, untrained, case, following.waveform)
        for key, maps in _all_maps(trained, untrained, case, following.waveform, sharpen).items():
            scores = _score(case, maps, agreements.get(key[1]))
            table.setdefault(key, []).append(scores)
    results = []
    for readout in READOUTS:
        found = {
            condition: _figures(table, readout, condition)
            for condition in (OWN, UNTRAINED, *CONTROLS)
        }
        for name, own in found[OWN].items():
            results.append(
                Result(
                    f"{name}, {readout}/{_VERSIONS.get(name, 1)}",
                    own.value,
                    own.n,
                    (seed,),
                    baseline=found[UNTRAINED][name].value if name in found[UNTRAINED] else None,
                    interval=own.interval,
                    controls={c: found[c][name].value for c in CONTROLS if name in found[c]},
                    command=command,
                )
            )
    return results


@dataclass(frozen=True)
class _CaseScores:
    """Of one case under one condition.

    Attributes:
        maps: of each scored picture.
        on_silent: (K,) whether the peak is on the silent object and not on the sounding one.
        moves: (K,) whether the silent object moves at least as much.
        agreement: of picture and sound over the recording; None where none is heard.
    """

    maps: list[MapScore]
    on_silent: NDArray[np.bool_]
    moves: NDArray[np.bool_]
    agreement: float | None


@dataclass(frozen=True)
class _Figure:
    value: float
    n: int
    interval: tuple[float, float] | None = None


def _all_maps(
    trained: AVTS, untrained: AVTS, case: Case, foreign: Tensor, sharpen: str | None
) -> dict[tuple[str, str], Floats]:
    """Maps (K, H, W) of the scored pictures, by read-out and condition."""
    times_s = torch.from_numpy(case.scored) / float(trained.config.clip.fps)
    foreign = _of_length(foreign, len(case.waveform))
    picked = torch.from_numpy(case.scored)
    size = case.frames.shape[1], case.frames.shape[2]
    fixed = {
        "centre": centre_maps(len(picked), size),
        "whole picture": torch.ones(len(picked), *size),
        "motion": motion_maps(case.frames, float(trained.config.clip.fps))[picked],
    }
    maps: dict[tuple[str, str], Floats] = {}
    for readout, contrast in READOUTS.items():

        def at_pictures(
            model: AVTS, *sounds: Tensor | None, contrast: bool = contrast
        ) -> list[Tensor]:
            found = locate_sources(
                model, case.frames, sounds, contrast=contrast, before=sharpen, mirror="both"
            )
            return [of_sound.nearest(times_s) for of_sound in found]

        own, wrong, energy = at_pictures(trained, case.waveform, foreign, None)
        random, random_wrong = at_pictures(untrained, case.waveform, foreign)
        conditions = {OWN: own, "wrong audio": wrong, "no audio": energy, UNTRAINED: random}
        conditions |= {_RANDOM_WRONG: random_wrong} | fixed
        maps |= {(readout, name): values.numpy() for name, values in conditions.items()}
    return maps


def _agreements(trained: AVTS, untrained: AVTS, case: Case, foreign: Tensor) -> dict[str, float]:
    """By condition, of those with a sound."""
    sounds = [case.waveform, _of_length(foreign, len(case.waveform))]
    own, wrong = agreement(trained, case.frames, sounds)
    random, random_wrong = agreement(untrained, case.frames, sounds)
    return {OWN: own, "wrong audio": wrong, UNTRAINED: random, _RANDOM_WRONG: random_wrong}


def _of_length(waveform: Tensor, n_samples: int) -> Tensor:
    """Cut, or repeated, to a length."""
    return waveform.repeat(-(-n_samples // len(waveform)))[:n_samples]


def _score(case: Case, maps: Floats, agreement: float | None) -> _CaseScores:
    scores = [score_map(*pair) for pair in zip(maps, case.truth, strict=True)]
    if case.silent is None:
        none = np.zeros(len(scores), bool)
        return _CaseScores(scores, none, none, agreement)
    peaks = maps.reshape(len(maps), -1).argmax(1)
    on_silent = case.silent.reshape(len(maps), -1)[np.arange(len(maps)), peaks]
    changes = motion(case.frames)[torch.from_numpy(case.scored)].numpy()
    moved = [(changes * part).sum((1, 2)) for part in (case.truth > 0, case.silent)]
    on_source = np.array([score.pointing for score in scores])
    moves = moved[1] >= moved[0]
    return _CaseScores(scores, on_silent & ~on_source, moves, agreement)


def _figures(
    table: dict[tuple[str, str], list[_CaseScores]], readout: str, condition: str
) -> dict[str, _Figure]:
    """By name of the protocol; n counts videos."""
    cases = table[readout, condition]
    figures = {}
    for rule in ("ciou", "median_ciou", "sized_ciou"):
        groups = [np.array([getattr(score, rule) for score in case.maps]) for case in cases]
        name = rule.replace("_", "-")
        figures[f"{name}-{SUCCESS}"] = _mean([values >= SUCCESS for values in groups])
        figures[f"{name}-auc"] = _Figure(success_auc(np.concatenate(groups)), len(cases))
    pointing = [np.array([score.pointing for score in case.maps]) for case in cases]
    figures["pointing"] = _mean(pointing)
    if any(case.moves.any() for case in cases):
        for name, groups in (
            ("motion-controlled, source", pointing),
            ("motion-controlled, silent", [case.on_silent for case in cases]),
        ):
            pairs = zip(groups, cases, strict=True)
            figures[name] = _mean([values[case.moves] for values, case in pairs])
    without = {OWN: "wrong audio", UNTRAINED: _RANDOM_WRONG}.get(condition)
    if without is not None:
        average, f1 = _detection(cases, table[readout, without])
        figures["detection-ap"] = _Figure(average, 2 * len(cases))
        figures["detection-max-f1"] = _Figure(f1, 2 * len(cases))
    return figures


def _mean(groups: Sequence[NDArray[np.bool_]]) -> _Figure:
    values = np.concatenate(groups)
    return _Figure(float(values.mean()), len(groups), bootstrap_interval(groups))


def _detection(sounding: list[_CaseScores], silent: list[_CaseScores]) -> tuple[float, float]:
    """With every recording once as it is and once with the sound of another one."""
    cases = [*sounding, *silent]
    best = [max(case.maps, key=lambda score: score.strength) for case in cases]
    sounds = np.arange(len(best)) < len(sounding)
    right = sounds & np.array([score.ciou >= SUCCESS for score in best])
    return detection_scores(np.array([case.agreement for case in cases]), right, sounds)


def _middle_case(spec: ClipSpec, info: MediaInfo, truth: Floats) -> Case:
    """What is seen and heard around the middle of a file, whose picture is the scored one."""
    middle_s = info.start_s + info.duration_s / 2
    start_s = max(info.start_s, middle_s - _AROUND_S)
    length_s = min(2 * _AROUND_S, info.end_s - start_s)
    with MediaReader(info.path) as reader:
        frames, waveform = read_whole(Recording(reader, start_s, length_s), spec)
    scored = min(round((middle_s - start_s) * float(spec.fps)), len(frames) - 1)
    return Case(frames, waveform, np.array([scored]), truth[None])


def _in_view(boxes: Floats, info: MediaInfo, spec: ClipSpec) -> Floats:
    """Boxes in shares of the file's picture as shares of what the model sees, its middle."""
    assert info.video is not None  # asked for
    width, height = info.video.width, info.video.height
    scale = max(spec.height / height, spec.width / width)
    share = np.array([width * scale / spec.width, height * scale / spec.height] * 2)
    return (boxes - 0.5) * share + 0.5
