from dataclasses import replace

import numpy as np
import pytest
import torch

from avts_ext.data import ClipSpec
from avts_ext.evaluation.random_network import random_network
from avts_ext.evaluation.recordings import read_whole
from avts_ext.evaluation.world_scores import open_world
from avts_ext.localization import world_maps
from avts_ext.localization.readout import SoundMaps
from avts_ext.localization.scores import boxes_at
from avts_ext.localization.world_maps import (
    CONTROLS,
    OWN,
    UNTRAINED,
    WorldMaps,
    localization_results,
    map_world,
)
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.world import generate

SPEC = ClipSpec()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = generate(tmp_path_factory.mktemp("maps") / "world", 3, seed=4, progress=False)
    return open_world(folder, SPEC)


def filled(boxes):
    maps = torch.zeros(len(boxes), 64, 64)
    for heat, (x0, y0, x1, y1) in zip(maps, boxes.astype(int), strict=True):
        heat[y0:y1, x0:x1] = 1
    return maps


@pytest.fixture
def planted(videos):
    """Maps that are the boxes: of the source in one condition, of the silent object in others."""
    truth = videos.truth[0]
    frames, waveform = read_whole(videos.recordings[0], SPEC)
    times_s = torch.arange(len(frames), dtype=torch.float64) / 8
    source = boxes_at(truth.source_box, 16, times_s.numpy())
    silent = boxes_at(truth.silent_box, 16, times_s.numpy())
    maps = dict.fromkeys((*CONTROLS, UNTRAINED), filled(silent)) | {OWN: filled(source)}
    return WorldMaps(truth, frames, waveform, waveform, times_s, maps)


def test_planted_maps_score_as_they_must(planted):
    own, wrong = planted.score(OWN), planted.score("wrong audio")
    assert own.on_source.all() and not own.on_silent.any()
    np.testing.assert_array_equal(own.iou, 1)
    assert wrong.on_silent.mean() > 0.9 and wrong.iou.mean() < 0.2


def test_records_hold_every_control(planted):
    scores = {name: [planted.score(name)] * 2 for name in planted.maps}
    results = {r.protocol: r for r in localization_results(scores, "solo", seed=9)}
    assert len(results) == 6
    source = results["boxes-solo, source, all frames/1"]
    silent = results["boxes-solo, silent, all frames/1"]
    assert (source.value, silent.value, source.n, source.seeds) == (1, 0, 2, (9,))
    assert set(source.controls) == set(CONTROLS)
    assert source.baseline < 0.1 < 0.9 < silent.baseline
    assert source.controls["centre"] < 0.1 < 0.9 < silent.controls["centre"]


def test_event_frames_are_fewer(planted):
    event_frame = planted.score(OWN).event_frame
    assert 0 < event_frame.sum() < len(event_frame)


def test_each_condition_hears_what_it_says(videos, monkeypatch):
    model, untrained = AVTS(AVTSConfig()).eval(), AVTS(AVTSConfig()).eval()
    heard = []

    def listen(network, frames, waveforms, before, mirror):
        assert (before, mirror) == ("layer1", "both")
        heard.extend((network, waveform) for waveform in waveforms)
        times_s = torch.arange(len(frames)) / 8
        return [SoundMaps(torch.zeros(len(frames), 64, 64), times_s) for _ in waveforms]

    monkeypatch.setattr(world_maps, "locate_sources", listen)
    maps = map_world(model, untrained, videos, 1)
    own = read_whole(videos.recordings[1], SPEC)[1]
    other = read_whole(videos.recordings[2], SPEC)[1]
    assert [network for network, _ in heard] == [model, model, model, untrained]
    assert torch.equal(heard[0][1], own) and torch.equal(heard[1][1], other)
    assert heard[2][1] is None and torch.equal(heard[3][1], own)
    assert set(maps.maps) == {OWN, UNTRAINED, *CONTROLS}
    assert torch.equal(maps.waveform, own) and torch.equal(maps.wrong_waveform, other)


def test_wrong_audio_needs_a_second_class(videos):
    alike = [replace(row, label=0) for row in videos.truth]
    with pytest.raises(ValueError, match="videos: got 3 of one class"):
        map_world(AVTS(AVTSConfig()), AVTS(AVTSConfig()), type(videos)(alike, videos.recordings), 0)


def test_all_conditions_with_a_real_network(videos):
    model = AVTS(AVTSConfig()).eval()
    frames, waveform = read_whole(videos.recordings[0], SPEC)
    untrained = random_network(model, frames[None, :8], waveform[None, :16000], seed=0)
    maps = map_world(untrained, untrained, videos, 0)
    assert all(heat.shape == frames.shape[:3] for heat in maps.maps.values())
    assert torch.equal(maps.maps[OWN], maps.maps[UNTRAINED])
    assert not torch.equal(maps.maps[OWN], maps.maps["wrong audio"])
