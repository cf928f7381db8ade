import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avts_ext.data import ClipSpec, MediaReader, probe
from avts_ext.evaluation import features as features_module
from avts_ext.evaluation.features import POOLINGS, FeatureSettings, extract_features, reduce_map
from avts_ext.models.avts import AVTS, AVTSConfig

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from flash_beep import FlashBeep
from published import write_sound

SETTINGS = FeatureSettings(clip_s=0.5, n_clips=3)


@pytest.fixture
def model() -> AVTS:
    return AVTS(AVTSConfig(clip=ClipSpec(height=32, width=32)))


@pytest.fixture
def sounds(tmp_path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{k}.wav" for k in range(3)]
    for k, path in enumerate(paths):
        write_sound(path, rng.uniform(-0.1, 0.1, 16000 + 4000 * k))
    return paths


def test_features_are_those_of_the_clips(model, sounds):
    found = extract_features(model, sounds, SETTINGS)
    assert found.rows.tolist() == [0, 1, 2] and len(found.skipped) == 0
    assert found.pooled.shape == (3, 3, 640) and found.flattened.shape == (3, 3, 1280)
    np.testing.assert_allclose(found.start_s[1], [0, 0.375, 0.75], atol=1e-4)
    model.eval()
    with MediaReader(sounds[1], tracks="audio") as reader, torch.no_grad():
        for clip, start_s in enumerate(found.start_s[1]):
            waveform, _ = reader.read_audio(float(start_s), 0.5, 16000)
            conv5 = model.audio_features(model.audio_input(waveform[None]))
            for pooling in POOLINGS:
                expected = reduce_map(conv5, pooling)[0].numpy()
                np.testing.assert_allclose(
                    found.of(pooling)[1, clip], expected, atol=1e-4, rtol=1e-4
                )


def test_pictures_without_sound(model, tmp_path):
    FlashBeep(duration_s=2.0, size=(32, 32)).write(tmp_path / "v.mp4")
    settings = FeatureSettings("video", clip_s=1.0, n_clips=2)
    found = extract_features(model, [tmp_path / "v.mp4"], settings)
    assert found.pooled.shape == (1, 2, 128) and found.flattened.shape == (1, 2, 1024)
    info = probe(tmp_path / "v.mp4", "video")
    assert found.start_s[0, 0] == pytest.approx(info.start_s)
    model.eval()
    with MediaReader(tmp_path / "v.mp4", tracks="video") as reader, torch.no_grad():
        frames, _ = reader.read_frames(float(found.start_s[0, 1]), model.config.clip)
        last_map = model.video_features(model.video_input(frames[None]))
    np.testing.assert_allclose(
        found.pooled[0, 1], reduce_map(last_map, "pooled")[0], atol=1e-4, rtol=1e-4
    )


def test_reductions_by_hand():
    sound = torch.arange(2 * 3 * 8.0).reshape(1, 2, 3, 8)
    assert reduce_map(sound, "pooled")[0].tolist() == [
        *[8 * k + 3.5 for k in range(6)],
        *[8 * k + 7.0 for k in range(6)],
    ]
    assert reduce_map(sound, "flattened")[0].tolist() == list(range(1, 48, 2))
    picture = torch.arange(8 * 4 * 4.0).reshape(1, 1, 8, 4, 4)
    assert reduce_map(picture, "pooled")[0].tolist() == [63.5, 127.0]
    assert reduce_map(picture, "flattened").shape == (1, 16)
    assert reduce_map(picture, "flattened")[0, :2].tolist() == [21.0, 23.0]


def test_nothing_is_computed_twice(model, sounds, monkeypatch):
    once = extract_features(model, sounds[:2], SETTINGS, cache_dir="cache")
    computed = []
    original = features_module._features_of

    def count(*arguments):
        computed.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(features_module, "_features_of", count)
    os.utime(sounds[0], (1, 1))
    sounds[1] = sounds[1].rename("renamed.wav")
    again = extract_features(model, sounds, SETTINGS, cache_dir="cache")
    assert len(computed) == 1 and again.rows.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(again.pooled[:2], once.pooled)
    assert extract_features(model, sounds[:2], SETTINGS, cache_dir="cache").hash == once.hash
    assert len(computed) == 1


@pytest.mark.parametrize("change", ["file", "weights", "settings", "decoder", "damage"])
def test_whatever_changes_is_computed_anew(model, sounds, change, monkeypatch):
    settings = SETTINGS
    before = extract_features(model, sounds[:1], settings, cache_dir="cache")
    if change == "file":
        write_sound(sounds[0], np.zeros(16000))
    elif change == "weights":
        model = AVTS(model.config)
    elif change == "settings":
        settings = FeatureSettings(clip_s=0.6, n_clips=3)
    elif change == "decoder":
        monkeypatch.setattr(features_module, "decode_fingerprint", lambda: {"backend": "0"})
    else:
        (entry,) = Path("cache").rglob("*.npz")
        entry.write_bytes(entry.read_bytes()[:1000])
    computed = []
    original = features_module._features_of
    monkeypatch.setattr(
        features_module, "_features_of", lambda *a: computed.append(1) or original(*a)
    )
    after = extract_features(model, sounds[:1], settings, cache_dir="cache")
    assert len(computed) == 1
    assert (after.hash == before.hash) == (change in ("decoder", "damage"))


def test_broken_files_are_left_out_and_told(model, sounds, tmp_path):
    (tmp_path / "noise.wav").write_bytes(b"no sound" * 100)
    write_sound(tmp_path / "short.wav", np.zeros(4000))
    paths = [tmp_path / "noise.wav", sounds[0], tmp_path / "short.wav", tmp_path / "none.wav"]
    for cache_dir in (None, "cache"):
        found = extract_features(model, paths, SETTINGS, cache_dir=cache_dir)
        assert found.rows.tolist() == [1]
        assert sorted(map(str, found.skipped.counts())) == ["too short", "unreadable"]
    with pytest.raises(ValueError, match="paths: got no usable file"):
        extract_features(model, paths[2:], SETTINGS)


def test_workers_and_mode_do_not_matter(model, sounds):
    alone = extract_features(model.train(), sounds, SETTINGS)
    assert model.training
    helped = extract_features(model.eval(), sounds, SETTINGS, workers=2)
    assert alone.hash == helped.hash


@pytest.mark.parametrize(
    "options", [{"tower": "both"}, {"clip_s": 0.0}, {"clip_s": float("nan")}, {"n_clips": 0}]
)
def test_bad_settings_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FeatureSettings(**options)


def test_a_file_exactly_as_long_as_a_clip(model, tmp_path):
    write_sound(tmp_path / "exact.wav", np.zeros(8000))
    found = extract_features(model, [tmp_path / "exact.wav"], SETTINGS)
    assert found.start_s.tolist() == [[0.0, 0.0, 0.0]]
