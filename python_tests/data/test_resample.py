import numpy as np
import pytest

from avts_ext._extension import _C
from avts_ext.data.resample import margin, resample

RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (22050, 16000), (11025, 16000)]


def resample_tone(hertz, old_rate, new_rate, n_out):
    pad = margin(old_rate, new_rate)
    n_in = n_out * old_rate // new_rate + 2 * pad + 3
    time_s = (np.arange(n_in) - pad) / old_rate
    return resample(
        np.sin(2 * np.pi * hertz * time_s).astype(np.float32), old_rate, new_rate, n_out
    )


@pytest.mark.parametrize(("old_rate", "new_rate"), [*RATES, (16001, 16000)])
@pytest.mark.parametrize("hertz", [0.5, 440.0, 3000.0])
def test_tone_in_the_pass_band_is_kept_at_its_place(old_rate, new_rate, hertz):
    n_out = 4000
    expected = np.sin(2 * np.pi * hertz * np.arange(n_out) / new_rate)
    assert np.abs(resample_tone(hertz, old_rate, new_rate, n_out) - expected).max() < 1e-3


@pytest.mark.parametrize("old_rate", [44100, 48000])
def test_tone_above_the_new_nyquist_rate_is_removed(old_rate):
    assert np.abs(resample_tone(9000.0, old_rate, 16000, 4000)).max() < 1e-3


def test_constant_stays_constant():
    ones = np.ones(5000, np.float32)
    np.testing.assert_allclose(resample(ones, 44100, 16000, 1000), 1.0, atol=1e-6)


def test_equal_rates_copy():
    samples = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    out = resample(samples, 16000, 16000, 90)
    np.testing.assert_array_equal(out, samples[:90])
    out[0] = 7.0
    assert samples[0] != 7.0


def test_a_stretch_resampled_alone_equals_its_part_of_the_whole():
    samples = np.random.default_rng(1).standard_normal(20000).astype(np.float32)
    whole = resample(samples, 44100, 16000, 6400)
    part = resample(samples[4410:], 44100, 16000, 3200)
    np.testing.assert_array_equal(part, whole[1600:4800])


@pytest.mark.parametrize(("phases", "step", "n_out"), [(1, 3, 50), (160, 441, 500), (7, 3, 1)])
def test_every_instruction_set_sums_the_same_products(cpu_level, phases, step, n_out):
    rng = np.random.default_rng(phases)
    filters = rng.standard_normal((phases, 32)).astype(np.float32)
    samples = rng.standard_normal((n_out - 1) * step // phases + 32).astype(np.float32)
    out = np.full(n_out, np.nan, np.float32)
    _C.resample(samples, filters, step, out)
    expected = [
        samples[j * step // phases :][:32].astype(np.float64) @ filters[j % phases]
        for j in range(n_out)
    ]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_bad_arrays_are_refused_by_name():
    filters, out = np.ones((2, 16), np.float32), np.empty(5, np.float32)
    with pytest.raises(ValueError, match="samples is 17, expected at least 18"):
        _C.resample(np.ones(17, np.float32), filters, 1, out)
    with pytest.raises(ValueError, match="filters is 15, expected columns by multiples of 16"):
        _C.resample(np.ones(50, np.float32), filters[:, :15].copy(), 1, out)
    with pytest.raises(ValueError, match="step is 0, expected at least 1"):
        _C.resample(np.ones(50, np.float32), filters, 0, out)
    with pytest.raises(ValueError, match="out"):
        _C.resample(np.ones(50, np.float32), filters, 1, np.empty(5))
