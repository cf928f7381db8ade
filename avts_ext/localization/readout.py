"""One map per time step of a whole recording: where the sound comes from.

A clip's Grad-CAM is a noisy answer to two questions at once: what looks like something that is
heard, and what moves in time with the sound. The read-out

- asks the second one alone (*offset contrast*): from the sound of a clip it takes off the mean
  sound of the moments around, whose events are the same kind but at other times. Maps are linear
  in the sound while their negative parts are kept, so this is the map of the clip minus the mean
  map with shifted sound, for the price of one;
- slides the clip over the recording one time step at a time and averages all maps that show the
  same moment;
- lets every moment borrow from its neighbours in time, because a source that is silent between two
  events is still there. Only then is what speaks against a place cut off at zero.

Without the contrast, a map of one sounding object need not listen to hit it. Print every figure
beside those of `controls`, of the recording with the sound of another one, and of the read-out
without any sound (``waveform=None``: the feature energy of the video tower).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avts_ext.data.clips import ClipSpec
from avts_ext.evaluation.inference import inference
from avts_ext.localization.cam import grad_cam
from avts_ext.localization.geometry import CellGrid, cell_grid, upsample
from avts_ext.localization.hooks import OutputHook
from avts_ext.models.avts import AVTS

__all__ = [
    "SoundMaps",
    "agreement",
    "average_windows",
    "blur",
    "contrast_embeddings",
    "locate",
    "locate_sources",
    "similarity",
    "sound_windows",
    "track",
]

TRACK_SIGMA_S = 0.45
# The moments whose sound is taken off: far enough for the events to be others, near enough for the
# scene to be the same.
CONTRAST_FROM_S, CONTRAST_TO_S = 0.5, 1.5
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
        maps: (N, H, W) float32, not negative; one value per pixel. Of one scale for all recordings
            and sounds of a model, so that the strength of maps may be compared.
        times_s: (N,) float64, seconds after the first frame.
    """

    maps: Tensor
    times_s: Tensor

    def nearest(self, times_s: Tensor) -> Tensor:
        """The maps (K, H, W) of the moments nearest to ``times_s`` (K,), such as all frames'."""
        distance_s = (times_s.to(self.times_s)[:, None] - self.times_s).abs()
        return self.maps[distance_s.argmin(1)]


def locate(model: AVTS, frames: Tensor, waveform: Tensor | None, **options: Any) -> SoundMaps:
    """Maps of a recording, one per time step of the video tower.

    Args:
        model: a `models.AVTS`.
        frames: (F, H, W, 3) uint8 at the model's frame rate, at least one clip long.
        waveform: (S,) float32 from the time of the first frame on, at least as long as the clips;
            None for the control without sound.
        options: of `locate_sources`.

    Raises:
        ValueError: as `locate_sources`.
    """
    if waveform is not None and waveform.ndim != 1:
        raise ValueError(f"waveform: got shape {tuple(waveform.shape)}, expected (S,)")
    return locate_sources(model, frames, [waveform], **options)[0]


