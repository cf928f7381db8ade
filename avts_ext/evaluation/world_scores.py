"""Every score of a network on held-out videos of the generated world.

Each function puts one protocol to one network and returns a `Score`; `as_result` sets it beside the
same protocol on an untrained network and the chance level.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avts_ext.data import CachedReader, ClipSource, ClipSpec, MediaReader, probe
from avts_ext.evaluation.finetune import FinetuneConfig, finetune
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.probe import draw_per_class
from avts_ext.evaluation.probe import probe as probe_features
from avts_ext.evaluation.recordings import (
    Recording,
    answer,
    estimate_offset,
    questions_about,
    read_whole,
    recording_features,
)
from avts_ext.evaluation.report import Result
from avts_ext.models.avts import AVTS
from avts_ext.world import CLASSES, WorldTruth, load_truth

__all__ = [
    "CLASS_CHANCE",
    "OFFSET_CHANCE",
    "Score",
    "WorldSet",
    "as_result",
    "audio_probe",
    "curve_scores",
    "finetuned_accuracy",
    "offset_hits",
    "open_world",
    "sync_accuracy",
]

CLASS_CHANCE = 1 / len(CLASSES)
OFFSET_TOLERANCE_S = 0.125
MAX_OFFSET_S = 1.5
# An estimate drawn from all offsets that are tried, without looking.
OFFSET_CHANCE = OFFSET_TOLERANCE_S / MAX_OFFSET_S


@dataclass(frozen=True)
class WorldSet:
    """Videos of a world: their truth and, in the same order, what is read from disk."""

    truth: Sequence[WorldTruth]
    recordings: Sequence[Recording]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class of the object that is heard."""
        return np.array([row.label for row in self.truth], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, part: slice) -> WorldSet:
        return WorldSet(self.truth[part], self.recordings[part])


@dataclass(frozen=True)
class Score:
    """A rate, the number of independent answers behind it, its 95 % interval for their choice.

    ``spread`` is the standard deviation over repetitions (draws of labelled examples), if any.
    """

    value: float
    n: int
    interval: tuple[float, float]
    spread: float | None = None


def open_world(
    out_dir: str | os.PathLike[str],
    spec: ClipSpec,
    cache_dir: str | os.PathLike[str] | None = None,
) -> WorldSet:
    """The videos of a generated world, ready to be read.

    Args:
        out_dir: the folder given to `world.generate`.
        spec: of the clips that will be read.
        cache_dir: folder in which decoded videos are kept; None decodes them at every read.

    Raises:
        FileNotFoundError: the folder holds no finished world.
        MediaError: a video is damaged.
    """
    truth = load_truth(out_dir)
    return WorldSet(truth, [_recording(row.path, spec, cache_dir) for row in truth])


def sync_accuracy(
    model: AVTS, videos: WorldSet, kind: str, *, n_questions: int, seed: int
) -> Score:
    """Share of right answers to `sync.sync_questions` of one kind; chance is one half."""
    questions = questions_about(videos.recordings, kind, n_questions, model.config.clip, seed)
    score = answer(model, videos.recordings, questions)
    return Score(score.accuracy, score.n, score.interval)


def offset_hits(model: AVTS, videos: WorldSet) -> Score:
    """Share of videos whose offset, which is zero, is estimated to within 125 ms."""
    estimates = [
        estimate_offset(model, recording, max_offset_s=MAX_OFFSET_S)
        for recording in videos.recordings
    ]
    hits = sum(abs(offset_s) <= OFFSET_TOLERANCE_S for offset_s in estimates)
    return _rate(hits / len(estimates), len(estimates))


def audio_probe(
    model: AVTS, train: WorldSet, test: WorldSet, *, per_class: int, draws: int, seed: int
) -> Score:
    """Accuracy of the linear probe on conv5 audio features, mean over draws of examples."""
    result = probe_features(
        recording_features(model, train.recordings),
        train.labels,
        recording_features(model, test.recordings),
        test.labels,
        per_class=per_class,
        draws=draws,
        seed=seed,
    )
    return _repeated(result.accuracies, len(test))


def curve_scores(
    model: AVTS,
    labelled: WorldSet,
    test: WorldSet,
    *,
    per_class: int,
    n_questions: int,
    draws: int,
    seed: int,
) -> dict[str, Score]:
    """The two scores that curves and tables of ablations show, by name: one of each use."""
    return {
        "sync_hard": sync_accuracy(model, test, "hard", n_questions=n_questions, seed=seed),
        "audio_probe": audio_probe(
            model, labelled, test, per_class=per_class, draws=draws, seed=seed
        ),
    }


def finetuned_accuracy(
    model: AVTS,
    train: WorldSet,
    test: WorldSet,
    *,
    per_class: int,
    draws: int,
    seed: int,
    config: FinetuneConfig | None = None,
) -> Score:
    """Accuracy of video classes after fine-tuning on ``per_class`` videos of each, over draws."""
    test_frames, test_labels = _frames(model, test), torch.from_numpy(test.labels)
    accuracies = []
    for draw in range(seed, seed + draws):
        rows = draw_per_class(train.labels, per_class, draw)
        drawn = WorldSet([train.truth[i] for i in rows], [train.recordings[i] for i in rows])
        result = finetune(
            model,
            _frames(model, drawn),
            torch.from_numpy(drawn.labels),
            test_frames,
            test_labels,
            config=config,
            seed=draw,
        )
        accuracies.append(result.accuracy)
    return _repeated(accuracies, len(test))


def as_result(
    protocol: str,
    score_of: Callable[[AVTS], Score],
    trained: AVTS,
    untrained: AVTS,
    *,
    chance: float,
    seed: int,
    command: str = "",
) -> Result:
    """One record: the trained network's score beside the untrained one's and chance.

    Args:
        protocol: name and version of what is measured.
        score_of: puts the protocol to a network.
        trained, untrained: the two networks, of one architecture.
        chance: score of guessing.
        seed: the one number everything random in it follows from.
        command: the command line that repeats it.
    """
    score = score_of(trained)
    return Result(
        protocol,
        score.value,
        score.n,
        (seed,),
        chance=chance,
        baseline=score_of(untrained).value,
        interval=score.interval,
        spread=score.spread,
        command=command,
    )


def _recording(path: str, spec: ClipSpec, cache_dir: str | os.PathLike[str] | None) -> Recording:
    info = probe(path)
    source: ClipSource = (
        MediaReader(path) if cache_dir is None else CachedReader(path, cache_dir, spec)
    )
    return Recording(source, info.start_s, info.duration_s)


def _frames(model: AVTS, videos: WorldSet) -> torch.Tensor:
    return torch.stack([read_whole(r, model.config.clip)[0] for r in videos.recordings])


def _repeated(accuracies: Sequence[float], n_test: int) -> Score:
    mean = float(np.mean(accuracies))
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    # The same test videos answer every time: repetition does not narrow their interval.
    return Score(mean, n_test, wilson_interval(mean * n_test, n_test), spread)


def _rate(value: float, n: int) -> Score:
    return Score(value, n, wilson_interval(value * n, n))
