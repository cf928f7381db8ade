"""Sync questions kept in a file: asked once, answered by any network, so that figures compare.

A set holds questions of every kind of `sync` about the media of one folder or manifest, and a
hash of each file. The kind "mixed" is all of them together, scored with one threshold.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avts_ext._files import file_hash, write_atomically
from avts_ext.data import ClipSpec, MediaEntry
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.evaluation.recordings import Recording, longest_stretch, open_recording
from avts_ext.evaluation.sync import KINDS, PairScore, SyncQuestions, score_pairs, sync_questions

__all__ = [
    "MIN_GAP_S",
    "MIXED",
    "Medium",
    "OffsetBin",
    "SyncSet",
    "accuracy_by_offset",
    "make_sync_set",
    "read_sync_set",
    "score_kinds",
]

_FORMAT = "avts sync questions 1"
MIXED = "mixed"
MIN_GAP_S = 0.5
# Edges of the bins of |offset|: as fine as the questions are dense, wider where offsets are rare.
_EDGES_S = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, np.inf)

Distances = dict[str, tuple[NDArray[np.floating], NDArray[np.floating]]]


@dataclass(frozen=True)
class Medium:
    """A stretch of a file that is asked about.

    Attributes:
        path: relative to the folder of the questions' file if below it, otherwise absolute.
        start_s, duration_s: the stretch, on the file's clock.
        content_hash: of the file.
    """

    path: str
    start_s: float
    duration_s: float
    content_hash: str


@dataclass(frozen=True)
class SyncSet:
    """Questions of every kind.

    Attributes:
        clip_s: length of the clips.
        seed: of the draws.
        media: what is asked about.
        questions: by kind; their numbers of media are places in `media`.
        folder: that of the file, to which paths are relative.
    """

    clip_s: float
    seed: int
    media: Sequence[Medium]
    questions: dict[str, SyncQuestions]
    folder: Path

    def recordings(
        self, spec: ClipSpec, cache_dir: str | os.PathLike[str] | None = None
    ) -> list[Recording]:
        """The media, to be read.

        Raises:
            ValueError: clips of another length, or a file is missing or another than it was.
        """
        if abs(spec.duration_s - self.clip_s) > 1e-9:
            raise ValueError(
                f"the questions are about clips of {self.clip_s} s, the model takes "
                f"{spec.duration_s} s: let other questions be written"
            )
        for medium in self.media:
            path = self.folder / medium.path
            if not path.is_file():
                raise ValueError(f"questions: {str(path)!r} is missing")
            if file_hash(path) != medium.content_hash:
                raise ValueError(f"questions: {str(path)!r} is another file than it was")
        return [
            open_recording(
                self.folder / medium.path, medium.start_s, medium.duration_s, spec, cache_dir
            )
            for medium in self.media
        ]

    @property
    def hash(self) -> str:
        """BLAKE2b of what is asked about what, 128 bits in hexadecimal."""
        content = self._plain()
        for medium in content["media"]:
            del medium["path"]  # the same files elsewhere are the same media
        text = json.dumps(content, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def save(self, path: Path) -> None:
        """Write the set as JSON, whole or not at all."""
        write_atomically(path, (json.dumps(self._plain()) + "\n").encode())

    def _plain(self) -> dict[str, Any]:
        questions = {
            kind: {name: np.asarray(column).tolist() for name, column in asdict(asked).items()}
            for kind, asked in self.questions.items()
        }
        return {
            "format": _FORMAT,
            "clip_s": self.clip_s,
            "seed": self.seed,
            "media": [asdict(medium) for medium in self.media],
            "questions": questions,
        }


def make_sync_set(
    entries: Sequence[MediaEntry],
    spec: ClipSpec,
    n_questions: int,
    path: str | os.PathLike[str],
    seed: int = 0,
) -> SyncSet:
    """Draw questions about media and write them.

    Args:
        entries: media that have a stretch of two clips and `MIN_GAP_S`; of each the longest counts.
        spec: of the clips.
        n_questions: of each kind.
        path: the file to write.
        seed: of the draws.

    Raises:
        ValueError: too few media, or none long enough.
        OSError: the file cannot be written.
    """
    path = Path(path)
    folder = path.parent.resolve()
    media = []
    for entry in entries:
        start_s, duration_s = longest_stretch(entry)
        file = Path(entry.path).resolve()
        told = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
        media.append(Medium(told, start_s, duration_s, file_hash(file)))
    # A clip fits whichever way its samples are rounded.
    durations_s = [medium.duration_s - 1 / spec.sample_rate for medium in media]
    options: dict[str, Any] = {"clip_s": spec.duration_s, "min_gap_s": MIN_GAP_S, "seed": seed}
    questions = {kind: sync_questions(durations_s, kind, n_questions, **options) for kind in KINDS}
    made = SyncSet(spec.duration_s, seed, media, questions, folder)
    made.save(path)
    return made


def read_sync_set(path: str | os.PathLike[str]) -> SyncSet:
    """Read what `make_sync_set` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: it is not such a file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
        if content["format"] != _FORMAT:
            raise ValueError(content["format"])
        return SyncSet(
            content["clip_s"],
            content["seed"],
            [Medium(**medium) for medium in content["media"]],
            {kind: _questions(columns) for kind, columns in content["questions"].items()},
            path.parent.resolve(),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{str(path)!r} holds no {_FORMAT}: {error}") from None


def score_kinds(distances: Distances) -> dict[str, PairScore]:
    """Scores by kind, and of all together, from the distances to right and wrong sounds."""
    scores = {kind: score_pairs(right, wrong) for kind, (right, wrong) in distances.items()}
    right, wrong = (np.concatenate(parts) for parts in zip(*distances.values(), strict=True))
    return {**scores, MIXED: score_pairs(right, wrong)}


@dataclass(frozen=True)
class OffsetBin:
    """Answers to questions whose sounds lie so far apart.

    Attributes:
        from_s, to_s: least and greatest distance of the two starts.
        accuracy: share of right answers, a tie counts one half.
        interval: its 95 % interval.
        n: number of questions.
    """

    from_s: float
    to_s: float
    accuracy: float
    interval: tuple[float, float]
    n: int


def accuracy_by_offset(
    questions: dict[str, SyncQuestions], distances: Distances
) -> list[OffsetBin]:
    """Accuracy by how far the wrong sound is from the right one, within one recording."""
    kinds = [kind for kind in questions if kind != "easy"]
    offsets_s = np.concatenate(
        [np.abs(questions[kind].wrong_start_s - questions[kind].start_s) for kind in kinds]
    )
    right, wrong = (np.concatenate([distances[kind][k] for kind in kinds]) for k in (0, 1))
    answers = (right < wrong) + 0.5 * (right == wrong)
    bins = []
    for low_s, high_s in pairwise(_EDGES_S):
        inside = (offsets_s >= low_s) & (offsets_s < high_s)
        if n := int(inside.sum()):
            given = float(answers[inside].sum())
            last_s = min(high_s, float(offsets_s[inside].max()))
            bins.append(OffsetBin(low_s, last_s, given / n, wilson_interval(given, n), n))
    return bins


def _questions(columns: dict[str, Any]) -> SyncQuestions:
    return SyncQuestions(
        columns["kind"],
        np.array(columns["media"], np.int64),
        np.array(columns["start_s"], np.float64),
        np.array(columns["wrong_media"], np.int64),
        np.array(columns["wrong_start_s"], np.float64),
    )
