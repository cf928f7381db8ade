import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.data.writer import encode_mp4
from avts_ext.localization.scores import boxes_at
from avts_ext.world import generate, load_truth


@pytest.fixture(scope="module")
def duets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("w") / "duets"
    return load_truth(generate(folder, 4, seed=55, kind="duet", progress=False))


def localized(capsys, *arguments):
    assert main(["localize", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_finds_the_heard_object_and_writes_everything(duets, capsys):
    hits = []
    for row in duets:
        localized(capsys, row.path)
        name = Path(row.path).stem
        record = json.loads(Path(f"localized/{name}.json").read_text())
        times_s = [frame["time_s"] for frame in record["frames"]]
        assert times_s == pytest.approx(np.arange(47) / 8)
        for frame, box in zip(
            record["frames"], boxes_at(row.source_box, 16, np.array(times_s)), strict=True
        ):
            x, y = frame["regions"][0]["peak"]
            hits.append(box[0] <= x < box[2] and box[1] <= y < box[3])
        assert max(frame["strength"] for frame in record["frames"]) == 1
        assert len(record["heard"]) == 59 and record["warning"] == ""
        low, high = record["heard"][0]["band_hz"]
        assert 0 <= low < high <= 8000
        assert len(list(Path("localized").glob(f"{name}.*s.png"))) == 3
        assert Path(f"localized/{name}.heard.png").stat().st_size > 10_000
        with av.open(f"localized/{name}.mp4") as video:
            assert [stream.type for stream in video.streams] == ["video", "audio"]
            assert video.streams.video[0].frames == 47
    assert np.mean(hits) > 0.7


def test_boxes_are_in_pixels_of_the_file(tmp_path, capsys):
    """The picture is 2.5 times as large as what the model sees and has margins it does not see."""
    rng, frames = np.random.default_rng(0), []
    for level in rng.uniform(0, 1, 48).repeat(2):
        picture = np.zeros((160, 320, 3), np.uint8)
        picture[60:100, 200:240] = 255 * level
        frames.append(picture)
    (tmp_path / "a.mp4").write_bytes(encode_mp4(frames, 16, rng.normal(0, 0.1, 96000), 16000))
    localized(capsys, "a.mp4", "--contrast=false", "--threshold", "0.8")
    record = json.loads(Path("localized/a.json").read_text())
    peaks = np.array([f["regions"][0]["peak"] for f in record["frames"] if f["regions"]])
    assert len(peaks) and record["threshold"] == 0.8 and record["contrast"] is False
    assert ((peaks >= [80, 0]) & (peaks <= [240, 160])).all()
    assert abs(np.median(peaks, 0) - [220, 80]).max() < 25


def test_an_excerpt_and_layers(duets, capsys):
    path = duets[0].path
    options = [
        "--start_s",
        "2",
        "--duration_s",
        "2",
        "--layer",
        "layer2",
        "--shift_sigma_s",
        "0.05",
    ]
    localized(capsys, path, *options)
    record = json.loads(Path("localized/000000.json").read_text())
    assert [record["frames"][k]["time_s"] for k in (0, -1)] == [2, 3.875]
    assert record["layer"] == "layer2"


def test_separated_sources_get_a_map_each(duets, tmp_path, capsys):
    printed = localized(capsys, duets[0].path, "--sources", f"[{duets[0].path},{duets[1].path}]")
    assert "000000.source0.mp4" in printed and "000000.source1.json" in printed
    maps = [json.loads(Path(f"localized/000000.source{k}.json").read_text()) for k in (0, 1)]
    assert maps[0]["frames"] != maps[1]["frames"]


def test_material_that_the_model_does_not_know_is_said_so(tmp_path, capsys):
    shades = np.linspace(0, 255, 64)[:, None, None] * np.ones((1, 64, 3))
    frames = [(shades * (k % 5) / 4).astype(np.uint8) for k in range(32)]
    sound = np.sin(np.arange(32000) * 0.3)
    (tmp_path / "b.mp4").write_bytes(encode_mp4(frames, Fraction(16), sound, 16000))
    assert "unlike what the model knows: do not trust" in localized(capsys, "b.mp4")


def test_rejects(duets, capsys):
    for arguments, message in (
        (["--threshold", "1"], "threshold: got 1.0"),
        (["--layer", "layer9"], "last: got 'layer9'"),
        (["--start_s", "5.5"], "start_s, duration_s: got 5.5"),
    ):
        assert main(["localize", duets[0].path, *arguments]) == 1
        assert message in capsys.readouterr().err
        assert not Path("localized").exists() or not list(Path("localized").iterdir())
