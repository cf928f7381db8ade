"""The report on one file: offset, confidence, offset over time, and why not where there is none.

**Sign: positive = audio late**: the sound that belongs to the picture at t is found at t + offset.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avts_ext.data.media import MediaReader
from avts_ext.data.probe import probe_open
from avts_ext.models.avts import AVTS
from avts_ext.sync_report.calibration import SyncCalibration
from avts_ext.sync_report.offsets import estimate_offset, lag_distances, mean_curve
from avts_ext.sync_report.windows import STEPS_PER_WINDOW, Windows, embed_windows

__all__ = ["CONVENTION", "Segment", "SyncReport", "Verdict", "report_on", "report_on_windows"]

Floats = NDArray[np.floating]
Verdict = Literal["in sync", "out of sync", "drifts", "cannot tell"]

CONVENTION = "positive = audio late"
# Viewers notice sound that is 45 ms early or 125 ms late (ITU-R BT.1359): the stricter, both ways.
IN_SYNC_S = 0.045
# Below this confidence the answer is "cannot tell".
LEAST_CONFIDENCE = 0.5
SILENT_DB = -60.0
STILL_LEVELS = 0.5
# Mean distance of embeddings of length 1 from their mean; a steady tone or noise stays below.
STEADY_SPREAD = 0.2
SEGMENT_S = 8.0
# A drift is told from noise by at least three confident segments, a change over the file that
# matters, and three standard errors.
_LEAST_SEGMENTS = 3
_DRIFT_ERRORS = 3.0


@dataclass(frozen=True)
class Segment:
    """The offset in one part of a file."""

    start_s: float
    end_s: float
    offset_s: float
    confidence: float


@dataclass(frozen=True, eq=False)
class SyncReport:
    """What is known of one file.

    Attributes:
        path: the file.
        verdict: "in sync" (to 45 ms), "out of sync", "drifts" or "cannot tell".
        offset_s: positive = audio late. Of a file that drifts, in its middle. The best guess even
            where one cannot tell.
        confidence: probability, in [0, 1], that the offset is right to 100 ms; see `calibration`.
        drift_s_per_min: change of the offset in a minute, 0 where none was found.
        reasons: why confidence is low, in words; empty where it is not.
        novelty_video, novelty_audio: distance from the material that the model knows; above 1 it
            lowers the confidence, at 2 none is left.
        start_s: of the stretch with both picture and sound, on the file's clock.
        duration_s: its length.
        segments: the offset over time.
        offsets_s: (K,) that were tried.
        curve: (K,) mean distance at each, NaN where too few windows have a partner.
    """

    path: str
    verdict: Verdict
    offset_s: float
    confidence: float
    drift_s_per_min: float
    reasons: tuple[str, ...]
    novelty_video: float
    novelty_audio: float
    start_s: float
    duration_s: float
    segments: tuple[Segment, ...]
    offsets_s: Floats
    curve: Floats

    def summary(self) -> str:
        """One line for a person."""
        sign = "late" if self.offset_s > 0 else "early"
        guess = f"audio {abs(self.offset_s):.3f} s {sign}"
        drift = f", changing by {self.drift_s_per_min:+.3f} s per minute"
        told = {
            "in sync": f"in sync ({self.offset_s:+.3f} s)",
            "out of sync": f"out of sync: {guess}",
            "drifts": f"drifts: {guess} in the middle{drift}",
            "cannot tell": "cannot tell",
        }
        return f"{told[self.verdict]}; confidence {self.confidence:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types; values that are not there are null."""
        record = asdict(self) | {"convention": CONVENTION}
        record["offsets_s"] = self.offsets_s.tolist()
        record["curve"] = [float(v) if np.isfinite(v) else None for v in self.curve]
        return record


def report_on(
    path: str | os.PathLike[str], model: AVTS, calibration: SyncCalibration
) -> SyncReport:
    """Report on a media file of any length, read a piece at a time.

    Raises:
        MediaError: the file is unusable.
        ValueError: its picture and sound last hardly longer than one clip together.
    """
    with MediaReader(path) as reader:
        info = probe_open(reader)
        assert info.video is not None  # asked for
        windows = embed_windows(
            model, reader, info.start_s, info.duration_s, file_fps=info.video.fps
        )
    report = report_on_windows(windows, calibration)
    return replace(report, path=os.fspath(path), start_s=info.start_s, duration_s=info.duration_s)