def locate_sources(
    model: AVTS,
    frames: Tensor,
    waveforms: Sequence[Tensor | None],
    *,
    contrast: bool = True,
    layer: str | None = None,
    before: str | None = None,
    mirror: str = "none",
    shift_sigma_s: float = 0.0,
    track_sigma_s: float = TRACK_SIGMA_S,
    blur_sigma_px: float = 2.0,
    batch_size: int = 32,
) -> list[SoundMaps]:
    """Maps of one picture for several sounds, such as those of separated sources.

    A feature may have learned to answer at one side of an object, say always below it. Such a
    bias cancels between the maps of a picture and of its mirror images (`mirror`); it can only
    build up along an axis that training does not flip.

    Args:
        model: a `models.AVTS`.
        frames: (F, H, W, 3) uint8 at the model's frame rate, at least one clip long.
        waveforms: each (S,) float32 from the time of the first frame on, at least as long as the
            clips; None for the control without sound.
        contrast: take off the sound of other moments, see above. Where a recording has none half
            a second away, nothing is taken off.
        layer: name of the video tower's submodule whose map it is; None is its last convolution.
        before: name of an earlier layer of the tower with a finer grid, such as "layer1" of
            ``mc3_small``, whose similarity to what the map found sharpens it; None leaves it out.
        mirror: "none", or average over the mirror images: "vertical" (upside down) or "both" (all
            four combinations of upside down and left to right).
        shift_sigma_s: average each map over small shifts of the sound, with a Gaussian of this
            width; 0 does not.
        track_sigma_s: width of the Gaussian in time.
        blur_sigma_px: width of the Gaussian in the picture.
        batch_size: clips at a time; does not change the result.

    Returns:
        Maps for each waveform.

    Raises:
        ValueError: too few frames or samples, an unknown ``mirror`` or layer, or a width below 0.
    """
    widths = {
        "shift_sigma_s": shift_sigma_s,
        "track_sigma_s": track_sigma_s,
        "blur_sigma_px": blur_sigma_px,
    }
    _check_recording(model.config.clip, frames, waveforms, widths)
    if mirror not in _MIRRORED_AXES:
        raise ValueError(f"mirror: got {mirror!r}, expected one of {', '.join(_MIRRORED_AXES)}")
    grid = cell_grid(model.video, layer)
    step = int(grid.stride[0])
    n_windows = (len(frames) - model.config.clip.n_frames) // step + 1
    with inference(model):
        sounds = [
            None
            if waveform is None
            else _window_sounds(model, waveform, n_windows, step, contrast, shift_sigma_s)
            for waveform in waveforms
        ]
        images = [
            _locate(model, frames.flip(axes), sounds, layer, before, track_sigma_s, batch_size)
            for axes in _MIRRORED_AXES[mirror]
        ]
    found = []
    for of_sound in zip(*images, strict=True):
        upright = [
            _mean_one(maps.flip(axes))
            for maps, axes in zip(of_sound, _MIRRORED_AXES[mirror], strict=True)
        ]
        scale = torch.stack([maps.mean() for maps in of_sound]).mean()
        mean = scale * blur(torch.stack(upright).mean(0), blur_sigma_px)
        steps = torch.arange(len(mean), dtype=torch.float64) * step + grid.first[0]
        found.append(SoundMaps(mean, steps / float(model.config.clip.fps)))
    return found


def agreement(
    model: AVTS, frames: Tensor, waveforms: Sequence[Tensor], *, batch_size: int = 32
) -> list[float]:
    """Whether sounds come from a picture at all: what the maps divide among its places.

    Args:
        model: a `models.AVTS`.
        frames: (F, H, W, 3) uint8 at the model's frame rate, at least one clip long.
        waveforms: each (S,) float32, as for `locate_sources`.
        batch_size: clips at a time; does not change the result.

    Returns:
        For each waveform the mean cosine, in [-1, 1], of the embeddings of picture and sound over
        all clips of the recording.
    """
    clip, step = model.config.clip, int(cell_grid(model.video).stride[0])
    _check_recording(clip, frames, waveforms, {})
    clips = frames.unfold(0, clip.n_frames, step).permute(0, 4, 1, 2, 3)
    with inference(model):
        pictures = torch.cat([model.embed_video(part) for part in clips.split(batch_size)])
        sounds = [
            model.embed_audio(sound_windows(waveform, clip, step, len(clips)))
            for waveform in waveforms
        ]
    return [float(F.cosine_similarity(pictures, sound).mean()) for sound in sounds]


def contrast_embeddings(embeddings: Tensor, step_s: float) -> Tensor:
    """Each embedding minus the mean of those of other moments around it.

    Args:
        embeddings: (W, D), of clips that begin ``step_s`` apart.
        step_s: seconds.

    Returns:
        (W, D); a clip without another one half to one and a half seconds away stays as it is.
    """
    place = torch.arange(len(embeddings), dtype=torch.float64) * step_s
    distance_s = (place[:, None] - place).abs()
    # Steps are sums of binary fractions at most times; a little slack keeps the ends in.
    others = (distance_s > CONTRAST_FROM_S - 1e-6) & (distance_s < CONTRAST_TO_S + 1e-6)
    weights = others.to(embeddings) / others.sum(1, keepdim=True).clamp(min=1)
    return embeddings - weights @ embeddings


def _window_sounds(
    model: AVTS,
    waveform: Tensor,
    n_windows: int,
    step: int,
    contrast: bool,
    shift_sigma_s: float,
) -> Tensor:
    """(W, D): what the picture of each clip is to agree with."""
    clip = model.config.clip
    shifts_s = torch.linspace(-2, 2, 5) * shift_sigma_s if shift_sigma_s else torch.zeros(1)
    weights = torch.exp(-0.5 * (shifts_s / (shift_sigma_s or 1)) ** 2)
    sounds = torch.stack(
        [
            model.embed_audio(sound_windows(waveform, clip, step, n_windows, float(shift_s)))
            for shift_s in shifts_s
        ]
    )
    mean = torch.einsum("k,kwd->wd", (weights / weights.sum()).to(sounds), sounds)
    return contrast_embeddings(mean, step / float(clip.fps)) if contrast else mean


