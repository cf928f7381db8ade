"""Maps of a media file: what `avts localize` writes."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avts_ext._files import write_atomically
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import MediaInfo
from avts_ext.localization.hearing import HeardMap
from avts_ext.localization.overlay import OverlayPainter, save_overlay_video, save_still
from avts_ext.localization.readout import SoundMaps
from avts_ext.localization.regions import Region, regions
from avts_ext.models.avts import AVTS

__all__ = ["Excerpt", "read_excerpt", "save_heard", "save_json", "save_pictures"]

JSON_VERSION = 1
_SHOWN_PX = 320
# Strength of the sound's map is told in steps of this length.
_HEARD_STEP_S = 0.1
_N_STILLS = 3
_STILLS_APART_S = 0.5


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a file, as the model sees it and as people do.

    Attributes:
        path: the file.
        start_s: on the file's clock.
        fps: frames per second of ``frames`` and ``shown``.
        sample_rate: of ``waveform``.
        frames: (F, H, W, 3) uint8, the model's.
        shown: (F, H', W', 3) uint8, of the same part of the picture.
        waveform: (S,) float32.
        to_file_px: (scale, left, top): pixel x of ``frames`` is at (x - left) * scale in the file.
    """

    path: str
    start_s: float
    fps: Fraction
    sample_rate: int
    frames: Tensor
    shown: Tensor
    waveform: Tensor
    to_file_px: tuple[float, float, float]


def read_excerpt(
    reader: MediaReader, info: MediaInfo, model: AVTS, start_s: float, duration_s: float
) -> Excerpt:
    """Read a stretch of a file, cut to what it has.

    Args:
        reader: of the file.
        info: what it holds.
        model: whose frame rate and size are read.
        start_s: seconds after the first moment with both picture and sound.
        duration_s: seconds at most.

    Raises:
        ValueError: a start outside the file, or less than a clip is left.
        MediaError: the file cannot be read.
    """
    spec = model.config.clip
    assert info.video is not None  # asked for
    left_s = info.duration_s - start_s - 1 / spec.sample_rate
    n_frames = int(min(left_s, duration_s) * spec.fps)
    if start_s < 0 or n_frames < spec.n_frames:
        raise ValueError(
            f"start_s, duration_s: got {start_s}, {duration_s}, expected at least "
            f"{spec.duration_s} s within the {info.duration_s:.2f} s that picture and sound of "
            f"{reader.path} last together"
        )
    begin_s, whole = info.start_s + start_s, replace(spec, n_frames=n_frames)
    clip = reader.read_clip(begin_s, whole)
    enlarged = max(1, round(_SHOWN_PX / min(spec.height, spec.width)))
    larger = replace(whole, height=spec.height * enlarged, width=spec.width * enlarged)
    shown, _ = reader.read_frames(begin_s, larger)
    width, height = info.video.width, info.video.height
    scale = min(height / spec.height, width / spec.width)
    left, top = (spec.width - width / scale) / 2, (spec.height - height / scale) / 2
    return Excerpt(
        reader.path,
        begin_s,
        spec.fps,
        spec.sample_rate,
        clip.frames,
        shown,
        clip.waveform,
        (scale, left, top),
    )


