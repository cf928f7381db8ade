import copy
import pickle

import pytest
import torch
import torchaudio

from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.log_mel_spec import LogMelSpec, kernel_of
from avts_ext.ops.reference.log_mel import log_mel_spectrogram as reference
from avts_ext.transforms import LogMelSpectrogram

LENGTHS = [*range(1, 65), 127, 257, 320, 400, 512, 1024]


def largest_error(actual, expected):
    return (actual.double() - expected.double()).abs().max().item()


def options_for(n_fft):
    """Options with odd sizes all over; the window is shorter than the transform."""
    return {
        "n_fft": n_fft,
        "win_length": n_fft - n_fft // 3,
        "hop_length": max(1, n_fft // 3),
        "n_mels": min(5, n_fft // 2 + 1),
    }


def test_every_length_equals_the_reference(cpu_level):
    for n_fft in LENGTHS:
        x = torch.randn(2, 20 * n_fft + 7, dtype=torch.float64)  # several tiles, the last partial
        options = options_for(n_fft)
        expected = reference(x, **options)
        assert largest_error(log_mel_spectrogram(x, **options), expected) < 1e-11, n_fft
        assert largest_error(log_mel_spectrogram(x.float(), **options), expected) < 2e-4, n_fft


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": "hamming", "win_length": 512},
        {"window": "rectangular", "win_length": 1},
        {"power": 1.0, "log": "log10_clamp", "eps": 1e-3},
        {"center": False, "log": "ln_clamp", "eps": 1.0},
        {"pad_mode": "constant", "log": "none"},
        {"mel_scale": "slaney", "norm": "slaney", "f_min": 20.0, "f_max": 7000.0},
        {"hop_length": 700, "drop_last": False},
        {"n_fft": 321, "win_length": 319, "hop_length": 77},
        {"sample_rate": 48000, "n_fft": 2048, "win_length": 1200, "hop_length": 480},
    ],
)
def test_options_equal_the_reference(cpu_level, options):
    x = torch.randn(2, 3, 5003, dtype=torch.float64)
    expected = reference(x, **options)
    actual = log_mel_spectrogram(x, **options)
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        log_mel_spectrogram(x.float(), **options).double(), expected, rtol=2e-5, atol=5e-5
    )


def test_default_is_forty_by_one_hundred_for_a_second():
    assert LogMelSpectrogram.from_preset("avts")(torch.zeros(16000)).shape == (40, 100)


def test_silence_is_the_logarithm_of_eps(cpu_level):
    quiet = log_mel_spectrogram(torch.zeros(16000, dtype=torch.float64))
    torch.testing.assert_close(quiet, torch.full_like(quiet, 1e-6).log(), rtol=1e-15, atol=0)
    assert log_mel_spectrogram(torch.zeros(16000), eps=0.0).eq(-torch.inf).all()


def test_logarithm_keeps_its_precision_over_the_whole_range(cpu_level):
    for exponent in range(-18, 18):  # of the amplitude: powers down to denormal numbers
        x = torch.randn(1600) * 10.0**exponent
        expected = reference(x.double(), eps=0.0)
        assert largest_error(log_mel_spectrogram(x, eps=0.0), expected) < 1e-3, exponent


