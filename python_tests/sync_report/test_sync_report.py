import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic import windows

from avts_ext.sync_report.calibration import fit_calibration
from avts_ext.sync_report.plot import save_plot
from avts_ext.sync_report.report import report_on_windows


@pytest.fixture(scope="module")
def calibration():
    return fit_calibration([windows(seed=k, noise=0.5 + 3 * (k % 3)) for k in range(30)], "")


def report(calibration, **options):
    return report_on_windows(windows(**{"seed": 50, "noise": 0.5, **options}), calibration)


@pytest.mark.parametrize("offset_s, verdict", [(0.0, "in sync"), (0.4, "out of sync")])
@pytest.mark.parametrize("duration_s", [6, 60])
def test_verdict_and_offset(calibration, offset_s, verdict, duration_s):
    for sign in (1, -1):
        found = report(calibration, offset_s=sign * offset_s, duration_s=duration_s)
        assert found.verdict == verdict and found.confidence > 0.8 and not found.reasons
        assert found.offset_s == pytest.approx(sign * offset_s, abs=0.01)
        assert found.drift_s_per_min == 0
        assert len(found.segments) == max(1, round(duration_s / 8))


def test_age_of_frames_is_taken_off(calibration):
    # Pictures are those of 31 ms later than the grid says.
    found = report(calibration, offset_s=0.25, lead_s=0.03125)
    assert found.offset_s == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("drift", [0.004, -0.01])
def test_drift_is_told_from_a_constant_offset(calibration, drift):
    found = report(calibration, offset_s=0.2, drift=drift, duration_s=90)
    assert found.verdict == "drifts" and found.confidence > 0.8
    assert found.drift_s_per_min == pytest.approx(60 * drift, rel=0.05)
    assert found.offset_s == pytest.approx(0.2, abs=0.03)
    middle_s = [(segment.start_s + segment.end_s) / 2 for segment in found.segments]
    expected = [0.2 + drift * (time_s - 45) for time_s in middle_s]
    np.testing.assert_allclose([s.offset_s for s in found.segments], expected, atol=0.03)


def test_segments_cover_the_file(calibration):
    segments = report(calibration, duration_s=50).segments
    ends = [segment.end_s for segment in segments]
    assert segments[0].start_s == 0 and ends[-1] == 50
    assert [segment.start_s for segment in segments[1:]] == ends[:-1]


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda w: {"level_db": np.full_like(w.level_db, -90)}, "the sound is silent"),
        (lambda w: {"motion": np.zeros_like(w.motion)}, "the picture does not move"),
        (lambda w: {"audio": w.audio[:1].repeat(len(w.audio), 0)}, "the sound hardly changes"),
        (lambda w: {"video": w.video[:1].repeat(len(w.video), 0)}, "the picture hardly changes"),
        (lambda w: {"audio": windows(seed=9).audio}, "no offset stands out"),
        (lambda w: {"audio_features": w.audio_features + 4}, "the sound is unlike"),
        (lambda w: {"video_features": w.video_features + 4}, "the picture is unlike"),
    ],
)
def test_cannot_tell_and_says_why(calibration, change, reason):
    seen = windows(0.4, seed=50, noise=0.5)
    found = report_on_windows(replace(seen, **change(seen)), calibration)
    assert found.verdict == "cannot tell" and found.confidence < 0.5
    assert any(reason in said for said in found.reasons)
    assert "cannot tell" in found.summary()


def test_one_line_says_which_way(calibration):
    assert "audio 0.4" in report(calibration, offset_s=0.4).summary()
    assert "s late" in report(calibration, offset_s=0.4).summary()
    assert "s early" in report(calibration, offset_s=-0.4).summary()


def test_json_has_no_nan_and_says_the_convention(calibration):
    record = report(calibration, duration_s=2.2).to_dict()
    text = json.dumps(record, allow_nan=False)
    assert "positive = audio late" in text and record["curve"][0] is None


@pytest.mark.parametrize("name", ["a.mp4", "costs $5 " + "long " * 40 + ".mp4"])
def test_plot_is_written_whole_and_nothing_is_cut_off(calibration, tmp_path, name):
    from matplotlib.image import imread

    found = report(calibration, offset_s=0.2, drift=0.01, duration_s=60)
    found = replace(found, path=name, duration_s=60.0, reasons=("W" * 60, "M " * 30))
    save_plot(found, tmp_path / "plot.png")
    assert [item.name for item in tmp_path.iterdir()] == ["plot.png"]
    picture = imread(tmp_path / "plot.png")[..., :3]
    for edge in (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:]):
        assert (edge == 1).all()