def save_pictures(
    excerpt: Excerpt, found: SoundMaps, waveform: Tensor, threshold: float, stem: Path
) -> list[str]:
    """Write ``STEM.mp4``, the overlay with its sound, and stills where the map is strongest.

    Returns:
        The names of the files.
    """
    times_s = torch.arange(len(excerpt.frames), dtype=torch.float64) / float(excerpt.fps)
    heat = found.nearest(times_s)
    size = excerpt.shown.shape[1], excerpt.shown.shape[2]
    large = F.interpolate(heat[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    painter = OverlayPainter(
        size, waveform.numpy(), excerpt.sample_rate, threshold, names=["found"]
    )
    scale = size[1] / heat.shape[2]
    pictures = []
    for frame, small, wide, time_s in zip(excerpt.shown, heat, large, times_s, strict=True):
        best = regions(small.numpy(), threshold)[:1]
        box = np.array(best[0].box) * scale if best else None
        pictures.append(painter.paint(frame.numpy(), wide.numpy(), float(time_s), box))
    save_overlay_video(
        stem.with_suffix(".mp4"), pictures, excerpt.fps, waveform.numpy(), excerpt.sample_rate
    )
    names = [f"{stem.name}.mp4"]
    for index in _strongest(heat.amax((1, 2)).numpy(), float(excerpt.fps)):
        name = f"{stem.name}.{float(times_s[index]):.2f}s.png"
        save_still(stem.with_name(name), pictures[index])
        names.append(name)
    return names


def save_json(
    excerpt: Excerpt, found: SoundMaps, heard: HeardMap, threshold: float, path: Path, **facts: Any
) -> None:
    """Write peaks and boxes of every frame, and when and in which bands the picture is heard.

    Boxes and peaks are in pixels of the file. ``strength`` is a map's maximum relative to the
    greatest of the file.
    """
    times_s = torch.arange(len(excerpt.frames), dtype=torch.float64) / float(excerpt.fps)
    heat = found.nearest(times_s).numpy()
    greatest = max(float(heat.max()), np.finfo(np.float32).tiny)
    frames = [
        {
            "time_s": round(excerpt.start_s + float(time_s), 4),
            "strength": round(float(picture.max()) / greatest, 4),
            "regions": [
                _in_file(region, excerpt, greatest) for region in regions(picture, threshold)
            ],
        }
        for time_s, picture in zip(times_s, heat, strict=True)
    ]
    record = {
        "version": JSON_VERSION,
        "file": excerpt.path,
        "threshold": threshold,
        **facts,
        "frames": frames,
        "heard": _heard_moments(heard, excerpt.start_s),
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def save_heard(heard: HeardMap, start_s: float, path: Path) -> None:
    """Write a picture of the spectrogram and of what in it speaks for the picture."""
    figure = Figure(figsize=(7, 4.6), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    ends = start_s + float(heard.times_s[0]), start_s + float(heard.times_s[-1])
    extent = (*ends, -0.5, len(heard.map) - 0.5)
    greatest = max(float(heard.map.max()), np.finfo(np.float32).tiny)
    drawn = (
        (upper, heard.log_mel, "log-mel spectrogram", "gray"),
        (lower, heard.map / greatest, "where the picture is heard (map / its maximum)", "viridis"),
    )
    for axes, values, title, colours in drawn:
        image = axes.imshow(
            values.numpy(), origin="lower", aspect="auto", extent=extent, cmap=colours
        )
        axes.set_title(title, fontsize=9, loc="left")
        ticks = np.linspace(0, len(heard.map) - 1, 5).round().astype(int)
        middles = heard.bands_hz.mean(1)[ticks].tolist()
        axes.set_yticks(ticks, [f"{hz / 1000:.1f}" for hz in middles], fontsize=8)
        axes.set_ylabel("kHz", fontsize=8)
        figure.colorbar(image, ax=axes).ax.tick_params(labelsize=8)
    lower.set_xlabel("time in the file in seconds", fontsize=8)
    lower.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def _strongest(strength: NDArray[np.floating], fps: float) -> list[int]:
    """The frames with the strongest maps, not too near each other, in order of time."""
    chosen: list[int] = []
    for index in np.argsort(-strength, kind="stable").tolist():
        apart = all(abs(index - other) >= _STILLS_APART_S * fps for other in chosen)
        if apart and strength[index] > 0 and len(chosen) < _N_STILLS:
            chosen.append(index)
    return sorted(chosen)


def _in_file(region: Region, excerpt: Excerpt, greatest: float) -> dict[str, Any]:
    scale, left, top = excerpt.to_file_px
    x0, y0, x1, y1 = region.box
    corners = [(x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale]
    peak = [(region.peak[0] + 0.5 - left) * scale, (region.peak[1] + 0.5 - top) * scale]
    return {
        "box": [round(value, 1) for value in corners],
        "peak": [round(value, 1) for value in peak],
        "value": round(region.value / greatest, 4),
    }


def _heard_moments(heard: HeardMap, start_s: float) -> list[dict[str, Any]]:
    """Strength of the sound's map and its strongest band, ten times a second."""
    steps = (heard.times_s / _HEARD_STEP_S).floor().long()
    n_steps = int(steps[-1]) + 1
    means = torch.stack([heard.map[:, steps == step].mean(1) for step in range(n_steps)])
    greatest = max(float(means.max()), np.finfo(np.float32).tiny)
    return [
        {
            "time_s": round(start_s + step * _HEARD_STEP_S, 4),
            "strength": round(float(bands.max()) / greatest, 4),
            "band_hz": [round(hz, 1) for hz in heard.bands_hz[int(bands.argmax())].tolist()],
        }
        for step, bands in enumerate(means)
    ]
