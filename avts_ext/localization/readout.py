"""One map per time step of a whole recording: where the sound comes from.

A clip's Grad-CAM is a noisy answer. The read-out slides the clip over the recording one time step
at a time, averages all maps that show the same moment, and lets every moment borrow from its
neighbours in time, because a source that is silent between two events is still there.

A map of one sounding object need not listen to hit it: print every figure beside those of
`controls`, of the recording with the sound of another one, and of the read-out without any sound
(``waveform=None``: the feature energy of the video tower).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avts_ext.evaluation.inference import inference
from avts_ext.localization.cam import grad_cam
from avts_ext.localization.geometry import CellGrid, cell_grid, upsample
from avts_ext.models.avts import AVTS

__all__ = ["SoundMaps", "average_windows", "blur", "locate", "similarity", "track"]

TRACK_SIGMA_S = 0.45
# Axes of (F, H, W, ...) and of (N, H, W) alike.
_MIRRORED_AXES: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "vertical": ((), (1,)),
    "both": ((), (1,), (2,), (1, 2)),
}


@dataclass(frozen=True)
class SoundMaps:
    """Where the sound comes from, at N moments.

    Attributes:
        maps: (N, H, W) float32, not negative, of any scale; one value per pixel.
        times_s: (N,) float64, seconds after the first frame.
    """

    maps: Tensor
    times_s: Tensor

    def nearest(self, times_s: Tensor) -> Tensor:
        """The maps (K, H, W) of the moments nearest to ``times_s`` (K,), such as all frames'."""
        distance_s = (times_s.to(self.times_s)[:, None] - self.times_s).abs()
        return self.maps[distance_s.argmin(1)]


def locate(
    model: AVTS,
    frames: Tensor,
    waveform: Tensor | None,
    *,
    before: str | None = None,
    mirror: str = "none",
    track_sigma_s: float = TRACK_SIGMA_S,
    blur_sigma_px: float = 2.0,
    batch_size: int = 32,
) -> SoundMaps:
    """Maps of a recording, one per time step of the video tower.

    A feature may have learned to answer at one side of an object, say always below it. Such a
    bias cancels between the maps of a picture and of its mirror images (`mirror`); it can only
    build up along an axis that training does not flip.

    Args:
        model: a `models.AVTS`.
        frames: (F, H, W, 3) uint8 at the model's frame rate, at least one clip long.
        waveform: (S,) float32 from the time of the first frame on, at least as long as the clips;
            None for the control without sound.
        before: name of an earlier layer of the tower with a finer grid, such as "layer1" of
            ``mc3_small``, whose similarity to what the map found sharpens it; None leaves it out.
        mirror: "none", or average over the mirror images: "vertical" (upside down) or "both" (all
            four combinations of upside down and left to right).
        track_sigma_s: width of the Gaussian in time.
        blur_sigma_px: width of the Gaussian in the picture.
        batch_size: clips at a time; does not change the result.

    Raises:
        ValueError: too few frames or samples, an unknown ``mirror``, or a width below 0.
    """
    _check_recording(model, frames, waveform, track_sigma_s, blur_sigma_px)
    if mirror not in _MIRRORED_AXES:
        raise ValueError(f"mirror: got {mirror!r}, expected one of {', '.join(_MIRRORED_AXES)}")
    seen = [
        _locate(model, frames.flip(axes), waveform, before, track_sigma_s, batch_size)
        for axes in _MIRRORED_AXES[mirror]
    ]
    images = [
        _mean_one(found.maps.flip(axes))
        for found, axes in zip(seen, _MIRRORED_AXES[mirror], strict=True)
    ]
    return SoundMaps(blur(torch.stack(images).mean(0), blur_sigma_px), seen[0].times_s)


def _locate(
    model: AVTS,
    frames: Tensor,
    waveform: Tensor | None,
    before: str | None,
    track_sigma_s: float,
    batch_size: int,
) -> SoundMaps:
    """The maps of the picture as it is, not blurred."""
    clip, grid, size = model.config.clip, cell_grid(model.video), (frames.shape[1], frames.shape[2])
    step = int(grid.stride[0])
    clips = frames.unfold(0, clip.n_frames, step).permute(0, 4, 1, 2, 3)
    sounds = None if waveform is None else _sound_windows(waveform, clip, step, len(clips))
    maps, earlier = [], []
    with inference(model), _Output(model.video, before) as layer:
        for first in range(0, len(clips), batch_size):
            batch = slice(first, first + batch_size)
            features = model.video_features(model.video_input(clips[batch]))
            maps.append(_clip_maps(model, features, None if sounds is None else sounds[batch]))
            earlier.append(layer.value)
    sigma_steps = track_sigma_s * float(clip.fps) / step
    steps = track(average_windows(torch.cat(maps)), sigma_steps)
    pixels = upsample(steps, grid, size)
    if before is not None:
        earlier_grid = cell_grid(model.video, before)
        # An earlier layer may keep more steps in time; those of the map are among them.
        every = round(step / earlier_grid.stride[0])
        seen = average_windows(torch.cat(earlier)[:, :, ::every].transpose(1, 2))
        # Tracked like the map: an object looks unlike itself for the moment of an event.
        alike = track(similarity(pixels, seen, earlier_grid), sigma_steps)
        pixels = pixels * alike.sqrt()
    times_s = torch.arange(len(steps), dtype=torch.float64) * step + grid.first[0]
    return SoundMaps(pixels, times_s / float(clip.fps))


