import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.models.pretrained import model_hash

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from flash_beep import FlashBeep


@pytest.fixture
def folder(tmp_path) -> AVTS:
    (tmp_path / "media" / "deep").mkdir(parents=True)
    FlashBeep(duration_s=3.0, size=(64, 64)).write(tmp_path / "media" / "b.mp4")
    FlashBeep(duration_s=2.0, size=(64, 64)).write(tmp_path / "media" / "deep" / "a.mp4")
    (tmp_path / "media" / "broken.wav").write_bytes(b"?" * 99)
    model = AVTS(AVTSConfig()).eval()
    model.save("m.safetensors")
    return model


@pytest.mark.parametrize("tower", ["audio", "video"])
def test_npz_and_parquet_hold_the_same(folder, tower, capsys):
    options = f"--tower {tower} --clip_s 1 --n_clips 3 --cache_dir cache".split()
    for output in ("f.npz", "f.parquet"):
        assert (
            main(
                [
                    "features",
                    "--checkpoint",
                    "m.safetensors",
                    "--data",
                    "media",
                    "--output",
                    output,
                    *options,
                ]
            )
            == 0
        )
    printed = capsys.readouterr().out
    assert "of 2 files; 1 files skipped" in printed and "broken.wav" in printed
    arrays, table = np.load("f.npz"), pq.read_table("f.parquet")
    assert arrays["path"].tolist() == ["b.mp4"] * 3 + ["deep/a.mp4"] * 3
    assert table["path"].to_pylist() == arrays["path"].tolist()
    np.testing.assert_array_equal(table["start_s"].to_numpy(), arrays["start_s"])
    np.testing.assert_array_equal(np.stack(table["features"].to_numpy()), arrays["features"])
    card = json.loads(str(arrays["card"]))
    assert card["model_hash"] == model_hash(folder) and card["settings"]["tower"] == tower
    assert json.loads(table.schema.metadata[b"card"]) == card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["media", "--output", "f.csv"], "output must end in .npz or .parquet"),
        (["m.safetensors"], "data must be a folder"),
        (["media", "--clip_s", "0"], "clip_s must be positive"),
    ],
)
def test_bad_arguments_are_refused(folder, arguments, message, capsys):
    assert main(["features", "--checkpoint", "m.safetensors", "--data", *arguments]) == 1
    assert message in capsys.readouterr().err
