"""Clips of labelled videos for fine-tuning, and for the test of what came of it.

Videos need no sound. One that is shorter than a clip shows its last frame until the clip is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from avts_ext.data import ClipSpec, MediaError, MediaReader
from avts_ext.data.probe import probe_open

__all__ = ["TestClips", "TrainingClips", "crop_resize", "read_pictures"]

# Frames are read this much larger for training, so that crops of them lose no resolution.
_MARGIN = 1.25

Item = tuple[int, Tensor | MediaError]


class TrainingClips(Dataset[Item]):
    """One random clip of each video: random start, scale, place and mirroring.

    A key (epoch, item) gives (label, frames (T, H, W, 3) uint8), a function of the seed and the
    key alone; in place of frames that cannot be read, their fault.

    Args:
        paths: the videos.
        labels: (N,) of each.
        spec: of the clips.
        seed: of the draws.
    """

    def __init__(
        self, paths: Sequence[Path], labels: NDArray[np.int64], spec: ClipSpec, seed: int
    ) -> None:
        self._paths, self._labels, self._spec, self._seed = paths, labels, spec, seed

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, item = key
        rng = np.random.default_rng([self._seed, epoch, item])
        place, scale, down, right = rng.uniform(size=4).tolist()
        size = (round(_MARGIN * self._spec.height), round(_MARGIN * self._spec.width))
        label = int(self._labels[item])
        try:
            frames = read_pictures(self._paths[item], self._spec, [place], size)[0]
        except MediaError as error:
            return label, error
        side = (1 + scale * (_MARGIN - 1)) / _MARGIN  # of the picture that is read
        frames = crop_resize(frames, side, down, right, (self._spec.height, self._spec.width))
        return label, frames.flip(2) if rng.random() < 0.5 else frames


class TestClips(Dataset[Item]):
    """Clips of each video, evenly spread: (label, frames (K, T, H, W, 3) uint8), or its fault.

    Args:
        paths: the videos.
        labels: (N,) of each.
        spec: of the clips.
        n_clips: K.
    """

    __test__ = False  # no test of pytest, in spite of its name

    def __init__(
        self, paths: Sequence[Path], labels: NDArray[np.int64], spec: ClipSpec, n_clips: int
    ) -> None:
        self._paths, self._labels, self._spec = paths, labels, spec
        self._places = np.linspace(0, 1, n_clips).tolist() if n_clips > 1 else [0.5]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, item: int) -> Item:
        label, size = int(self._labels[item]), (self._spec.height, self._spec.width)
        try:
            return label, read_pictures(self._paths[item], self._spec, self._places, size)
        except MediaError as error:
            return label, error


def read_pictures(
    path: Path, spec: ClipSpec, places: Sequence[float], size: tuple[int, int]
) -> Tensor:
    """Clips (K, T, height, width, 3) uint8 of a video; each of its frames is decoded once at most.

    Args:
        path: the video.
        spec: number and rate of the frames.
        places: K, where in the video: 0 begins with it, 1 ends with it.
        size: height and width in pixels.

    Raises:
        MediaError: the video is unusable.
    """
    with MediaReader(path, tracks="video") as reader:
        video = probe_open(reader).video
        assert video is not None
        first = Fraction(video.start_s)
        # The middle of the last frame: its end may be rounded past what is on display.
        last = Fraction(video.end_s - 0.5 / video.fps)
        latest = max(first, last - (spec.n_frames - 1) / spec.fps)
        starts = [first + Fraction(place) * (latest - first) for place in places]
        clips = [[min(time, last) for time in spec.frame_times(start)] for start in starts]
        times = sorted({time for clip in clips for time in clip})
        row = {time: i for i, time in enumerate(times)}
        frames = reader.frames_at(times, *size).frames
    return frames[torch.tensor([[row[time] for time in clip] for clip in clips])]


def crop_resize(
    frames: Tensor, side: float, down: float, right: float, size: tuple[int, int]
) -> Tensor:
    """Cut the same rectangle out of all frames and bring it to a size.

    Args:
        frames: (T, H, W, 3) uint8.
        side: its height and width, as a share of those of the frames.
        down, right: its place, 0 at the top or left edge and 1 at the other.
        size: height and width of the result.

    Returns:
        (T, height, width, 3) uint8.
    """
    height, width = (max(1, round(side * n)) for n in frames.shape[1:3])
    top = round(down * (frames.shape[1] - height))
    left = round(right * (frames.shape[2] - width))
    cut = frames[:, top : top + height, left : left + width]
    if (height, width) == size:
        return cut
    planes = cut.permute(0, 3, 1, 2).float()
    scaled = F.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
    return scaled.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
