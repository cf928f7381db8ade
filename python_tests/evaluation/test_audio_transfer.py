import sys
from pathlib import Path

import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.data import ClipSpec
from avts_ext.data.fingerprint import decode_fingerprint
from avts_ext.evaluation import audio_transfer as module
from avts_ext.evaluation.report import load_results
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.models.pretrained import model_hash

sys.path.insert(0, str(Path(__file__).parent))
from published import esc50_lines, write_dcase2014, write_esc50

SIZES = ["--clip_s", "0.5", "--n_clips", "3", "--random_networks", "2"]
OPTIONS = [*SIZES, "--cache_dir", "cache", "--out", "r.json"]


@pytest.fixture
def model(tmp_path) -> AVTS:
    model = AVTS(AVTSConfig(clip=ClipSpec(height=32, width=32))).eval()
    model.save(tmp_path / "m.safetensors")
    return model


def test_esc50_from_files_to_record(model, tmp_path, capsys):
    """Three pitches are told apart even by a random network, and everything is in the record."""
    write_esc50(tmp_path / "esc", esc50_lines(3, 2), duration_s=1.0)
    command = ["evaluate", "esc50", "--checkpoint", "m.safetensors", "--data", "esc", *OPTIONS]
    assert main(command) == 1
    assert "esc50 is incomplete: fold1 lists 6 files of 400" in capsys.readouterr().err
    assert not Path("r.json").exists()
    assert main([*command, "--allow_partial"]) == 0
    printed = capsys.readouterr().out
    assert "80.6" in printed and "45.2" in printed and "sd over folds" in printed
    results = load_results("r.json")
    names = ["esc50-svm-pooled/1", "esc50-svm-flattened/1"]
    assert [r.protocol for r in results] == [*names, *(f"random network: {n}" for n in names)]
    for result in results:
        assert result.value == 1.0 and list(result.folds) == [f"fold{k}" for k in range(1, 6)]
        assert result.command.startswith("avts ") and result.chance == 1 / 3
        assert result.card["coverage"]["files"] == 30 and result.card["coverage"]["holes"]
        assert result.card["features"]["settings"]["n_clips"] == 3
        assert (
            result.card["features"]["decoder"] == decode_fingerprint()
            and len(result.card["search"]["C"]) > 1
        )
    assert results[0].card["features"]["model_hash"] == model_hash(model)
    assert results[0].baseline == results[2].value and results[2].seeds == (0, 1)
    assert results[2].spread is not None and results[0].n == 30
    # It repeats exactly, without the cache.
    before = [(r.value, r.card["features"]["hash"]) for r in results[:2]]
    again = [*command, "--allow_partial", "--random_networks", "0", "--cache_dir", "other"]
    assert main(again) == 0
    assert [(r.value, r.card["features"]["hash"]) for r in load_results("r.json")] == before


def evaluate_dcase2014(model, *options):
    return ["evaluate", "dcase2014", "--data=scenes", f"--checkpoint={model}.safetensors", *options]


def test_dcase2014_from_files_to_record(model, tmp_path, capsys):
    write_dcase2014(tmp_path / "scenes", duration_s=0.7)
    command = evaluate_dcase2014("m", *OPTIONS, "--random_networks", "0")
    assert main(command) == 0
    assert "93.1" in capsys.readouterr().out
    results = load_results("r.json")
    assert [r.protocol for r in results] == ["dcase2014-svm-pooled/1", "dcase2014-svm-flattened/1"]
    assert all(r.value > 0.9 and r.n == 100 and r.baseline is None for r in results)
    assert results[0].card["coverage"]["holes"] == []


def test_runs_of_several_models_are_joined(model, tmp_path, capsys):
    write_dcase2014(tmp_path / "scenes", duration_s=0.6)
    AVTS(model.config).save("other.safetensors")
    for seed, name in enumerate(("m", "other")):
        Path(f"runs/{seed}").mkdir(parents=True)
        options = ["--random_networks", "1", "--n_clips", "1", "--clip_s", "0.5"]
        options += ["--seed", str(seed), "--out", f"runs/{seed}/r.json"]
        assert main(evaluate_dcase2014(name, *options)) == 0
    capsys.readouterr()
    assert main(["results", "runs", "--name", "r.json"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:6]
    assert all(row.endswith("| 200 | 0, 1 |") for row in rows)


def test_a_broken_recording_is_refused_or_told(model, tmp_path, capsys):
    root = write_dcase2014(tmp_path / "scenes", duration_s=0.7)
    (root / "scenes_stereo" / "bus03.wav").write_bytes(b"?" * 50)
    command = evaluate_dcase2014("m", *OPTIONS, "--random_networks", "0")
    assert main(command) == 1
    assert "1 files are there but cannot be used" in capsys.readouterr().err
    assert main([*command, "--allow_partial"]) == 0
    assert load_results("r.json")[0].card["coverage"]["holes"] == [
        "1 files are there but cannot be used"
    ]


def test_random_networks_differ_by_seed(model, tmp_path):
    root = write_dcase2014(tmp_path / "scenes", duration_s=0.7)
    data = module.LabelledSet(
        "dcase2014", sorted(root.rglob("*.wav"))[:4], np.arange(4), ["a"] * 4, [], {}
    )
    settings = module.FeatureSettings(clip_s=0.5, n_clips=2)
    nets = [module.untrained_on(model, data, settings, seed) for seed in (0, 0, 1)]
    hashes = [model_hash(net) for net in nets]
    assert hashes[0] == hashes[1] != hashes[2] and model_hash(model) not in hashes
