"""How sure may one be of an offset, and does the model know such material at all?

A calibration belongs to one model. It is fitted on files that are known to be in sync and that the
model was not trained on: cut, shifted by known amounts, and with half as many that have no answer
(the sound of another file, a still picture, a steady sound). Confidence is then the probability,
for such a mixture, that the estimate lies within ``TOLERANCE_S`` of the truth.

On material unlike those files that probability means nothing. Hence the guard: where the towers'
features lie farther from those of the calibration than 99 % of its own files, confidence falls,
down to nothing at twice that distance.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression

from avts_ext._files import write_atomically
from avts_ext.sync_report.offsets import OffsetEstimate, estimate_offset, lag_distances
from avts_ext.sync_report.windows import STEPS_PER_WINDOW, Windows

__all__ = [
    "TOLERANCE_S",
    "SyncCalibration",
    "calibration_path",
    "fit_calibration",
    "sha256_of",
    "shifted",
]

Floats = NDArray[np.floating]

TOLERANCE_S = 0.1
_DOMAIN_QUANTILE = 0.99
_SHIFTS_PER_FILE = 4
# The shortest excerpt of a calibration file, as a share of the file.
_LEAST_EXCERPT = 0.6


@dataclass(frozen=True, eq=False)
class SyncCalibration:
    """What turns the shape of a curve into a probability, and tells known from unknown material.

    Attributes:
        model_sha256: of the model's file, in hexadecimal.
        max_offset_s: largest offset that is searched, both ways.
        bias_s: median error of the estimates, which is taken off.
        weights: (3,) float64 of a logistic regression: constant, distance, log(1 + lead). Distance
            itself, not the depth of the valley: with sound of another kind some offset always
            lies lower than the rest, but nothing comes near.
        video_mean, audio_mean: (C,) float64 of the towers' features.
        video_precision, audio_precision: (C, C) float64, inverses of their covariances.
        video_limit, audio_limit: distance within which 99 % of the calibration files lie.
    """

    model_sha256: str
    max_offset_s: float
    bias_s: float
    weights: Floats
    video_mean: Floats
    video_precision: Floats
    video_limit: float
    audio_mean: Floats
    audio_precision: Floats
    audio_limit: float

    def probability(self, estimate: OffsetEstimate) -> float:
        """That the estimate is right, if the material is like that of the calibration."""
        if estimate.at_edge:
            return 0.0
        logit = float(_evidence(estimate) @ self.weights)
        return 1 / (1 + float(np.exp(-logit)))

    def novelty(self, windows: Windows) -> tuple[float, float]:
        """Distance of picture and of sound from the calibration; 1 is its outermost hundredth."""
        return (
            _distance(windows.video_features, self.video_mean, self.video_precision)
            / self.video_limit,
            _distance(windows.audio_features, self.audio_mean, self.audio_precision)
            / self.audio_limit,
        )

    def familiarity(self, windows: Windows) -> float:
        """Factor on the probability: 1 for known material, 0 for material twice too far away."""
        return float(np.clip(2 - max(self.novelty(windows)), 0, 1))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one safetensors file, whole or not at all."""
        values = asdict(self)
        text = {"model_sha256": values.pop("model_sha256")}
        arrays = {name: np.asarray(value, np.float64) for name, value in values.items()}
        write_atomically(Path(path), save_arrays(arrays, text))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], model_path: str | os.PathLike[str]
    ) -> SyncCalibration:
        """The calibration that `save` wrote for this model.

        Raises:
            OSError: a file is not there or cannot be read.
            ValueError: it is damaged, or belongs to another model.
        """
        path = os.fspath(path)
        with open(path, "rb"):
            pass  # Python's errors name the file, those of safetensors do not
        try:
            with safe_open(path, framework="numpy") as file:
                sha256 = (file.metadata() or {}).get("model_sha256", "")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or no calibration: {error}") from None
        expected = {field.name for field in fields(cls)} - {"model_sha256"}
        if set(arrays) != expected:
            raise ValueError(f"{path} is no calibration: it holds {sorted(arrays)}")
        if sha256 != sha256_of(model_path):
            raise ValueError(f"{path} is the calibration of another model than {model_path}")
        values: dict[str, Any] = {
            name: float(a) if a.ndim == 0 else a for name, a in arrays.items()
        }
        return cls(model_sha256=sha256, **values)


