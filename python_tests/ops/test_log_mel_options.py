"""Each option against the plain float64 reference, and the ways to say which samples are meant."""

import numpy as np
import pytest
import torch

from avts_ext.ops.log_mel import log_mel_spectrogram, log_mel_spectrogram_numpy
from avts_ext.ops.log_mel_spec import LogMelSpec
from avts_ext.ops.reference.log_mel import dither_noise
from avts_ext.ops.reference.log_mel import log_mel_spectrogram as reference

SMALL = {"n_fft": 16, "win_length": 11, "hop_length": 5, "n_mels": 4}
OPTIONS = [
    {"window": "povey", "periodic": False},
    {"window": "hamming", "periodic": False, "win_length": 511},
    {"window": tuple(range(1, 321))},
    {"frame_span": "win_length", "center": False, "drop_last": False},
    {"frame_span": "win_length", "win_length": 400},
    {"remove_dc": True},
    {"preemphasis": 0.97},
    {"remove_dc": True, "preemphasis": 0.9, "n_fft": 331},
    {"dither": 0.5, "dither_seed": 7},
    {"power": 3.0},
    {"power": 0.5, "n_fft": 400},
    {"power": 1.0, "n_fft": 400},
    {"mel_slopes": "mel", "f_min": 30.0, "f_max": 7000.0},
    {"mel_slopes": "mel", "mel_scale": "slaney", "norm": "slaney"},
    {"log": "db", "eps": 1e-10, "top_db": 30.0},
    {"log": "ln_clamp", "top_db": 20.0, "mean": -1.0, "std": 3.0},
    {"log": "log10_clamp", "top_db": 20.0, "layout": "time_mel"},
    {"log": "none", "mean": 2.0, "std": 0.5},
    {"layout": "time_mel", "n_mels": 37},
    {"hop_length": 1, "win_length": 40},
    {"hop_length": 7, "n_fft": 240, "win_length": 240},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_option_equals_the_reference(cpu_level, options):
    x = torch.randn(2, 1703, dtype=torch.float64) + 0.3
    expected = reference(x, **options)
    actual = log_mel_spectrogram(x, **options)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    single = log_mel_spectrogram(x.float(), **options)
    torch.testing.assert_close(single.double(), expected, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_option_has_the_gradient_of_the_reference(cpu_level, options):
    x = (torch.randn(2, 1200, dtype=torch.float64) + 0.3).requires_grad_()
    expected = reference(x, **options)
    weight = torch.randn_like(expected)
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), x)
    (grad,) = torch.autograd.grad((log_mel_spectrogram(x, **options) * weight).sum(), x)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-8, atol=1e-8)
    single = x.detach().float().requires_grad_()
    loss = (log_mel_spectrogram(single, **options) * weight.float()).sum()
    (single_grad,) = torch.autograd.grad(loss, single)
    assert (single_grad - expected_grad).norm() <= 1e-4 * expected_grad.norm()


@pytest.mark.parametrize(
    "options",
    [
        {"remove_dc": True, "preemphasis": 0.9},
        {"power": 3.0},
        {"log": "db", "eps": 1e-10, "top_db": 6.0},
        {"layout": "time_mel", "std": 2.0},
        {"window": tuple(range(11)), "mel_slopes": "mel"},
        {"frame_span": "win_length", "center": False, "dither": 0.1},
    ],
    ids=str,
)
def test_gradcheck(options):
    x = torch.randn(2, 45, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_mel_spectrogram(x, **SMALL, **options), (x,))


def test_gradcheck_of_items_within_rows():
    x = torch.randn(2, 60, dtype=torch.float64, requires_grad=True)
    items = {"starts": torch.tensor([3, 17]), "lengths": torch.tensor([40, 31]), "clip_length": 42}

    def function(x):
        return log_mel_spectrogram(x, **SMALL, **items)

    assert torch.autograd.gradcheck(function, (x,))
    (grad,) = torch.autograd.grad(function(x).sum(), x)
    assert grad[0, :3].eq(0).all() and grad[0, 43:].eq(0).all() and grad[1, 48:].eq(0).all()


@pytest.mark.parametrize("layout", ["mel_time", "time_mel"])
def test_items_within_rows_are_as_if_cut_out(cpu_level, layout):
    spec = LogMelSpec(layout=layout, log="db", top_db=40.0)
    x = torch.randn(2, 3, 30000)
    starts = torch.tensor([[0, 5, 9999], [14000, 1, 3]])
    lengths = torch.tensor([[16000, 257, 8001], [300, 15999, 4000]])
    values = log_mel_spectrogram(x, spec, starts=starts, lengths=lengths, clip_length=16000)
    assert values.shape == ((2, 3, 40, 100) if layout == "mel_time" else (2, 3, 100, 40))
    for i in np.ndindex(2, 3):
        alone = log_mel_spectrogram(x[i][starts[i] : starts[i] + lengths[i]], spec)
        ours = values[i] if layout == "mel_time" else values[i].T
        frames = int(spec.frames(lengths)[i])
        assert torch.equal(ours[:, :frames], alone if layout == "mel_time" else alone.T)
        assert ours[:, frames:].eq(0).all()


