"""The model in the package is the one its docstring tells of, and does what the docs say."""

import numpy as np
import pytest

from avts_ext import shipped
from avts_ext.models.avts import AVTS
from avts_ext.sync_report.calibration import SyncCalibration, calibration_path, sha256_of
from avts_ext.sync_report.remux import delay_sound
from avts_ext.sync_report.report import report_on
from avts_ext.world import generate

# A world of its own: training, calibration and the figures in the docs use other seeds.
SEED = 2025


@pytest.fixture(scope="module")
def tools():
    calibration = SyncCalibration.load(calibration_path(shipped.WORLD_MODEL), shipped.WORLD_MODEL)
    return AVTS.load(shipped.WORLD_MODEL), calibration


def test_it_is_the_file_it_says():
    assert sha256_of(shipped.WORLD_MODEL) == shipped.WORLD_MODEL_SHA256
    folder = shipped.WORLD_MODEL.parent
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 1_000_000


def test_offsets_of_videos_never_seen(tools, tmp_path):
    videos = generate(tmp_path / "w", 12, seed=SEED, progress=False) / "videos"
    rng, errors_s, sure = np.random.default_rng(0), [], []
    for path in sorted(videos.iterdir()):
        late_s = float(rng.uniform(-1.5, 1.5))
        found = report_on(delay_sound(path, tmp_path / path.name, late_s), *tools)
        errors_s.append(abs(found.offset_s - late_s))
        sure.append(found.confidence >= 0.5)
    errors_s, sure = np.array(errors_s), np.array(sure)
    assert np.median(errors_s) < 0.02
    assert sure.mean() > 0.7 and (errors_s[sure] < 0.1).mean() > 0.85
