import numpy as np
import pytest

from avts_ext.evaluation.intervals import bootstrap_interval, wilson_interval


def test_wilson_matches_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score without continuity
    # correction): 81/263, 15/148, 0/20, 1/29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_bootstrap_of_equal_groups_has_no_width():
    assert bootstrap_interval([np.array([0.0, 1.0]), np.array([1.0, 0.0])]) == (0.5, 0.5)


def test_bootstrap_resamples_groups_not_values():
    # Two videos of 100 equal frames: a resampled set is all 0, half, or all 1.
    groups = [np.zeros(100), np.ones(100), np.zeros(0)]
    assert bootstrap_interval(groups) == (0.0, 1.0)


def test_bootstrap_width_of_many_groups_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval([value[None] for value in values])
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


@pytest.mark.parametrize("successes, n", [(1, 0), (-1, 3), (4, 3)])
def test_wilson_rejects(successes, n):
    with pytest.raises(ValueError, match="got"):
        wilson_interval(successes, n)


def test_bootstrap_rejects_no_value():
    with pytest.raises(ValueError, match="groups"):
        bootstrap_interval([np.zeros(0)])


@pytest.mark.parametrize("n", range(1, 60))
def test_wilson_ends_at_zero_and_one_exactly(n):
    assert wilson_interval(0, n)[0] == 0
    assert wilson_interval(n, n)[1] == 1