def report_on_windows(windows: Windows, calibration: SyncCalibration) -> SyncReport:
    """Report on what the two towers made of a file; path and times are left empty."""
    step_s = windows.step_s
    max_steps = round(calibration.max_offset_s / step_s)
    distances = lag_distances(windows, max_steps)
    familiarity = calibration.familiarity(windows)
    correction_s = windows.lead_s + calibration.bias_s

    def judge(rows: Floats) -> tuple[float, float]:
        estimate = estimate_offset(rows, step_s)
        return estimate.offset_s - correction_s, calibration.probability(estimate) * familiarity

    segments = _segments(distances, STEPS_PER_WINDOW * step_s, judge)
    drift = _drift(segments)
    if drift:
        # Followed along the drift, the windows of all segments tell of one offset again.
        distances = _straightened(distances, drift * STEPS_PER_WINDOW)
    offset_s, confidence = judge(distances)
    nothing = _nothing_to_go_by(windows)
    if nothing:
        confidence = 0.0
    novelty_video, novelty_audio = calibration.novelty(windows)
    return SyncReport(
        path="",
        verdict=_verdict(offset_s, confidence, drift),
        offset_s=offset_s,
        confidence=confidence,
        drift_s_per_min=60 * drift,
        reasons=nothing or _doubts(confidence, novelty_video, novelty_audio),
        novelty_video=novelty_video,
        novelty_audio=novelty_audio,
        start_s=0.0,
        duration_s=0.0,
        segments=segments,
        offsets_s=np.arange(-max_steps, max_steps + 1) * step_s - correction_s,
        curve=mean_curve(distances),
    )


def _segments(
    distances: Floats, row_s: float, judge: Callable[[Floats], tuple[float, float]]
) -> tuple[Segment, ...]:
    """Equal parts of a file, of about `SEGMENT_S`, each judged by itself."""
    n_segments = max(1, round(len(distances) * row_s / SEGMENT_S))
    edges = np.linspace(0, len(distances), n_segments + 1).round().astype(int).tolist()
    return tuple(
        Segment(first * row_s, last * row_s, *judge(distances[first:last]))
        for first, last in itertools.pairwise(edges)
    )


def _drift(segments: Sequence[Segment]) -> float:
    """Change of the offset in seconds per second, by Theil and Sen; 0 where it may be noise."""
    sure = [segment for segment in segments if segment.confidence >= LEAST_CONFIDENCE]
    if len(sure) < _LEAST_SEGMENTS:
        return 0.0
    times_s = np.array([(segment.start_s + segment.end_s) / 2 for segment in sure])
    offsets_s = np.array([segment.offset_s for segment in sure])
    pairs = list(itertools.combinations(range(len(sure)), 2))
    slopes = [(offsets_s[b] - offsets_s[a]) / (times_s[b] - times_s[a]) for a, b in pairs]
    slope = float(np.median(slopes))
    residuals_s = offsets_s - slope * times_s
    noise_s = 1.4826 * float(np.median(abs(residuals_s - np.median(residuals_s))))
    error = noise_s / (float(times_s.std()) * np.sqrt(len(sure)))
    matters = abs(slope) * (times_s[-1] - times_s[0]) > IN_SYNC_S
    return slope if matters and abs(slope) > _DRIFT_ERRORS * error else 0.0


def _straightened(distances: Floats, steps_per_row: float) -> Floats:
    """Rows moved so that an offset that changes by so many columns a row stays in one column."""
    n_rows, n_lags = distances.shape
    moved = np.full_like(distances, np.nan)
    for row in range(n_rows):
        shift = round((row - (n_rows - 1) / 2) * steps_per_row)
        kept = slice(max(0, -shift), min(n_lags, n_lags - shift))
        moved[row, kept] = distances[row, max(0, shift) : n_lags + min(0, shift)]
    return moved


def _nothing_to_go_by(windows: Windows) -> tuple[str, ...]:
    """Why no method could tell, if so."""
    if windows.level_db.max() < SILENT_DB:
        return ("the sound is silent",)
    if windows.motion.max() < STILL_LEVELS:
        return ("the picture does not move",)
    if _spread(windows.audio) < STEADY_SPREAD:
        return ("the sound hardly changes",)
    if _spread(windows.video) < STEADY_SPREAD:
        return ("the picture hardly changes",)
    return ()


def _spread(embeddings: Floats) -> float:
    return float(np.linalg.norm(embeddings - embeddings.mean(0), axis=1).mean())


def _doubts(confidence: float, novelty_video: float, novelty_audio: float) -> tuple[str, ...]:
    found = []
    if novelty_video > 1:
        found.append("the picture is unlike what the model knows")
    if novelty_audio > 1:
        found.append("the sound is unlike what the model knows")
    if confidence < LEAST_CONFIDENCE and not found:
        found.append("no offset stands out")
    return tuple(found)


def _verdict(offset_s: float, confidence: float, drift: float) -> Verdict:
    if confidence < LEAST_CONFIDENCE:
        return "cannot tell"
    if drift:
        return "drifts"
    return "in sync" if abs(offset_s) <= IN_SYNC_S else "out of sync"
