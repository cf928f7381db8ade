from dataclasses import replace

import numpy as np
import pytest
from synthetic import STEP_S, windows

from avts_ext.sync_report.calibration import (
    SyncCalibration,
    calibration_path,
    fit_calibration,
    sha256_of,
    shifted,
)
from avts_ext.sync_report.offsets import OffsetEstimate, estimate_offset, lag_distances


@pytest.fixture(scope="module")
def calibration():
    # Mild noise in some files, much in others: the network is right in some.
    files = [windows(seed=k, noise=0.5 + 3 * (k % 3)) for k in range(30)]
    return fit_calibration(files, "ab", seed=1)


def numbered(n_audio=20):
    """Windows that say when they begin."""
    empty = windows(duration_s=n_audio * STEP_S)
    audio = np.arange(n_audio, dtype=np.float32)[:, None]
    return replace(empty, audio=audio, video=audio[::2], level_db=audio[:, 0])


@pytest.mark.parametrize("steps", [-7, -2, 0, 1, 4])
@pytest.mark.parametrize("first, n_steps", [(0, 20), (3, 12)])
def test_shifted_pairs_a_picture_with_sound_that_is_late(steps, first, n_steps):
    part = shifted(numbered(), steps, first, n_steps)
    # Picture and sound begin at the same time of the shifted file: the sound there is older.
    assert part.audio[0, 0] == part.video[0, 0] - steps
    assert part.audio.min() >= first and part.audio.max() < first + n_steps
    assert part.video.min() >= first and part.video.max() < first + n_steps
    assert (np.diff(part.audio[:, 0]) == 1).all() and (np.diff(part.video[:, 0]) == 2).all()
    assert len(part.video_features) == len(part.video) == -(-len(part.audio) // 2)
    assert len(part.audio_features) == len(part.audio) and (part.level_db == part.audio[:, 0]).all()


def test_shifts_are_found_again():
    for steps in (-20, 7):
        found = estimate_offset(lag_distances(shifted(windows(noise=0), steps), 64), STEP_S)
        assert found.offset_s == pytest.approx(steps * STEP_S, abs=STEP_S / 10)


def test_nearer_is_surer_and_a_greater_lead_is_surer(calibration):
    def probability(**changes):
        estimate = OffsetEstimate(0.1, 0.7, 1.0, False)
        return calibration.probability(replace(estimate, **changes))

    assert probability(distance=0.4) > probability(distance=0.9)
    assert probability(lead=5.0) > probability(lead=0.1)
    assert probability(at_edge=True) == 0
    assert all(0 <= probability(distance=distance) <= 1 for distance in (0, 2))


def test_confidence_is_about_as_often_right_as_it_says(calibration):
    said, right = [], []

    def ask(seen, offset_s):
        found = estimate_offset(lag_distances(seen, 64), STEP_S)
        said.append(calibration.probability(found))
        right.append(abs(found.offset_s - offset_s) < 0.1)

    for k in range(300):
        seen, steps = windows(seed=100 + k, noise=0.5 + 3 * (k % 3)), int(k % 41 - 20)
        ask(shifted(seen, steps), steps * STEP_S)
        if k % 2:  # one without an answer for two with one, as in the calibration
            ask(replace(seen, audio=windows(seed=500 + k).audio), np.inf)
    said, right = np.array(said), np.array(right)
    for sure in (said < 0.5, said >= 0.5):
        assert sure.sum() > 20
        assert said[sure].mean() == pytest.approx(right[sure].mean(), abs=0.1)


def test_unknown_material_is_further_away(calibration):
    known = windows(seed=70)
    assert max(calibration.novelty(known)) < 1.2
    strange = replace(known, audio_features=known.audio_features + 3)
    video, audio = calibration.novelty(strange)
    assert video < 1.2 < 2 < audio
    assert calibration.familiarity(known) > 0.8 and calibration.familiarity(strange) == 0


def test_survives_its_file(calibration, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    path = calibration_path(model)
    assert path.name == "model.sync.safetensors"
    replace(calibration, model_sha256=sha256_of(model)).save(path)
    again = SyncCalibration.load(path, model)
    for name in ("weights", "video_precision", "audio_mean", "audio_limit", "bias_s"):
        np.testing.assert_array_equal(getattr(again, name), getattr(calibration, name))
    model.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="the calibration of another model"):
        SyncCalibration.load(path, model)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        SyncCalibration.load(path, model)
    with pytest.raises(FileNotFoundError):
        SyncCalibration.load(tmp_path / "none", model)


def test_files_may_differ_in_length():
    files = [windows(seed=k, noise=0.5 + 3 * (k % 3), duration_s=4 + k % 9) for k in range(30)]
    assert fit_calibration(files, "").weights[1] < 0 < fit_calibration(files, "").weights[2]


def test_rejects():
    files = [windows(seed=k) for k in range(20)]
    with pytest.raises(ValueError, match="files: got 19"):
        fit_calibration(files[:19], "")
    with pytest.raises(ValueError, match="max_offset_s"):
        fit_calibration(files, "", max_offset_s=0)
    with pytest.raises(ValueError, match=r"the shortest has windows over 6\.0 s"):
        fit_calibration(files, "", max_offset_s=4)