def test_items_within_rows_equal_the_reference():
    x = torch.randn(3, 4000, dtype=torch.float64)
    items = {
        "starts": torch.tensor([0, 100, 2000]),
        "lengths": torch.tensor([1500, 999, 2000]),
        "clip_length": 2000,
    }
    torch.testing.assert_close(
        log_mel_spectrogram(x, **items), reference(x, **items), rtol=1e-10, atol=1e-10
    )


def exactly(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16])
def test_every_sample_value_is_read_exactly(cpu_level, dtype):
    samples = torch.arange(-32768, 32768, dtype=torch.int16)  # all bit patterns
    if dtype == torch.int16:
        exactly(log_mel_spectrogram(samples), log_mel_spectrogram(samples.float() / 32768))
    else:
        samples = samples.view(dtype)
        exactly(log_mel_spectrogram(samples), log_mel_spectrogram(samples.float()))


@pytest.mark.parametrize("layout", ["mel_time", "time_mel"])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
def test_results_are_rounded_to_the_nearest(cpu_level, name, layout):
    # Powers from below the smallest half to beyond the largest.
    x = torch.randn(2, 9000) * torch.logspace(-6, 3, 9000)
    x[1, 4000], x[1, 7000] = torch.nan, torch.inf
    spec = LogMelSpec(log="none", layout=layout)
    values = log_mel_spectrogram(x, LogMelSpec(log="none", layout=layout, dtype=name))
    exactly(values, log_mel_spectrogram(x, spec).to(getattr(torch, name)))
    assert log_mel_spectrogram(x.double(), spec).dtype == torch.float64
    assert LogMelSpec(dtype=getattr(torch, name)) == LogMelSpec(dtype=name)


def test_gradient_of_half_precision_samples():
    x = torch.randn(2, 4000).to(torch.bfloat16).requires_grad_()
    (grad,) = torch.autograd.grad(log_mel_spectrogram(x).sum(), x)
    single = x.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(log_mel_spectrogram(single).sum(), single)
    assert torch.equal(grad, expected.to(torch.bfloat16))


def test_gradient_of_half_precision_results():
    x = torch.randn(2, 4000, requires_grad=True)
    weight = torch.randn(2, 40, 25).half()
    values = log_mel_spectrogram(x, dtype="float16")
    (grad,) = torch.autograd.grad((values * weight).sum(), x)
    (expected,) = torch.autograd.grad((log_mel_spectrogram(x) * weight.float()).sum(), x)
    assert torch.equal(grad, expected)


@pytest.mark.parametrize("options", [{}, {"dither": 1.0}, {"remove_dc": True, "n_fft": 400}])
def test_items_do_not_depend_on_each_other(cpu_level, options):
    spec = LogMelSpec(**{"top_db": 30.0, "log": "db", **options})
    x = torch.randn(5, 30000)
    clean = log_mel_spectrogram(x, spec)
    assert torch.equal(log_mel_spectrogram(x[3], spec), clean[3])
    spoiled = x.clone()
    spoiled[1, 8001], spoiled[2] = torch.nan, torch.inf
    values = log_mel_spectrogram(spoiled, spec)
    assert torch.equal(values[[0, 3, 4]], clean[[0, 3, 4]])
    assert not values[1].isfinite().any()  # its largest value is not known


def test_dither_is_gaussian_and_repeatable():
    noise = dither_noise(3, 40000)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((noise**4).mean() - 3) < 0.2
    x = torch.zeros(2, 8000)
    first, again, other = (log_mel_spectrogram(x, dither=1.0, dither_seed=s) for s in (3, 3, 4))
    assert torch.equal(first, again) and torch.equal(first[0], first[1])
    assert not torch.equal(first, other)


@pytest.mark.kernels("cpu")
def test_numpy_door_gives_the_same_bits():
    x = np.random.default_rng(0).normal(size=(2, 3, 12000)).astype(np.float32)
    starts, lengths = np.arange(6).reshape(2, 3), np.full((2, 3), 5000)
    for preset in ("avts", "whisper", "kaldi"):
        spec = LogMelSpec.from_preset(preset)
        ours = log_mel_spectrogram_numpy(x, spec)
        exactly(torch.from_numpy(ours), log_mel_spectrogram(torch.from_numpy(x), spec))
        ours = log_mel_spectrogram_numpy(x, spec, starts=starts, lengths=lengths, threads=2)
        tensors = {"starts": torch.from_numpy(starts), "lengths": torch.from_numpy(lengths)}
        exactly(torch.from_numpy(ours), log_mel_spectrogram(torch.from_numpy(x), spec, **tensors))
    assert log_mel_spectrogram_numpy(x.astype(np.float64), spec).dtype == np.float64
    pcm = (x * 1000).astype(np.int16)[..., ::2]
    exactly(
        torch.from_numpy(log_mel_spectrogram_numpy(pcm, spec)),
        log_mel_spectrogram(torch.from_numpy(pcm.copy()), spec),
    )