def calibration_path(model_path: str | os.PathLike[str]) -> Path:
    """Where the calibration of a model is kept: beside it."""
    return Path(model_path).with_suffix(".sync.safetensors")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Of a file's content, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def fit_calibration(
    files: Sequence[Windows], model_sha256: str, *, max_offset_s: float = 2.0, seed: int = 0
) -> SyncCalibration:
    """Learn confidence and the model's domain from files known to be in sync.

    Args:
        files: at least twenty, long enough that an excerpt still holds something after a shift.
        model_sha256: of the model that embedded them.
        max_offset_s: largest offset to be searched.
        seed: of cuts and shifts.

    Raises:
        ValueError: too few files, one too short, or a network that is right never or always.
    """
    _check_files(files, max_offset_s)
    step_s = files[0].step_s
    max_steps = round(max_offset_s / step_s)
    rng = np.random.default_rng(seed)
    found, errors_s = [], []
    for windows, true_offset_s in _cases(files, max_steps, rng):
        estimate = estimate_offset(lag_distances(windows, max_steps), step_s)
        found.append(estimate)
        errors_s.append(estimate.offset_s - windows.lead_s - true_offset_s)
    error_s = np.array(errors_s)
    near = abs(error_s) <= TOLERANCE_S
    if near.all() or not near.any():
        raise ValueError(
            f"files: {int(near.sum())} of {len(near)} estimates are right, expected a network that "
            "is right sometimes and wrong without an answer"
        )
    bias_s = float(np.median(error_s[near]))
    right = abs(error_s - bias_s) <= TOLERANCE_S
    evidence = np.stack([_evidence(estimate) for estimate in found])
    fit = LogisticRegression(C=100.0, fit_intercept=False, max_iter=10_000).fit(evidence, right)
    return SyncCalibration(
        model_sha256,
        max_offset_s,
        bias_s,
        fit.coef_[0],
        *_domain([windows.video_features for windows in files]),
        *_domain([windows.audio_features for windows in files]),
    )


def shifted(windows: Windows, steps: int, first: int = 0, n_steps: int | None = None) -> Windows:
    """A file in sync, cut, and with its sound moved later: what is left where both are present.

    Args:
        windows: of a file in sync.
        steps: by which its sound is late, in steps of the windows of sound.
        first, n_steps: the excerpt, in steps; by default all.
    """
    n_steps = len(windows.audio) - first if n_steps is None else n_steps
    begin, end = first + max(0, steps), first + n_steps + min(0, steps)
    begin += begin % STEPS_PER_WINDOW  # a window of picture begins at every other step
    picture = slice(begin // STEPS_PER_WINDOW, -(-end // STEPS_PER_WINDOW))
    sound = slice(begin - steps, end - steps)
    return replace(
        windows,
        video=windows.video[picture],
        video_features=windows.video_features[picture],
        motion=windows.motion[picture],
        audio=windows.audio[sound],
        audio_features=windows.audio_features[sound],
        level_db=windows.level_db[sound],
    )


def _cases(
    files: Sequence[Windows], max_steps: int, rng: np.random.Generator
) -> Iterator[tuple[Windows, float]]:
    """Files with known offsets, and files without an answer, whose true offset is infinite."""
    for index, windows in enumerate(files):
        for _ in range(_SHIFTS_PER_FILE):
            steps = int(rng.integers(-max_steps, max_steps + 1))
            yield _cut(windows, steps, rng), steps * windows.step_s
        other = files[(index + 1) % len(files)]
        yield _cut(replace(windows, audio=other.audio[: len(windows.audio)]), 0, rng), np.inf
        picture, sound = (_frozen(rows) for rows in (windows.video, windows.audio))
        still = replace(windows, video=picture) if index % 2 else replace(windows, audio=sound)
        yield _cut(still, 0, rng), np.inf


def _cut(windows: Windows, steps: int, rng: np.random.Generator) -> Windows:
    """An excerpt with its sound moved; of random length, which must not tell the kinds apart."""
    length = len(windows.audio)
    n_steps = int(rng.integers(int(_LEAST_EXCERPT * length), length + 1))
    return shifted(windows, steps, int(rng.integers(0, length - n_steps + 1)), n_steps)


def _frozen(rows: Floats) -> Floats:
    """As it begins, all the time."""
    return np.repeat(rows[:1], len(rows), 0)


def _evidence(estimate: OffsetEstimate) -> Floats:
    return np.array([1.0, estimate.distance, np.log1p(estimate.lead)])


def _domain(features: Sequence[Floats]) -> tuple[Floats, Floats, float]:
    """Mean, inverse covariance, and the distance within which 99 % of the files lie."""
    fit = LedoitWolf().fit(np.concatenate(features).astype(np.float64))
    precision = fit.get_precision()
    distances = [_distance(rows, fit.location_, precision) for rows in features]
    return fit.location_, precision, float(np.quantile(distances, _DOMAIN_QUANTILE))


def _distance(features: Floats, mean: Floats, precision: Floats) -> float:
    """Root mean square Mahalanobis distance of rows (N, C) from a domain."""
    rows = features - mean
    return float(np.sqrt(np.einsum("nc,cd,nd->n", rows, precision, rows).mean()))


def _check_files(files: Sequence[Windows], max_offset_s: float) -> None:
    if not 0 < max_offset_s < np.inf:
        raise ValueError(f"max_offset_s: got {max_offset_s}, expected a positive number of seconds")
    if len(files) < 20:
        raise ValueError(f"files: got {len(files)}, expected at least 20 to calibrate on")
    shortest = min(len(windows.audio) for windows in files) * files[0].step_s
    if shortest <= max_offset_s / _LEAST_EXCERPT:
        raise ValueError(
            f"files: the shortest has windows over {shortest:.1f} s, expected more than "
            f"{max_offset_s / _LEAST_EXCERPT:.1f} s for offsets up to {max_offset_s} s"
        )
