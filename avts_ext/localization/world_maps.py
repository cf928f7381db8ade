"""Where the sound comes from, scored on videos of the generated world, beside every control.

A map is made five times for each video: as it should be, with the sound of another video, without
sound (feature energy of the video tower), by an untrained network, and at the centre always. Maps
are read out with every refinement that `readout.locate` knows. On a solo scene a map need not
listen to win; on a duet, where two objects show events and one is heard, the controls that cannot
listen are at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avts_ext.evaluation.recordings import read_whole
from avts_ext.evaluation.report import Result
from avts_ext.evaluation.world_scores import WorldSet
from avts_ext.localization.controls import centre_maps
from avts_ext.localization.readout import locate_sources
from avts_ext.localization.scores import (
    FrameScores,
    boxes_at,
    near_event,
    score_frames,
    summarize,
)
from avts_ext.models.avts import AVTS
from avts_ext.world import WorldTruth
from avts_ext.world.scene import FPS as WORLD_FPS

__all__ = [
    "CONTROLS",
    "OWN",
    "UNTRAINED",
    "WorldMaps",
    "localization_results",
    "map_world",
    "score_maps",
]

CONTROLS = ("wrong audio", "no audio", "centre")
OWN, UNTRAINED = "own", "random network"
# Its finer grid moves a map's peak onto the object; every video tower has a layer of this name.
SHARPENING_LAYER = "layer1"
_MEASURES = {"on_source": "source", "on_silent": "silent", "iou": "iou"}


@dataclass(frozen=True)
class WorldMaps:
    """What was seen and heard of one video, and what came of it.

    Attributes:
        truth: of the video.
        frames: (F, H, W, 3) uint8.
        waveform: (S,) float32, its sound.
        wrong_waveform: (S,) float32, the sound of the condition "wrong audio".
        times_s: (F,) float64 of the frames.
        maps: (F, H, W) by condition.
    """

    truth: WorldTruth
    frames: Tensor
    waveform: Tensor
    wrong_waveform: Tensor
    times_s: Tensor
    maps: dict[str, Tensor]

    def score(self, condition: str) -> FrameScores:
        """Protocol "boxes/1" of the maps of one condition."""
        times_s = self.times_s.numpy()
        return score_frames(
            self.maps[condition].numpy(),
            boxes_at(self.truth.source_box, WORLD_FPS, times_s),
            boxes_at(self.truth.silent_box, WORLD_FPS, times_s),
            near_event(times_s, self.truth.event_times_s),
        )


def map_world(trained: AVTS, untrained: AVTS, videos: WorldSet, index: int) -> WorldMaps:
    """The maps of one video in all conditions.

    Args:
        trained, untrained: two networks of one architecture.
        videos: at least two classes of them; the wrong audio is that of the next other class.
        index: of the video in ``videos``.
    """
    spec = trained.config.clip
    frames, waveform = read_whole(videos.recordings[index], spec)
    _, foreign = read_whole(videos.recordings[_next_other_class(videos, index)], spec)
    times_s = torch.arange(len(frames), dtype=torch.float64) / float(spec.fps)
    size = frames.shape[1], frames.shape[2]

    def at_frames(model: AVTS, *sounds: Tensor | None) -> list[Tensor]:
        found = locate_sources(model, frames, sounds, before=SHARPENING_LAYER, mirror="both")
        return [maps.nearest(times_s) for maps in found]

    own, wrong, energy = at_frames(trained, waveform, foreign, None)
    maps = {
        OWN: own,
        "wrong audio": wrong,
        "no audio": energy,
        UNTRAINED: at_frames(untrained, waveform)[0],
        "centre": centre_maps(len(frames), size),
    }
    return WorldMaps(videos.truth[index], frames, waveform, foreign, times_s, maps)


def score_maps(videos: Sequence[WorldMaps]) -> dict[str, list[FrameScores]]:
    """Scores of every video, by condition."""
    return {name: [video.score(name) for video in videos] for name in videos[0].maps}


def localization_results(
    scores: dict[str, list[FrameScores]], scene: str, *, seed: int, command: str = ""
) -> list[Result]:
    """Hits on the heard object, hits on the other, and IoU, at event frames and at all frames.

    Args:
        scores: from `score_maps`.
        scene: kind of the scenes, part of the protocols' names.
        seed: the one number everything random in the networks follows from.
        command: the command line that repeats it.

    Returns:
        Records with the untrained network as baseline and the conditions in `CONTROLS`. Chance is
        not one number here (it is the size of the boxes): the centre stands for it.
    """
    results = []
    for measure, what in _MEASURES.items():
        for frames, at_events in (("event frames", True), ("all frames", False)):
            found = {
                name: getattr(summarize(videos, event_frames_only=at_events), measure)
                for name, videos in scores.items()
            }
            own = found[OWN]
            results.append(
                Result(
                    f"boxes-{scene}, {what}, {frames}/1",
                    own.value,
                    len(scores[OWN]),
                    (seed,),
                    baseline=found[UNTRAINED].value,
                    interval=(own.low, own.high),
                    controls={name: found[name].value for name in CONTROLS},
                    command=command,
                )
            )
    return results


def _next_other_class(videos: WorldSet, index: int) -> int:
    n = len(videos)
    for step in range(1, n):
        if videos.truth[(index + step) % n].label != videos.truth[index].label:
            return (index + step) % n
    raise ValueError(f"videos: got {n} of one class, expected a second class for the wrong audio")
