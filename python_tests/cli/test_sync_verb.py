import json
from pathlib import Path

import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.data import ClipSpec
from avts_ext.data.writer import encode_mp4
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.shipped import WORLD_MODEL
from avts_ext.sync_report.drift_proof import stretched
from avts_ext.sync_report.proof import read_all
from avts_ext.sync_report.remux import delay_sound
from avts_ext.world import generate

SEED = 77


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("w") / "w", 4, seed=SEED, progress=False) / "videos"


def reports(capsys, *arguments):
    assert main(["sync", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("delay_s", [0.35, -0.62])
def test_shift_report_fix_report_gives_zero(world, tmp_path, capsys, suffix, delay_s):
    late = delay_sound(world / "000000.mp4", tmp_path / f"late{suffix}", delay_s)
    assert main(["sync", str(late), "--fix", "--out_dir", "reports"]) == 0
    line = capsys.readouterr().out
    assert "out of sync" in line and ("late" if delay_s > 0 else "early") in line
    record = json.loads(Path(f"reports/late{suffix}.json").read_text())
    assert record["offset_s"] == pytest.approx(delay_s, abs=0.04)
    assert record["fixed"] == str(tmp_path / f"late.in_sync{suffix}")
    assert Path(f"reports/late{suffix}.png").stat().st_size > 10_000
    (again,) = reports(capsys, record["fixed"])
    assert again["verdict"] == "in sync" and abs(again["offset_s"]) < 0.04


def test_a_file_in_sync_is_not_fixed(world, capsys):
    before = set(world.iterdir())
    (record,) = reports(capsys, world / "000000.mp4", "--fix")
    assert record["verdict"] == "in sync" and "fixed" not in record
    assert set(world.iterdir()) == before


def test_several_files_and_folders(world, tmp_path, capsys):
    copy = delay_sound(world / "000001.mp4", tmp_path / "b.mp4", 0.5)
    found = reports(capsys, copy, world)
    names = [Path(record["path"]).name for record in found]
    assert names == ["b.mp4", *[f"00000{k}.mp4" for k in range(4)]]
    assert all(record["convention"] == "positive = audio late" for record in found)


@pytest.mark.parametrize("drift", [0.004, -0.003])
def test_a_drift_is_told_from_a_constant_offset_and_not_fixed(world, tmp_path, capsys, drift):
    clips = [read_all(str(path), ClipSpec()) for path in sorted(world.iterdir())] * 3
    frames = np.concatenate([frames for frames, _ in clips])
    sound = np.concatenate([sound[: 1000 * len(frames)] for frames, sound in clips])
    drifting = encode_mp4(frames, 16, stretched(sound, 0.2, drift, 16000), 16000)
    (tmp_path / "drift.mp4").write_bytes(drifting)
    assert main(["sync", "drift.mp4", "--fix", "--out_dir", "reports"]) == 0
    printed = capsys.readouterr().out
    assert "s per minute" in printed and "not fixed: it drifts" in printed
    record = json.loads(Path("reports/drift.mp4.json").read_text())
    assert record["verdict"] == "drifts" and "fixed" not in record
    assert record["drift_s_per_min"] == pytest.approx(60 * drift, abs=0.03)
    middle_s = record["duration_s"] / 2
    assert record["offset_s"] == pytest.approx(0.2 + drift * middle_s, abs=0.03)
    for part in record["segments"]:
        expected = 0.2 + drift * (part["start_s"] + part["end_s"]) / 2
        assert part["offset_s"] == pytest.approx(expected, abs=0.06)
    (tmp_path / "late.mp4").write_bytes(
        encode_mp4(frames, 16, stretched(sound, 0.2, 0, 16000), 16000)
    )
    (record,) = reports(capsys, "late.mp4")
    assert record["verdict"] == "out of sync" and record["drift_s_per_min"] == 0


def silent(seconds):
    return np.zeros(seconds * 16000, np.float32)


def hum(seconds):
    times_s = np.arange(seconds * 16000) / 16000
    return (0.3 * np.sin(2 * np.pi * 180 * times_s)).astype(np.float32)


def clicks(seconds):
    rng, wave = np.random.default_rng(0), silent(seconds)
    for start in rng.integers(0, len(wave) - 800, 2 * seconds):
        wave[start : start + 800] = rng.normal(0, 0.3, 800)
    return wave


def flashing(seconds):
    """A smooth picture, unlike any of the world, whose light goes on and off."""
    rng, ramp = np.random.default_rng(0), np.linspace(0.2, 1, 64)
    field = ramp[:, None, None] * ramp[None, :, None] * np.array([255, 200, 120])
    return [(field * level).astype(np.uint8) for level in rng.uniform(0.1, 1, 16 * seconds)]


def still(seconds):
    return flashing(1)[:1] * (16 * seconds)


def noise(seconds):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(16 * seconds)]


def hiss(seconds):
    return np.random.default_rng(0).normal(0, 0.2, 16000 * seconds).clip(-1, 1)


def openness(times_s):
    """Of a mouth: three syllables a second, in phrases."""
    return np.clip(np.sin(6.6 * np.pi * times_s) + 0.4 * np.sin(2.2 * np.pi * times_s), 0, None)


def face(seconds):
    """Skin, eyes, and a mouth that opens in time with `voice`."""
    y, x = np.mgrid[:64, :64]
    head = ((x - 32) / 22) ** 2 + ((y - 32) / 28) ** 2 < 1
    eyes = ((abs(x - 32) - 9) ** 2 + (y - 24) ** 2) < 8
    pictures = []
    for opened in openness(np.arange(16 * seconds) / 16):
        mouth = ((x - 32) / 9) ** 2 + ((y - 46) / (1 + 5 * opened)) ** 2 < 1
        picture = np.full((64, 64, 3), (60, 80, 110), np.uint8)
        picture[head], picture[eyes & head], picture[mouth] = (210, 160, 130), 30, (110, 20, 30)
        pictures.append(picture)
    return pictures


def voice(seconds):
    """Harmonics of a pitch that glides, as loud as the mouth is open."""
    times_s = np.arange(16000 * seconds) / 16000
    pitch_hz = 120 * (1 + 0.2 * np.sin(1.4 * np.pi * times_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / 16000
    wave = sum(np.sin(k * phase) / k for k in range(1, 25))
    return 0.15 * wave * openness(times_s)


@pytest.mark.parametrize(
    "frames, sound, reason",
    [
        (flashing, silent, "the sound is silent"),
        (still, clicks, "the picture does not move"),
        (flashing, hum, "the sound hardly changes"),
        (flashing, clicks, "the picture is unlike what the model knows"),
        (noise, hiss, "the sound hardly changes"),
        (face, voice, "the picture is unlike what the model knows"),
        (face, voice, "the sound is unlike what the model knows"),
    ],
)
def test_cannot_tell(tmp_path, capsys, frames, sound, reason):
    (tmp_path / "a.mp4").write_bytes(encode_mp4(frames(6), 16, sound(6), 16000))
    (record,) = reports(capsys, tmp_path / "a.mp4")
    assert record["verdict"] == "cannot tell" and record["confidence"] < 0.5
    assert any(reason in said for said in record["reasons"])


def test_a_broken_file_does_not_stop_the_others(world, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    assert main(["sync", str(tmp_path / "bad.mp4"), str(world / "000000.mp4")]) == 1
    printed = capsys.readouterr()
    header, bad, good = printed.out.splitlines()
    assert header == "offset_s  confidence  verdict      file (positive = audio late)"
    assert "bad.mp4: unreadable" in bad
    offset_s, confidence, verdict = good[:8], good[10:20], good[22:33]
    assert abs(float(offset_s)) < 0.05 and float(confidence) > 0.5 and verdict == "in sync    "
    assert good[35:] == str(world / "000000.mp4")
    assert "1 of 2 files could not be read" in printed.err


def test_rejects(world, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["sync", str(tmp_path / "empty")]) == 1
    assert "holds no media file" in capsys.readouterr().err
    AVTS(AVTSConfig()).save("own.safetensors")
    assert main(["sync", str(world), "--model", "own.safetensors"]) == 1
    assert "avts calibrate own.safetensors FOLDER" in capsys.readouterr().err


def test_a_model_of_ones_own_is_calibrated_first(world, capsys):
    generate("known", 20, seed=SEED + 1, progress=False)
    Path("own.safetensors").write_bytes(WORLD_MODEL.read_bytes())
    assert main(["calibrate", "own.safetensors", "known/videos"]) == 0
    assert "own.sync.safetensors: from 20 files" in capsys.readouterr().out
    (record,) = reports(capsys, world / "000000.mp4", "--model", "own.safetensors")
    assert record["verdict"] == "in sync"
