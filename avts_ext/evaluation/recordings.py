"""Puts the questions of `sync` and `probe` to a network, about recordings on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avts_ext.data import CachedReader, ClipSource, ClipSpec, MediaEntry, MediaReader
from avts_ext.data.clips import Pictures
from avts_ext.data.placement import Extent
from avts_ext.evaluation.inference import inference
from avts_ext.evaluation.probe import conv5_features
from avts_ext.evaluation.random_network import random_network
from avts_ext.evaluation.sync import (
    PairScore,
    SyncQuestions,
    offset_curve,
    parabolic_minimum,
    score_pairs,
    sync_questions,
)
from avts_ext.models.avts import AVTS

__all__ = [
    "Recording",
    "answer",
    "distances",
    "estimate_offset",
    "longest_stretch",
    "open_entry",
    "open_recording",
    "questions_about",
    "read_whole",
    "recording_features",
    "untrained_network",
]

_CALIBRATION_CLIPS = 32


@dataclass(frozen=True)
class Recording:
    """A stretch of a media file that has both picture and sound.

    Attributes:
        source: an open reader of the file or of its cache.
        start_s: beginning of the stretch on the file's clock.
        duration_s: its length.
    """

    source: ClipSource
    start_s: float
    duration_s: float

    def usable_s(self, spec: ClipSpec) -> float:
        """Length within which a clip always fits, whichever way its samples are rounded."""
        return self.duration_s - 1 / spec.sample_rate


def longest_stretch(entry: MediaEntry) -> tuple[float, float]:
    """Start and length in seconds of the longest usable stretch of a file.

    Raises:
        ValueError: the medium lies in a shard, which is read from end to end, not here and there.
    """
    if entry.shard is not None:
        raise ValueError(
            f"media: {entry.path} lies in a shard; evaluation needs files of their own"
        )
    begin_s, end_s = max(entry.usable_s, key=lambda span: span[1] - span[0])
    return begin_s, end_s - begin_s


def open_recording(
    path: str | os.PathLike[str],
    start_s: float,
    duration_s: float,
    spec: ClipSpec,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Recording:
    """A stretch of a file, read from the cache if there is one.

    Without a cache the file is opened for each request, so that a set of recordings may be larger
    than the number of files that may be open.
    """
    source: ClipSource = (
        _OnDemand(path) if cache_dir is None else CachedReader(path, cache_dir, spec)
    )
    return Recording(source, start_s, duration_s)


def open_entry(
    entry: MediaEntry, spec: ClipSpec, cache_dir: str | os.PathLike[str] | None = None
) -> Recording:
    """`open_recording` of the longest usable stretch; errors as of `longest_stretch`."""
    return open_recording(entry.path, *longest_stretch(entry), spec, cache_dir)


class _OnDemand(ClipSource):
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def frames_at(self, times: Sequence[Fraction], height: int, width: int) -> Pictures:
        with MediaReader(self.path) as reader:
            return reader.frames_at(times, height, width)

    def onsets(self, start: Fraction, end: Fraction) -> list[Fraction]:
        with MediaReader(self.path) as reader:
            return reader.onsets(start, end)

    def samples(self, first: int, last: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        with MediaReader(self.path) as reader:
            return reader.samples(first, last, sample_rate)

    def extent(self, sample_rate: int) -> Extent:
        with MediaReader(self.path) as reader:
            return reader.extent(sample_rate)

    def close(self) -> None:
        pass  # nothing stays open


def untrained_network(model: AVTS, recordings: Sequence[Recording], seed: int) -> AVTS:
    """`random_network`, its statistics from the beginnings of some recordings."""
    spec, device = model.config.clip, _device(model)
    clips = [r.source.read_clip(r.start_s, spec) for r in recordings[:_CALIBRATION_CLIPS]]
    frames = torch.stack([clip.frames for clip in clips]).to(device)
    waveforms = torch.stack([clip.waveform for clip in clips]).to(device)
    return random_network(model, frames, waveforms, seed)


def questions_about(
    recordings: Sequence[Recording], kind: str, n_questions: int, spec: ClipSpec, seed: int = 0
) -> SyncQuestions:
    """Fixed questions of one kind about these recordings, see `sync.sync_questions`."""
    durations_s = [recording.usable_s(spec) for recording in recordings]
    return sync_questions(durations_s, kind, n_questions, clip_s=spec.duration_s, seed=seed)


def answer(
    model: AVTS, recordings: Sequence[Recording], questions: SyncQuestions, batch_size: int = 32
) -> PairScore:
    """The network's score at questions about these recordings; arguments as of `distances`."""
    return score_pairs(*distances(model, recordings, questions, batch_size))


