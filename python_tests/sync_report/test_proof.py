import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.evaluation.report import load_results
from avts_ext.sync_report.proof import calibration_error
from avts_ext.world import generate


def test_calibration_error_by_hand():
    # Bin 0.2 to 0.3: says 0.25, is 0.5; last bin: says 0.95, is 1.
    confidence, right = np.array([0.25, 0.25, 0.9, 1.0]), np.array([True, False, True, True])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_the_default_model_on_videos_it_never_saw(capsys):
    generate("w", 5, seed=909, progress=False)
    assert main(["evaluate", "sync_report", "w/videos", "--out", "r.json", "--seed", "3"]) == 0
    results = {r.protocol.removeprefix("sync-report, "): r for r in load_results("r.json")}
    assert results["median error/1"].value < 0.03 and results["median error/1"].unit == "s"
    assert results["within 100 ms/1"].value >= 0.6
    for kind in ("silence", "still picture", "steady tone"):
        assert results[f"answered, {kind}/1"].value == 0
    assert results["answered, other sound/1"].value <= 0.6
    assert "sync-report, calibration error, all files/1" in capsys.readouterr().out
