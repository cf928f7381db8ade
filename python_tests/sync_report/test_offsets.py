from dataclasses import replace

import numpy as np
import pytest
from synthetic import STEP_S, windows

from avts_ext.sync_report.offsets import estimate_offset, lag_distances, mean_curve


def reference_distances(seen, max_steps):
    table = np.full((len(seen.video), 2 * max_steps + 1), np.nan)
    for i, picture in enumerate(seen.video.astype(np.float64)):
        for k in range(-max_steps, max_steps + 1):
            if 0 <= 2 * i + k < len(seen.audio):
                table[i, k + max_steps] = np.sqrt(np.sum((picture - seen.audio[2 * i + k]) ** 2))
    return table


def reference_curve(table):
    centred = np.array([row - np.mean(row[np.isfinite(row)]) for row in table])
    curve = []
    for column in centred.T:
        known = column[np.isfinite(column)]
        curve.append(known.mean() if len(known) >= 0.2 * len(column) else np.nan)
    return np.array(curve)


@pytest.mark.parametrize("n_audio, max_steps", [(64, 5), (65, 200), (3, 1), (40, 64)])
def test_against_plain_loops(n_audio, max_steps):
    seen = windows(duration_s=n_audio * STEP_S)
    table = lag_distances(seen, max_steps)
    expected = reference_distances(seen, max_steps)
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean_curve(table), reference_curve(expected), atol=1e-5)


@pytest.mark.parametrize("offset_s", [0, 0.5, -0.5, 1.96875, -1.96875])
def test_finds_whole_steps(offset_s):
    found = estimate_offset(lag_distances(windows(offset_s, noise=0), 64), STEP_S)
    assert found.offset_s == pytest.approx(offset_s, abs=STEP_S / 10)
    assert not found.at_edge


@pytest.mark.parametrize("offset_s", np.linspace(-0.7, 0.7, 15))
def test_finds_parts_of_a_step(offset_s):
    found = estimate_offset(lag_distances(windows(offset_s, noise=0), 64), STEP_S)
    assert found.offset_s == pytest.approx(offset_s, abs=0.005)


def test_parabola_by_hand():
    # Distances over lags -4..4 are (k - 0.75)^2 / 100: the parabola is met exactly.
    curve = (np.arange(-4, 5) - 0.75) ** 2 / 100
    found = estimate_offset(np.tile(curve, (3, 1)), 0.5)
    assert found.offset_s == pytest.approx(0.375)
    assert found.distance == pytest.approx(curve[5])


def test_lead_by_hand():
    # Lowest at lag -6; from 8 steps away on: 5, 5, 5, 3, 5; lead (3 - 1) / std.
    curve = [1, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 3.0, 5]
    found = estimate_offset(np.tile(curve, (4, 1)), 1.0)
    assert found.at_edge and found.offset_s == -6
    assert found.lead == pytest.approx((3 - 1) / np.std([5, 5, 5, 3, 5]))


def test_at_the_end_of_the_range_says_so():
    falling = np.tile(np.arange(9.0)[::-1], (3, 1))
    found = estimate_offset(falling, STEP_S)
    assert found.at_edge and found.offset_s == 4 * STEP_S


def test_few_partners_do_not_count():
    # 3 s of file: beyond 2.4 s less than a fifth of the windows have a partner.
    curve = mean_curve(lag_distances(windows(duration_s=3.0), 90))
    known = np.flatnonzero(np.isfinite(curve)) - 90
    assert abs(known).max() * STEP_S == pytest.approx(2.4, abs=0.07)


def test_nothing_known_is_refused():
    with pytest.raises(ValueError, match="distances: got no finite value"):
        estimate_offset(np.full((4, 9), np.nan), STEP_S)


def test_wrong_sound_comes_less_near():
    own, other = windows(0.3, seed=1), windows(0.3, seed=2)
    right = estimate_offset(lag_distances(own, 64), STEP_S)
    wrong = estimate_offset(lag_distances(replace(own, audio=other.audio), 64), STEP_S)
    assert right.distance < 0.8 * wrong.distance