def distances(
    model: AVTS, recordings: Sequence[Recording], questions: SyncQuestions, batch_size: int = 32
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Distances (Q,) of each question's clip to its right and to its wrong sound.

    Args:
        model: a `models.AVTS`.
        recordings: those the questions were made for.
        questions: from `questions_about`.
        batch_size: clips at a time; does not change the result.
    """
    spec, device = model.config.clip, _device(model)
    right, wrong = [], []
    order = np.arange(len(questions.media))
    with inference(model):
        for batch in np.split(order, range(batch_size, len(order), batch_size)):
            asked = [(recordings[questions.media[q]], questions.start_s[q]) for q in batch]
            other = [
                (recordings[questions.wrong_media[q]], questions.wrong_start_s[q]) for q in batch
            ]
            clips = [r.source.read_clip(r.start_s + at_s, spec) for r, at_s in asked]
            video = model.embed_video(torch.stack([clip.frames for clip in clips]).to(device))
            own = model.embed_audio(torch.stack([clip.waveform for clip in clips]).to(device))
            sounds = torch.stack([_sound(r, at_s, spec) for r, at_s in other])
            foreign = model.embed_audio(sounds.to(device))
            right.append(torch.linalg.vector_norm(video - own, dim=1))
            wrong.append(torch.linalg.vector_norm(video - foreign, dim=1))
    return torch.cat(right).cpu().numpy(), torch.cat(wrong).cpu().numpy()


def estimate_offset(
    model: AVTS,
    recording: Recording,
    *,
    max_offset_s: float = 1.5,
    step_s: float = 0.125,
    n_windows: int = 3,
) -> float:
    """How late the sound of a recording is, in seconds; positive = audio late.

    Args:
        model: a `models.AVTS`.
        recording: at least one clip and twice ``max_offset_s`` long.
        max_offset_s: largest offset tried, both ways.
        step_s: distance of the offsets tried; the result is finer.
        n_windows: clips whose distances are averaged, spread over the recording.

    Raises:
        ValueError: a recording too short.
    """
    spec, device = model.config.clip, _device(model)
    last_s = recording.usable_s(spec) - spec.duration_s - max_offset_s
    if last_s < max_offset_s:
        raise ValueError(
            f"recording: got {recording.duration_s} s, expected more than "
            f"{spec.duration_s + 2 * max_offset_s} s for offsets up to {max_offset_s} s"
        )
    n_steps = round(max_offset_s / step_s)
    offsets_s = np.arange(-n_steps, n_steps + 1) * step_s
    starts_s = np.linspace(max_offset_s, last_s, n_windows)
    video, audio = [], []
    with inference(model):
        for start_s in starts_s:
            frames, _ = recording.source.read_frames(recording.start_s + start_s, spec)
            video.append(model.embed_video(frames[None].to(device))[0])
            sounds = [_sound(recording, start_s + offset_s, spec) for offset_s in offsets_s]
            audio.append(model.embed_audio(torch.stack(sounds).to(device)))
    curve = offset_curve(torch.stack(video).cpu().numpy(), torch.stack(audio).cpu().numpy())
    return parabolic_minimum(curve, offsets_s)


def recording_features(model: AVTS, recordings: Sequence[Recording]) -> NDArray[np.float32]:
    """Audio features for `probe.probe`: (N, D), the mean over each recording's clips end to end."""
    spec = model.config.clip
    rows = []
    for recording in recordings:
        n_clips = int(recording.usable_s(spec) / spec.duration_s)
        sounds = [_sound(recording, n * spec.duration_s, spec) for n in range(n_clips)]
        rows.append(conv5_features(model, torch.stack(sounds).to(_device(model))).mean(0))
    return np.stack(rows)


def read_whole(recording: Recording, spec: ClipSpec) -> tuple[Tensor, Tensor]:
    """All of a recording, for `localization.locate`.

    Returns:
        Frames (F, H, W, 3) uint8 at the rate of ``spec``, and the waveform (S,) float32 of the same
        time.
    """
    whole = replace(spec, n_frames=int(recording.usable_s(spec) * spec.fps))
    clip = recording.source.read_clip(recording.start_s, whole)
    return clip.frames, clip.waveform


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _sound(recording: Recording, at_s: float, spec: ClipSpec) -> Tensor:
    start_s = recording.start_s + at_s
    return recording.source.read_audio(start_s, spec.duration, spec.sample_rate)[0]