def _locate(
    model: AVTS,
    frames: Tensor,
    sounds: list[Tensor | None],
    layer: str | None,
    before: str | None,
    track_sigma_s: float,
    batch_size: int,
) -> list[Tensor]:
    """The maps (N, H, W) of the picture as it is for each sound, not blurred."""
    clip, grid = model.config.clip, cell_grid(model.video, layer)
    size = frames.shape[1], frames.shape[2]
    step = int(grid.stride[0])
    clips = frames.unfold(0, clip.n_frames, step).permute(0, 4, 1, 2, 3)
    maps, earlier = [], []
    with OutputHook(_submodule(model.video, before)) as seen:
        for first in range(0, len(clips), batch_size):
            batch = slice(first, first + batch_size)
            maps.append(_clip_maps(model, clips[batch], [_part(s, batch) for s in sounds], layer))
            if before is not None:
                earlier.append(seen.value.detach())
    sigma_steps = track_sigma_s * float(clip.fps) / step
    found = []
    for of_sound in torch.cat(maps).unbind(1):
        pixels = upsample(track(average_windows(of_sound), sigma_steps).relu(), grid, size)
        if before is not None:
            earlier_grid = cell_grid(model.video, before)
            # An earlier layer may keep more steps in time; those of the map are among them.
            every = round(step / earlier_grid.stride[0])
            features = average_windows(torch.cat(earlier)[:, :, ::every].transpose(1, 2))
            # Tracked like the map: an object looks unlike itself for the moment of an event.
            alike = track(similarity(pixels, features, earlier_grid), sigma_steps)
            pixels = pixels * alike.sqrt()
        found.append(pixels)
    return found


def _clip_maps(
    model: AVTS, clips: Tensor, sounds: list[Tensor | None], layer: str | None
) -> Tensor:
    """(B, K, T', h, w) signed maps of clips for K sounds; without a sound, their energy."""
    heard = [sound for sound in sounds if sound is not None]
    with OutputHook(_submodule(model.video, layer) or model.video) as kept:
        if heard:
            cams = grad_cam(model, clips, torch.stack(heard, 1), layer=layer, signed=True)
        else:
            model.video_features(model.video_input(clips))
    found = iter(cams.unbind(1)) if heard else iter(())
    energy = kept.value.detach().relu().sum(1)
    return torch.stack([energy if sound is None else next(found) for sound in sounds], 1)


def _submodule(tower: torch.nn.Module, name: str | None) -> torch.nn.Module | None:
    return None if name is None else tower.get_submodule(name)


def _part(sound: Tensor | None, batch: slice) -> Tensor | None:
    return None if sound is None else sound[batch]


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


def sound_windows(
    waveform: Tensor, clip: ClipSpec, step: int, n_windows: int, shift_s: float = 0.0
) -> Tensor:
    """The sound of each clip of a recording, to the nearest sample.

    Args:
        waveform: (S,) of the recording, at least one clip long.
        clip: what a clip is.
        step: frames from one clip to the next.
        n_windows: number of clips W.
        shift_s: how much later the sound is taken, as far as there is any.

    Returns:
        (W, n_samples).
    """
    last = len(waveform) - clip.n_samples
    starts = [
        round((window * step / clip.fps + shift_s) * clip.sample_rate)
        for window in range(n_windows)
    ]
    starts = [min(max(start, 0), last) for start in starts]
    return torch.stack([waveform[start : start + clip.n_samples] for start in starts])


def _gaussian(n: int, sigma: float) -> Tensor:
    """(n, n) float64 weights of a Gaussian average over n places, rows sum to 1."""
    if sigma == 0:
        return torch.eye(n, dtype=torch.float64)
    place = torch.arange(n, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    return weights / weights.sum(1, keepdim=True)


def _check_recording(
    clip: ClipSpec,
    frames: Tensor,
    waveforms: Sequence[Tensor | None],
    widths: dict[str, float],
) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or len(frames) < clip.n_frames:
        raise ValueError(
            f"frames: got shape {tuple(frames.shape)}, expected (F, H, W, 3), "
            f"F at least {clip.n_frames}"
        )
    if not waveforms:
        raise ValueError("waveforms: got none, expected at least one")
    needed = int(len(frames) / clip.fps * clip.sample_rate)
    for waveform in waveforms:
        if waveform is not None and (waveform.ndim != 1 or len(waveform) < needed):
            raise ValueError(
                f"waveform: got shape {tuple(waveform.shape)}, expected (S,), S at least {needed}"
            )
    for name, sigma in widths.items():
        if not 0 <= sigma < math.inf:
            raise ValueError(f"{name}: got {sigma}, expected at least 0")