@pytest.mark.parametrize("n_fft", [400, 512])
@pytest.mark.parametrize("mel_scale, norm", [("htk", None), ("slaney", "slaney")])
def test_equals_torchaudio(cpu_level, n_fft, mel_scale, norm):
    theirs = torchaudio.transforms.MelSpectrogram(
        16000, n_fft, 320, 160, n_mels=40, mel_scale=mel_scale, norm=norm
    )
    ours = LogMelSpectrogram(
        16000, n_fft, 320, 160, mel_scale=mel_scale, norm=norm, log="none", drop_last=False
    )
    x = torch.randn(3, 16000)
    torch.testing.assert_close(ours(x), theirs(x), rtol=2e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
def test_torchaudio_preset_equals_its_defaults(cpu_level):
    x = torch.randn(2, 8000)
    theirs = torchaudio.transforms.MelSpectrogram()(x)
    torch.testing.assert_close(
        LogMelSpectrogram.from_preset("torchaudio")(x), theirs, rtol=2e-4, atol=2e-4
    )


def test_strided_and_half_precision_input():
    x = torch.randn(4000, 3).t()
    assert torch.equal(log_mel_spectrogram(x), log_mel_spectrogram(x.contiguous()))
    for dtype in (torch.bfloat16, torch.float16):
        half = x.to(dtype)
        assert torch.equal(log_mel_spectrogram(half), log_mel_spectrogram(half.float()))


def test_empty_batch():
    x = torch.zeros(0, 3, 16000, requires_grad=True)
    y = log_mel_spectrogram(x)
    assert y.shape == (0, 3, 40, 100)
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_items_do_not_depend_on_batch_or_threads(cpu_level):
    x = torch.randn(5, 16000, requires_grad=True)
    weight = torch.randn(5, 40, 100)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            y = log_mel_spectrogram(x)
            results.append((y, *torch.autograd.grad((y * weight).sum(), x)))
    finally:
        torch.set_num_threads(threads)
    (y, grad), (y3, grad3) = results
    assert torch.equal(y, y3) and torch.equal(grad, grad3)
    alone = log_mel_spectrogram(x[3])
    assert torch.equal(alone, y[3])
    assert torch.equal(torch.autograd.grad((alone * weight[3]).sum(), x)[0][3], grad[3])


def test_frames_do_not_depend_on_their_position(cpu_level):
    x = torch.randn(16000)
    options = {"center": False, "drop_last": False}
    whole = log_mel_spectrogram(x, **options)
    for first in (1, 5, 16, 37):
        assert torch.equal(log_mel_spectrogram(x[160 * first :], **options), whole[:, first:])


def test_nan_stays_in_its_frames(cpu_level):
    x = torch.randn(3, 16000, requires_grad=True)
    clean = log_mel_spectrogram(x)
    spoiled = x.detach().clone()
    spoiled[1, 8001] = torch.nan
    y = log_mel_spectrogram(spoiled)
    touched = torch.zeros(3, 100, dtype=torch.bool)
    touched[1, 50:52] = True  # frame t spans samples 160 t - 160 to 160 t + 159
    assert torch.equal(y.isnan().any(1), touched)
    keep = ~touched[:, None].expand_as(y)
    assert torch.equal(y[keep], clean[keep])
    spoiled.requires_grad_()
    (grad,) = torch.autograd.grad(log_mel_spectrogram(spoiled).sum(), spoiled)
    (expected,) = torch.autograd.grad(clean.sum(), x)
    assert torch.equal(grad[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    "options",
    [
        {"n_fft": 12, "win_length": 9, "hop_length": 5, "n_mels": 3},
        {"n_fft": 15, "win_length": 15, "hop_length": 20, "n_mels": 3, "power": 1.0},
        {"n_fft": 14, "win_length": 8, "hop_length": 3, "n_mels": 4, "log": "ln_clamp"},
        {"n_fft": 8, "win_length": 8, "hop_length": 4, "n_mels": 2, "log": "log10_clamp"},
        {"n_fft": 7, "win_length": 7, "hop_length": 2, "n_mels": 2, "log": "none"},
        {"n_fft": 10, "win_length": 7, "hop_length": 3, "n_mels": 3, "pad_mode": "constant"},
        {"n_fft": 16, "win_length": 13, "hop_length": 4, "n_mels": 4, "center": False},
    ],
)
def test_gradcheck(cpu_level, options):
    x = torch.randn(2, 45, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_mel_spectrogram(x, **options), (x,))


def test_every_length_has_the_gradient_of_the_reference(cpu_level):
    for n_fft in LENGTHS:
        x = torch.randn(2, 9 * n_fft + 7, dtype=torch.float64, requires_grad=True)
        options = options_for(n_fft)
        expected = reference(x, **options)
        weight = torch.randn_like(expected)
        (expected_grad,) = torch.autograd.grad((expected * weight).sum(), x)
        (grad,) = torch.autograd.grad((log_mel_spectrogram(x, **options) * weight).sum(), x)
        torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9, msg=str(n_fft))


def test_float32_gradient_is_as_exact_as_torch(cpu_level):
    x = torch.randn(4, 16000, dtype=torch.float64)
    weight = torch.randn(4, 40, 100, dtype=torch.float64)

    def gradient(function, x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad((function(x) * weight.to(x.dtype)).sum(), x)[0]

    exact = gradient(reference, x)
    ours = (gradient(log_mel_spectrogram, x.float()) - exact).norm()
    theirs = (gradient(reference, x.float()) - exact).norm()
    assert ours <= 1.5 * theirs


@pytest.mark.parametrize("hop_length", [7, 16, 75, 100, 160, 500])
@pytest.mark.parametrize("n_fft", [240, 400, 480, 512, 800])  # codelets without twiddles and with
def test_float32_gradient_of_any_window_and_hop(cpu_level, n_fft, hop_length):
    x = torch.randn(2, 3000) * 0.1
    for win_length in (n_fft, n_fft - 67):
        options = {"win_length": win_length, "hop_length": hop_length, "n_mels": 20, "log": "none"}

        def gradient(x, options=options):
            x = x.detach().requires_grad_()
            return torch.autograd.grad(log_mel_spectrogram(x, n_fft=n_fft, **options).sum(), x)[0]

        exact = gradient(x.double())
        assert (gradient(x) - exact).norm() <= 1e-6 * exact.norm()


def test_gradient_at_silence_is_zero(cpu_level):
    x = torch.zeros(16000, requires_grad=True)
    log_mel_spectrogram(x, power=1.0).sum().backward()
    assert x.grad.eq(0).all()


def test_second_derivative_is_refused():
    x = torch.randn(1000, requires_grad=True)
    (grad,) = torch.autograd.grad(log_mel_spectrogram(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize("shape", [(700,), (2, 700), (0, 700)])
def test_opcheck(shape):
    key = LogMelSpec(n_fft=64, win_length=50, hop_length=20, n_mels=8).key
    x = torch.randn(shape, requires_grad=True)
    torch.library.opcheck(torch.ops.avts.log_mel.default, (x.detach(), None, None, -1, key))
    torch.library.opcheck(torch.ops.avts.log_mel_with_mel.default, (x, None, None, -1, key))
    values, mel = torch.ops.avts.log_mel_with_mel(x, None, None, -1, key)
    torch.library.opcheck(
        torch.ops.avts.log_mel_backward.default,
        (torch.randn_like(values), mel, x.detach(), None, None, -1, key),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )


def test_compiles_without_a_break():
    transform = LogMelSpectrogram.from_preset("avts")
    compiled = torch.compile(transform, fullgraph=True, dynamic=True, backend="aot_eager")
    for samples in (16000, 9999):
        x = torch.randn(2, samples, requires_grad=True)
        y, expected = compiled(x), transform(x)
        assert torch.equal(y, expected)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(grad, torch.autograd.grad(expected.sum(), x)[0])


def test_module_copies_pickles_and_prints():
    transform = LogMelSpectrogram.from_preset("avts", n_mels=24)
    x = torch.randn(16000)
    for twin in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        assert torch.equal(twin(x), transform(x))
    assert "n_mels=24" in repr(transform)


BAD = [
    ({"sample_rate": 0}, "sample_rate is 0, expected a positive number"),
    ({"n_fft": 0, "win_length": 0}, "n_fft is 0, expected 1 to"),
    ({"win_length": 513}, "win_length is 513, expected 1 to n_fft = 512"),
    ({"hop_length": 0}, "hop_length is 0, expected 1 to"),
    (
        {"window": "kaiser"},
        "window is 'kaiser', expected one of: hann, hamming, povey, rectangular",
    ),
    ({"power": 0.0}, "power is 0, expected a number > 0"),
    ({"pad_mode": "edge"}, "pad_mode is 'edge', expected one of: reflect, constant"),
    ({"n_mels": 0}, "n_mels is 0, expected 1 to"),
    ({"n_mels": 258}, "n_mels is 258, expected at most .* = 257; no bin falls into the filters 0,"),
    ({"f_min": -1.0}, "f_min is -1, expected 0 <= f_min < 8000"),
    ({"f_max": 8001.0}, "f_max is 8001, expected .*sample_rate / 2 = 8000"),
    ({"f_min": 100.0, "f_max": 100.0}, "f_max is 100, expected f_min = 100 < f_max"),
    ({"mel_scale": "bark"}, "mel_scale is 'bark', expected one of: htk, slaney"),
    ({"norm": "l1"}, "norm is 'l1', expected one of: none, slaney"),
    ({"log": "ln"}, "log is 'ln', expected one of: none, ln_add, ln_clamp, log10_clamp, db"),
    ({"eps": float("nan")}, "eps is nan, expected a number >= 0"),
]


@pytest.mark.parametrize("device", ["cpu", "meta"])  # meta tensors reach the fake kernel
@pytest.mark.parametrize("options, message", BAD)
def test_bad_options_are_named(device, options, message):
    with pytest.raises(ValueError, match=message):
        log_mel_spectrogram(torch.zeros(16000, device=device), **options)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "samples, options, needed",
    [
        (256, {}, 257),
        (0, {"pad_mode": "constant"}, 160),
        (511, {"center": False, "drop_last": False}, 512),
        (671, {"center": False}, 672),
    ],
)
def test_short_waveforms_are_refused(device, samples, options, needed):
    with pytest.raises(ValueError, match=f"waveform is {samples} samples .* at least {needed}"):
        log_mel_spectrogram(torch.zeros(samples, device=device), **options)
    enough = log_mel_spectrogram(torch.zeros(needed, device=device), **options)
    assert enough.shape[-1] >= 1


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_other_bad_waveforms(device):
    with pytest.raises(TypeError, match=r"waveform is torch.int32, expected torch.float32"):
        log_mel_spectrogram(torch.zeros(16000, dtype=torch.int32, device=device))
    with pytest.raises(ValueError, match="waveform is 0-dimensional"):
        log_mel_spectrogram(torch.zeros((), device=device))


@pytest.mark.parametrize("name", ["starts", "lengths"])
def test_items_of_another_device_are_refused(name):
    items = {name: torch.zeros(2, dtype=torch.int64, device="meta")}
    with pytest.raises(ValueError, match=f"{name} is on meta, expected cpu"):
        log_mel_spectrogram(torch.randn(2, 8000), clip_length=4000, **items)


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="name is 'mp3', expected one of: avts, torchaudio"):
        LogMelSpectrogram.from_preset("mp3")


def test_many_plans_do_not_disturb_each_other():
    x = torch.randn(2000)
    before = log_mel_spectrogram(x)
    for n_mels in range(1, 40):  # more than the cache holds
        log_mel_spectrogram(x, n_mels=n_mels)
    assert torch.equal(log_mel_spectrogram(x), before)


def test_raw_kernel_refuses_an_output_of_wrong_shape():
    spec = LogMelSpec(n_fft=64, win_length=50, hop_length=20, n_mels=8)
    x, out = torch.zeros(1, 700), torch.zeros(1, 8, 34)
    with pytest.raises(ValueError, match=r"out is of shape \(1, 8, 34\), expected \(1, 8, 35\)"):
        kernel_of(spec.key).forward(x, None, None, -1, out, None, 1)
