"""The exhibits of the report: each a short video with sound, and two stills of one moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from avts_ext.evaluation.world_scores import WorldSet
from avts_ext.localization.overlay import OverlayPainter, save_overlay_video, save_still
from avts_ext.localization.scores import boxes_at
from avts_ext.localization.world_maps import OWN, WorldMaps, map_world
from avts_ext.models.avts import AVTS
from avts_ext.world import CLASSES
from avts_ext.world.scene import FPS as WORLD_FPS
from avts_ext.world.scene import SceneKind

__all__ = ["exhibit"]


def exhibit(
    trained: AVTS,
    untrained: AVTS,
    videos: WorldSet,
    index: int,
    scene: SceneKind,
    folder: Path,
    name: str,
) -> dict[str, Any]:
    """Draw one video of ``videos`` and describe it.

    Args:
        trained, untrained: the networks.
        videos: of the kind ``scene``.
        index: which of them.
        scene: kind of the scene.
        folder: of the report; pictures go to its sub-folder "gallery".
        name: of the files.

    Returns:
        An entry of the report's "gallery"; paths are relative to ``folder``.
    """
    maps = map_world(trained, untrained, videos, index)
    files = {
        "video": f"gallery/{name}.mp4",
        "still": f"gallery/{name}.png",
        "wrong_audio_still": f"gallery/{name}_wrong_audio.png",
    }
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    spec = trained.config.clip
    pictures = _pictures(maps, OWN, maps.waveform, spec.sample_rate)
    save_overlay_video(
        folder / files["video"], pictures, spec.fps, maps.waveform.numpy(), spec.sample_rate
    )
    moment = _event_frame(maps)
    save_still(folder / files["still"], pictures[moment])
    wrong = _pictures(maps, "wrong audio", maps.wrong_waveform, spec.sample_rate)
    save_still(folder / files["wrong_audio_still"], wrong[moment])
    score = maps.score(OWN)
    heard, silent = CLASSES[maps.truth.label], CLASSES[maps.truth.silent_label]
    return {
        "title": f"{heard.shape}, {heard.motion}",
        "scene": scene,
        "truth": f"heard: the {heard.shape} ({heard.timbre}); "
        f"silent: the {silent.shape}, which {'shows events too' if scene == 'duet' else 'moves'}",
        **files,
        "on_source": float(score.on_source.mean()),
        "on_silent": float(score.on_silent.mean()),
        "iou": float(score.iou.mean()),
    }


def _pictures(
    maps: WorldMaps, condition: str, waveform: Tensor, sample_rate: int
) -> list[np.ndarray]:
    times_s, size = maps.times_s.numpy(), (maps.frames.shape[1], maps.frames.shape[2])
    painter = OverlayPainter(size, waveform.numpy(), sample_rate)
    frames = zip(
        maps.frames.numpy(),
        maps.maps[condition].numpy(),
        times_s,
        boxes_at(maps.truth.source_box, WORLD_FPS, times_s),
        boxes_at(maps.truth.silent_box, WORLD_FPS, times_s),
        strict=True,
    )
    return [painter.paint(*frame) for frame in frames]


def _event_frame(maps: WorldMaps) -> int:
    """The first frame at or after the event nearest to the middle of the video."""
    times_s, events_s = maps.times_s.numpy(), maps.truth.event_times_s
    event_s = events_s[np.abs(events_s - times_s[-1] / 2).argmin()]
    return int(np.searchsorted(times_s, event_s).clip(max=len(times_s) - 1))