def _mean_one(maps: Tensor) -> Tensor:
    """Maps of one scale, so that every mirror image has the same say; no map stays none."""
    mean = maps.mean()
    return maps / mean if mean > 0 else maps


def average_windows(values: Tensor) -> Tensor:
    """Mean over all windows that show a moment.

    Args:
        values: (W, T, ...), step t of window w shows moment w + t.

    Returns:
        (W + T - 1, ...).
    """
    n_windows, n_steps = values.shape[:2]
    total = values.new_zeros(n_windows + n_steps - 1, *values.shape[2:])
    count = values.new_zeros(len(total), *[1] * (values.ndim - 2))
    for step in range(n_steps):
        total[step : step + n_windows] += values[:, step]
        count[step : step + n_windows] += 1
    return total / count


def track(maps: Tensor, sigma_steps: float) -> Tensor:
    """Gaussian average over time of maps (N, h, w); strong moments speak for weak neighbours."""
    return torch.einsum("ts,shw->thw", _gaussian(len(maps), sigma_steps).to(maps), maps)


def blur(maps: Tensor, sigma_px: float) -> Tensor:
    """Gaussian average over the picture of maps (N, H, W); flat maps stay flat up to the edge."""
    rows, columns = (_gaussian(size, sigma_px).to(maps) for size in maps.shape[1:])
    return rows @ maps @ columns.T


def similarity(maps: Tensor, features: Tensor, grid: CellGrid) -> Tensor:
    """How much each place looks like what the maps found, by an earlier layer's features.

    Args:
        maps: (N, H, W), not negative.
        features: (N, C, h, w) of the earlier layer at the same moments.
        grid: of ``features``.

    Returns:
        (N, H, W) in [0, 1]: cosine, negative ones 0, between the features of a cell and the mean
        of all features weighted by the maps, both measured from the recording's mean feature.
    """
    size = maps.shape[1], maps.shape[2]
    rows, columns = (
        (grid.first[axis] + grid.stride[axis] * torch.arange(features.shape[axis + 1]))
        .round()
        .long()
        .clamp(0, size[axis - 1] - 1)
        for axis in (1, 2)
    )
    weights = maps[:, rows][:, :, columns]
    centred = features - features.mean((0, 2, 3), keepdim=True)
    template = torch.einsum("nhw,nchw->c", weights, centred)
    cosine = F.cosine_similarity(centred, template[None, :, None, None], dim=1)
    return upsample(cosine.relu(), grid, size)


class _Output:
    """Context in which the last output of a tower's submodule is kept."""

    def __init__(self, tower: torch.nn.Module, name: str | None) -> None:
        self.value = torch.empty(0)
        self._module = None if name is None else tower.get_submodule(name)

    def __enter__(self) -> _Output:
        if self._module is not None:
            self._handle = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        if self._module is not None:
            self._handle.remove()

    def _keep(self, _module: torch.nn.Module, _args: object, output: Tensor) -> None:
        # Cloned, because a later layer may work in place.
        self.value = output.clone()


def _clip_maps(model: AVTS, features: Tensor, sounds: Tensor | None) -> Tensor:
    if sounds is None:
        return features.relu().sum(1)
    return grad_cam(features, model.project_video, model.embed_audio(sounds))


def _sound_windows(waveform: Tensor, clip: Any, step: int, n_windows: int) -> Tensor:
    """(W, n_samples) of the sound of each clip, to the nearest sample."""
    starts = [round(window * step / clip.fps * clip.sample_rate) for window in range(n_windows)]
    return torch.stack([waveform[start : start + clip.n_samples] for start in starts])


def _gaussian(n: int, sigma: float) -> Tensor:
    """(n, n) float64 weights of a Gaussian average over n places, rows sum to 1."""
    if sigma == 0:
        return torch.eye(n, dtype=torch.float64)
    place = torch.arange(n, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    return weights / weights.sum(1, keepdim=True)


def _check_recording(
    model: AVTS, frames: Tensor, waveform: Tensor | None, track_sigma_s: float, blur_sigma_px: float
) -> None:
    clip = model.config.clip
    if frames.ndim != 4 or frames.shape[3] != 3 or len(frames) < clip.n_frames:
        raise ValueError(
            f"frames: got shape {tuple(frames.shape)}, expected (F, H, W, 3), "
            f"F at least {clip.n_frames}"
        )
    if waveform is not None:
        needed = int(len(frames) / clip.fps * clip.sample_rate)
        if waveform.ndim != 1 or len(waveform) < needed:
            raise ValueError(
                f"waveform: got shape {tuple(waveform.shape)}, expected (S,), S at least {needed}"
            )
    for name, sigma in (("track_sigma_s", track_sigma_s), ("blur_sigma_px", blur_sigma_px)):
        if sigma < 0:
            raise ValueError(f"{name}: got {sigma}, expected at least 0")
