import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.evaluation.report import load_results
from avts_ext.sync_report.drift_proof import stretched
from avts_ext.sync_report.proof import calibration_error
from avts_ext.world import generate


def test_calibration_error_by_hand():
    # Bin 0.2 to 0.3: says 0.25, is 0.5; last bin: says 0.95, is 1.
    confidence, right = np.array([0.25, 0.25, 0.9, 1.0]), np.array([True, False, True, True])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_the_default_model_on_videos_it_never_saw(capsys):
    generate("w", 5, seed=909, progress=False)
    command = ["evaluate", "sync_report", "--data", "w/videos", "--out", "r.json", "--seed", "3"]
    assert main(command) == 0
    every = {r.protocol: r for r in load_results("r.json")}
    results = {name.removeprefix("sync-report, "): r for name, r in every.items()}
    assert results["median error/1"].value < 0.03 and results["median error/1"].unit == "s"
    assert results["within 100 ms/1"].value >= 0.6
    for kind in ("silence", "still picture", "steady tone"):
        assert results[f"answered, {kind}/1"].value == 0
    assert results["answered, other sound/1"].value <= 0.6
    assert "sync-report, calibration error, all files/1" in capsys.readouterr().out
    assert every["sync-drift, found/1"].value == 1
    assert every["sync-drift, median error/1"].value < 30
    assert every["sync-drift, constant offset called a drift/1"].value == 0


def test_stretched_by_hand():
    wave = np.array([1.0, 2, 3, 4])
    # Twice as slow at 1 Hz and late by a second: sample 1 of the sound comes at 1 + 2 = 3 s.
    assert stretched(wave, 1.0, 1.0, 1).tolist() == [0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 0]
    assert stretched(wave, -1.0, 0.0, 1).tolist() == [2, 3, 4]
