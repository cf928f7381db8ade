import json

import numpy as np
import pytest
import torch

from avts_ext.cli.__main__ import main
from avts_ext.data.clips import ClipSpec
from avts_ext.data.probe import MediaInfo, VideoInfo
from avts_ext.evaluation.report import load_results
from avts_ext.localization import evaluate
from avts_ext.localization.controls import motion, motion_maps
from avts_ext.localization.evaluate import CONTROLS, READOUTS, Case, score_cases
from avts_ext.localization.readout import SoundMaps
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.shipped import WORLD_MODEL
from avts_ext.world import generate


def planted(loud):
    """Sounds at the left, where little moves in the first half; moves at the right."""
    frames = torch.zeros(8, 16, 16, 3, dtype=torch.uint8)
    frames[1::2, 4:8, 0:4] = 40
    frames[5::2, 4:8, 0:4] = 200
    frames[1::2, 4:8, 12:16] = 100
    truth, silent = np.zeros((8, 16, 16)), np.zeros((8, 16, 16), bool)
    truth[:, 4:8, 0:4], silent[:, 4:8, 12:16] = 1, True
    return Case(frames, torch.full((16000,), loud), np.arange(8), truth, silent)


def listening(model, frames, waveforms, contrast, before, mirror):
    """Finds the source where it is loud and contrast is asked for, otherwise what moves."""
    maps = []
    for waveform in waveforms:
        heat = torch.zeros(8, 16, 16)
        left = contrast and waveform is not None and waveform[0] > 0
        heat[:, 4:8, 0 : 4 if left else 16] = 0.1
        heat[:, 4:8, slice(0, 4) if left else slice(12, 16)] = 2.0 if left else 1.0
        maps.append(SoundMaps(heat, torch.arange(8).double() / 8))
    return maps


def test_planted_maps_score_as_they_must(monkeypatch):
    monkeypatch.setattr(evaluate, "locate_sources", listening)
    monkeypatch.setattr(evaluate, "agreement", lambda _, __, sounds: [float(s[0]) for s in sounds])
    model, cases = AVTS(AVTSConfig()), [lambda: planted(1.0), lambda: planted(-1.0)]
    results = {r.protocol: r for r in score_cases(model, model, cases, sharpen=None, seed=4)}
    own = results["pointing, contrast/1"]
    # The first case is found, with the sound of the second one it is not, and the other way round.
    assert (own.value, own.n, own.controls["wrong audio"]) == (0.5, 2, 0.5)
    assert set(own.controls) == set(CONTROLS) and own.controls["no audio"] == 0
    assert results["pointing, plain/1"].value == 0
    # A whole picture is found by the rule of half the maximum, 16 of 256 pixels of it rightly.
    assert results["ciou-0.5, contrast/1"].controls["whole picture"] == 0
    assert results["ciou-auc, contrast/1"].controls["whole picture"] == pytest.approx(1.5 / 20)
    assert results["ciou-0.5, contrast/1"].value == 0.5
    controlled = results["motion-controlled, silent, contrast/1"]
    # Motion is tracked: the last of the four frames borrows from the ones after it.
    assert controlled.value == 0.5 and controlled.controls["motion"] == 0.75
    assert results["motion-controlled, silent, plain/1"].value == 1
    # Claims: the first case as it is, and the second with the first one's sound, wrongly.
    assert results["detection-ap, contrast/2"].value == pytest.approx(0.5 * 0.5)
    assert len(results) == 2 * (7 + 2 + 2) and all(r.seeds == (4,) for r in results.values())


def test_only_frames_in_which_the_silent_object_moves_as_much_count():
    case = planted(1.0)
    changes = motion(case.frames)
    assert changes[1, 5, 1] == 40 and changes[1, 5, 13] == 100 and changes[6, 5, 1] == 200
    scores = evaluate._score(case, np.where(case.silent, 1.0, 0.0), 0.5)
    assert scores.moves.tolist() == [True] * 4 + [False] * 4
    assert scores.on_silent.all()


def test_motion_maps_point_at_what_moves():
    frames = torch.zeros(16, 32, 32, 3, dtype=torch.uint8)
    frames[:, 2:6, 2:6] = 255
    frames[::2, 20:24, 8:12] = 90
    heat = motion_maps(frames, 8.0)
    assert heat.shape == (16, 32, 32)
    y, x = divmod(int(heat[7].argmax()), 32)
    assert 20 <= y < 24 and 8 <= x < 12


def test_boxes_are_moved_into_the_view_of_the_model():
    video = VideoInfo("h264", 200, 100, 10, 10.0, False, 0.0, 1.0)
    info = MediaInfo("a.mp4", "mp4", video, None)
    boxes = np.array([[0.25, 0, 0.75, 1], [0.5, 0.5, 1, 1]])
    seen = evaluate._in_view(boxes, info, ClipSpec(height=64, width=64))
    assert seen.tolist() == [[0, 0, 1, 1], [0.5, 0.5, 1.5, 1]]


def test_the_verb_on_a_world_and_on_annotated_clips(tmp_path, capsys):
    generate("duets", 3, seed=31, kind="duet", progress=False)
    base = ["evaluate", "localization", "--checkpoint", str(WORLD_MODEL), "--data"]
    assert main([*base, "duets", "--out", "r.json", "--n_videos", "2"]) == 0
    results = {r.protocol: r for r in load_results("r.json")}
    readouts = {name.split(", ")[-1].partition("/")[0] for name in results}
    assert readouts == set(READOUTS)
    own = results["pointing, contrast/1"]
    assert own.value > own.baseline and own.value > own.controls["wrong audio"]
    rows = [{"file": "000000", "class": "x", "bbox": [[0, 0, 1, 1]]}]
    rows += [{"file": "000001", "class": "x", "bbox": [[0.1, 0.1, 0.4, 0.5]]}]
    rows += [{"file": "elsewhere", "class": "x", "bbox": [[0.1, 0.1, 0.4, 0.5]]}]
    (tmp_path / "vggss.json").write_text(json.dumps(rows))
    options = ["duets/videos", "--annotations", "vggss.json", "--format", "vgg-ss"]
    assert main([*base, *options, "--out", "v.json"]) == 0
    assert "1 annotated clips have no usable file" in capsys.readouterr().out
    results = {r.protocol: r for r in load_results("v.json")}
    assert not any("motion-controlled" in name for name in results)
    assert results["pointing, plain/1"].value >= 0.5  # the first box is the whole picture
    assert main([*base, "duets", "--format", "vgg-ss"]) == 1
    assert "annotations: got None for the format 'vgg-ss'" in capsys.readouterr().err