@pytest.mark.kernels("cpu")
def test_numpy_door_refuses_what_the_function_refuses():
    with pytest.raises(ValueError, match="waveform is 256 samples long, expected at least 257"):
        log_mel_spectrogram_numpy(np.zeros(256, np.float32), LogMelSpec())
    with pytest.raises(ValueError, match="waveform is int32, expected float32, float64"):
        log_mel_spectrogram_numpy(np.zeros(2560, np.int32), LogMelSpec())
    with pytest.raises(ValueError, match="dtype is 'bfloat16', expected a NumPy type"):
        log_mel_spectrogram_numpy(np.zeros(2560, np.float32), LogMelSpec(dtype="bfloat16"))


BAD_VALUES = [
    ({"lengths": [16000, 16001]}, r"lengths\[1\] is 16001, expected 257 to 16000"),
    ({"lengths": [256, 300]}, r"lengths\[0\] is 256, expected 257 to 16000"),
    ({"starts": [0, -1], "clip_length": 900}, r"starts\[1\] is -1, expected 0 to 15100"),
    ({"starts": [0, 15101], "clip_length": 900}, r"starts\[1\] is 15101, expected 0 to 15100"),
    ({"lengths": [900, 901], "clip_length": 900}, r"lengths\[1\] is 901, expected 257 to 900"),
]
BAD_ITEMS = [
    ({"starts": [0, 0]}, "clip_length is None, expected a number of samples"),
    ({"starts": [0, 0], "clip_length": 16001}, "clip_length is 16001, expected at most 16000"),
    ({"lengths": [900]}, r"lengths is torch.int64 of shape \(1,\), expected torch.int64"),
    ({"clip_length": 100}, "waveform is 100 samples long, expected at least 257"),
]


def check_bad_items(items, message):
    x = torch.zeros(2, 16000)
    items = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in items.items()}
    with pytest.raises(ValueError, match=message):
        log_mel_spectrogram(x, **items)


@pytest.mark.kernels("cpu")  # a device finds them by other means
@pytest.mark.parametrize("items, message", BAD_VALUES)
def test_bad_values_are_named(items, message):
    check_bad_items(items, message)


@pytest.mark.parametrize("items, message", BAD_ITEMS)
def test_bad_items_are_named(items, message):
    check_bad_items(items, message)


BAD_SPECS = [
    ({"window": (1.0, 2.0)}, ValueError, "window is 2 samples long, expected win_length = 320"),
    ({"window": (float("nan"),) * 320}, ValueError, "window is nan, expected finite"),
    ({"window": 3}, TypeError, "window is 3, expected a name or a sequence of numbers"),
    ({"preemphasis": 1.5}, ValueError, "preemphasis is 1.5, expected 0 to 1"),
    ({"dither": -1.0}, ValueError, "dither is -1, expected a number >= 0"),
    ({"frame_span": "hop"}, ValueError, "frame_span is 'hop', expected one of: n_fft, win_length"),
    ({"mel_slopes": "x"}, ValueError, "mel_slopes is 'x', expected one of: hz, mel"),
    ({"layout": "x"}, ValueError, "layout is 'x', expected one of: mel_time, time_mel"),
    ({"std": 0.0}, ValueError, "std is 0, expected a number > 0"),
    ({"mean": float("inf")}, ValueError, "mean is inf, expected a finite number"),
    ({"top_db": -1.0}, ValueError, "top_db is -1.0, expected a number >= 0 or None"),
    ({"top_db": 1.0, "log": "none"}, ValueError, "top_db is 1.0, expected None if log is 'none'"),
    ({"dtype": "int8"}, ValueError, "dtype is 'int8', expected one of: float32"),
    ({"n_fft": 512.5}, TypeError, "n_fft is 512.5, of a wrong type"),
    ({"center": None}, TypeError, "center is None, of a wrong type"),
]


@pytest.mark.parametrize("options, error, message", BAD_SPECS)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        LogMelSpec(**options)


def test_frames_of_lengths():
    for options in ({}, {"center": False}, {"frame_span": "win_length", "drop_last": False}):
        spec = LogMelSpec(**options)
        for samples in (spec.samples_needed, 1000, 1119, 1120, 16000):
            frames = log_mel_spectrogram(torch.zeros(samples), spec).shape[-1]
            assert frames == spec.frames(samples) == int(spec.frames(torch.tensor(samples)))
