"""Embeddings of a whole file: windows of picture and windows of sound on one fine grid of time.

**When is a window of picture?** A frame that is on display at t came up to one frame period before
t. In training, clips begin anywhere, so a network learns pictures that are half a period old on
average. Windows that begin on a grid meet every frame at the same age, and would put the picture
early or late by up to half a period (31 ms at 16 frames per second). Hence the time of a window is
taken from its frames: the middle of the times at which they are on display.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avts_ext.data.clips import ClipSpec
from avts_ext.data.source import ClipSource
from avts_ext.evaluation.inference import inference
from avts_ext.models.avts import AVTS

__all__ = ["STEPS_PER_WINDOW", "Windows", "embed_windows", "step_of"]

Floats = NDArray[np.floating]

# Windows of sound begin every quarter of the model's frame period, windows of picture every half.
STEPS_PER_FRAME = 4
STEPS_PER_WINDOW = 2
# Read and embedded at a time, so that memory does not grow with the file.
_PIECE_S = 16
_BATCH = 64


@dataclass(frozen=True)
class Windows:
    """A file as the two towers see it.

    Window of sound j begins at j * ``step_s``, window of picture i at i * 2 * ``step_s``.

    Attributes:
        step_s: seconds between two windows of sound.
        video, audio: (V, D) and (A, D) float32 embeddings.
        video_features, audio_features: (V, C) and (A, C') float32, means of the towers' last maps.
        lead_s: how much later than its grid time a picture is, on average over the file.
        motion: (V,) float32, mean difference of neighbouring frames, in grey levels of 255.
        level_db: (A,) float32, root mean square of the sound in decibels of full scale.
    """

    step_s: float
    video: Floats
    audio: Floats
    video_features: Floats
    audio_features: Floats
    lead_s: float
    motion: Floats
    level_db: Floats


def step_of(spec: ClipSpec) -> Fraction:
    """Seconds between two windows of sound."""
    return 1 / (spec.fps * STEPS_PER_FRAME)


def embed_windows(
    model: AVTS,
    source: ClipSource,
    start_s: float,
    duration_s: float,
    *,
    file_fps: float,
    piece_s: int = _PIECE_S,
) -> Windows:
    """Embed a stretch of a file, of any length, a piece at a time.

    Args:
        model: a `models.AVTS`.
        source: an open file.
        start_s: beginning of a stretch with picture and sound, on the file's clock.
        duration_s: its length, at least that of one clip and two steps.
        file_fps: frames per second of the file.
        piece_s: seconds read at a time; does not change the result.

    Raises:
        ValueError: a stretch too short.
        MediaError: the file cannot be read.
    """
    spec, step = model.config.clip, step_of(model.config.clip)
    usable_s = Fraction(duration_s) - Fraction(1, spec.sample_rate)
    last = int((usable_s - spec.duration) / step)
    if last < STEPS_PER_WINDOW:
        raise ValueError(
            f"{source.path}: picture and sound last {duration_s:.2f} s together, expected at least "
            f"{float(spec.duration + STEPS_PER_WINDOW * step):.2f} s"
        )
    per_piece = max(STEPS_PER_WINDOW, int(piece_s / step) // STEPS_PER_WINDOW * STEPS_PER_WINDOW)
    parts = []
    with inference(model):
        for first in range(0, last + 1, per_piece):
            steps = min(per_piece, last + 1 - first)
            begin = Fraction(start_s) + first * step
            parts.append(_embed_piece(model, source, begin, steps, 1 / file_fps))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    lead_s = float(joined.pop("lead_s").mean())
    return Windows(step_s=float(step), lead_s=lead_s, **joined)


def _embed_piece(
    model: AVTS, source: ClipSource, start_s: Fraction, n_steps: int, frame_s: float
) -> dict[str, Floats]:
    """Windows that begin at the first ``n_steps`` steps from ``start_s`` on."""
    frames, lead_s, motion = _picture_windows(source, start_s, n_steps, model.config.clip, frame_s)
    sounds = _sound_windows(source, start_s, n_steps, model.config.clip)
    device = next(model.parameters()).device
    video, audio = [], []
    for clips in frames.split(_BATCH):
        features = model.video_features(model.video_input(clips.to(device)))
        video.append((model.normalize(model.project_video(features)), features.mean((2, 3, 4))))
    for clips in sounds.split(_BATCH):
        features = model.audio_features(model.audio_input(clips.to(device)))
        audio.append((model.normalize(model.project_audio(features)), features.mean((2, 3))))
    power = sounds.double().square().mean(1).clamp(min=1e-12)
    return {
        "video": _joined(video, 0),
        "audio": _joined(audio, 0),
        "video_features": _joined(video, 1),
        "audio_features": _joined(audio, 1),
        "lead_s": lead_s,
        "motion": motion,
        "level_db": (10 * power.log10()).float().numpy(),
    }


def _joined(pairs: list[tuple[Tensor, Tensor]], which: int) -> Floats:
    return torch.cat([pair[which] for pair in pairs]).cpu().numpy()


def _picture_windows(
    source: ClipSource, start_s: Fraction, n_steps: int, spec: ClipSpec, frame_s: float
) -> tuple[Tensor, Floats, Floats]:
    """(V, T, H, W, 3) uint8, how much later each is than its grid time, and how much moves."""
    dilation = STEPS_PER_FRAME // STEPS_PER_WINDOW
    length = (spec.n_frames - 1) * dilation + 1
    n_frames = -(-n_steps // STEPS_PER_WINDOW) - 1 + length
    fine = replace(spec, fps=spec.fps * dilation, n_frames=n_frames)
    frames, times_s = source.read_frames(start_s, fine)
    asked_s = float(start_s) + np.arange(n_frames) / float(fine.fps)
    lead_s = times_s.numpy() + frame_s / 2 - asked_s
    changes = (frames[dilation:].to(torch.int16) - frames[:-dilation]).abs().float().mean((1, 2, 3))
    windows = frames.unfold(0, length, 1).permute(0, 4, 1, 2, 3)[:, ::dilation]
    motion = _mean_over_windows(changes.numpy(), length - dilation, dilation)
    return windows, _mean_over_windows(lead_s, length, dilation), motion


def _mean_over_windows(values: Floats, length: int, dilation: int) -> Floats:
    """Mean of every ``dilation``-th of ``length`` values, from each of them on."""
    return np.lib.stride_tricks.sliding_window_view(values, length)[:, ::dilation].mean(1)


def _sound_windows(source: ClipSource, start_s: Fraction, n_steps: int, spec: ClipSpec) -> Tensor:
    """(A, n_samples) float32."""
    step = step_of(spec)
    duration = (n_steps - 1) * step + spec.duration
    waveform, _ = source.read_audio(start_s, duration, spec.sample_rate)
    starts = [round(k * step * spec.sample_rate) for k in range(n_steps)]
    starts = [min(start, len(waveform) - spec.n_samples) for start in starts]
    return torch.stack([waveform[start : start + spec.n_samples] for start in starts])
