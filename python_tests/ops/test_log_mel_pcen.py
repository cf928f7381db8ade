"""PCEN in place of a logarithm: against the float64 reference and librosa, however it is called."""

import librosa
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from avts_ext.ops.log_mel import log_mel_spectrogram, log_mel_spectrogram_numpy
from avts_ext.ops.log_mel_spec import LogMelSpec, Pcen
from avts_ext.ops.log_mel_streaming import LogMelStream
from avts_ext.ops.reference.log_mel import log_mel_spectrogram as reference
from avts_ext.transforms import LogMelSpectrogram

pytestmark = pytest.mark.kernels("cpu")

SMALL = {"n_fft": 16, "win_length": 11, "hop_length": 5, "n_mels": 4}
OPTIONS = [
    {},
    {"pcen": Pcen(gain=0.0, power=1.0)},  # the energy itself
    {"pcen": Pcen(gain=0.5, bias=10.0, power=0.25, time_constant_s=0.06, eps=1e-3)},
    {"layout": "time_mel", "n_mels": 37},
    {"mean": -1.0, "std": 3.0},
    {"power": 1.0, "n_fft": 400},
]
ITEMS = {
    "starts": torch.tensor([100, 0, 900]),
    "lengths": torch.tensor([2000, 3000, 1000]),
    "clip_length": 3000,
}


def pcen_spec(**options):
    return LogMelSpec(**{"log": "none", "pcen": Pcen(), **options})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_reference(options):
    x = torch.randn(2, 5003, dtype=torch.float64) * 3
    options = {"log": "none", "pcen": Pcen(), **options}
    expected = reference(x, **options)
    torch.testing.assert_close(log_mel_spectrogram(x, **options), expected, rtol=1e-10, atol=1e-12)
    values = log_mel_spectrogram(x.float(), **options)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-6)


def test_equals_librosa():
    x = np.random.default_rng(0).standard_normal(22050).astype(np.float32) * 2.0**31
    mel = librosa.feature.melspectrogram(y=x, sr=22050, power=1)
    theirs = librosa.pcen(mel, sr=22050, hop_length=512)
    spec = LogMelSpec.from_preset("librosa", power=1.0, log="none", top_db=None, pcen=Pcen())
    ours = log_mel_spectrogram(torch.from_numpy(x), spec)
    torch.testing.assert_close(ours.double(), torch.from_numpy(theirs), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["mel_time", "time_mel"])
def test_items_within_rows_are_as_if_cut_out(layout):
    x = torch.randn(3, 4000)
    spec = pcen_spec(layout=layout)
    values = log_mel_spectrogram(x, spec, **ITEMS)
    time_dim = 0 if layout == "time_mel" else 1
    for i, item in enumerate(values):
        start, length = int(ITEMS["starts"][i]), int(ITEMS["lengths"][i])
        frames = spec.frames(length)
        alone = log_mel_spectrogram(x[i, start : start + length], spec)
        assert torch.equal(item.narrow(time_dim, 0, frames), alone)
        assert item.narrow(time_dim, frames, item.shape[time_dim] - frames).eq(0).all()


@pytest.mark.parametrize("layout", ["mel_time", "time_mel"])
def test_gradcheck(layout):
    spec = pcen_spec(**SMALL, layout=layout, pcen=Pcen(time_constant_s=0.001), std=2.0)
    x = torch.randn(2, 45, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([30, 45])
    assert torch.autograd.gradcheck(lambda x: log_mel_spectrogram(x, spec), (x,))
    assert torch.autograd.gradcheck(lambda x: log_mel_spectrogram(x, spec, lengths=lengths), (x,))


def test_float32_gradient_is_that_of_the_reference():
    x = torch.randn(2, 8000, dtype=torch.float64) * 3
    weight = torch.randn(2, 40, 50, dtype=torch.float64)
    options = {"log": "none", "pcen": Pcen()}

    def gradient(function, x):
        x = x.requires_grad_()
        return torch.autograd.grad((function(x, **options) * weight.to(x.dtype)).sum(), x)[0]

    exact = gradient(reference, x.clone())
    error = (gradient(log_mel_spectrogram, x.float()) - exact).norm() / exact.norm()
    assert error < 2e-6


def test_items_do_not_depend_on_batch_or_threads():
    x = torch.randn(5, 16000)
    spec = pcen_spec()
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(log_mel_spectrogram(x, spec))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)
    assert torch.equal(log_mel_spectrogram(x[3], spec), results[0][3])


def test_nan_stays_in_its_item():
    x = torch.randn(2, 8000)
    clean = log_mel_spectrogram(x, pcen_spec())
    x[1, 4001] = torch.nan
    values = log_mel_spectrogram(x, pcen_spec())
    assert torch.equal(values[0], clean[0])
    assert torch.equal(values[1, :, :25], clean[1, :, :25])  # frames before it
    assert values[1, :, 25:].isnan().all()


@pytest.mark.parametrize("dtype", [None, "float64", "float16"])
def test_numpy_door_and_stream_give_the_same_bits(dtype):
    x = torch.randn(2, 6000) * 100
    spec = pcen_spec(dtype=dtype, mean=1.0, std=2.0)
    expected = log_mel_spectrogram(x, spec).numpy()
    lengths = np.array([6000, 4321])
    np.testing.assert_array_equal(
        log_mel_spectrogram_numpy(x.numpy(), spec, lengths=lengths),
        log_mel_spectrogram(x, spec, lengths=torch.from_numpy(lengths)).numpy(),
    )
    stream = LogMelStream(spec, (2,))
    parts = [stream.feed(chunk) for chunk in np.split(x.numpy(), [7, 900, 901, 5000], axis=1)]
    streamed = np.concatenate([*parts, stream.finish()], axis=-1)
    assert streamed.dtype == expected.dtype
    np.testing.assert_array_equal(streamed, expected)


def test_operators_are_whole():
    spec = pcen_spec(**SMALL)
    energies = torch.rand(2, 4, 9, requires_grad=True)
    lengths = torch.tensor([45, 30])
    torch.library.opcheck(torch.ops.avts.log_mel_pcen.default, (energies, lengths, spec.key))
    torch.library.opcheck(
        torch.ops.avts.log_mel_pcen_backward.default,
        (torch.randn(2, 4, 9), energies.detach(), lengths, spec.key),
        test_utils=("test_schema", "test_faketensor", "test_aot_dispatch_dynamic"),
    )


def test_compiles_and_exports():
    transform = LogMelSpectrogram(log="none", pcen=Pcen())
    x = torch.randn(2, 8000, requires_grad=True)
    compiled = torch.compile(transform, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), transform(x))
    program = torch.export.export(transform, (x.detach(),), strict=False)
    assert torch.equal(program.module()(x.detach()), transform(x))


def test_vmap_is_a_batch():
    x, spec = torch.randn(3, 2, 3000), pcen_spec()
    lengths = torch.tensor([3000, 2000])

    def function(x):
        return log_mel_spectrogram(x, spec, lengths=lengths)

    expected = torch.stack([function(item) for item in x])
    assert torch.equal(torch.vmap(function)(x), expected)
    assert torch.equal(torch.vmap(function, in_dims=2)(x.permute(1, 2, 0)), expected)
    item = x[0].clone().requires_grad_()
    values = function(item)
    grads = torch.randn(3, *values.shape)
    expected = [torch.autograd.grad(values, item, g, retain_graph=True)[0] for g in grads]
    (batched,) = torch.autograd.grad(values, item, grads, is_grads_batched=True)
    assert torch.equal(batched, torch.stack(expected))


def test_second_derivative_is_refused():
    x = torch.randn(1000, requires_grad=True)
    values = log_mel_spectrogram(x, pcen_spec())
    (grad,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gain": -0.1}, r"pcen.gain is -0.1, expected a number >= 0"),
        ({"bias": 0.0}, r"pcen.bias is 0.0, expected a number > 0"),
        ({"power": float("nan")}, r"pcen.power is nan, expected a number > 0"),
        ({"time_constant_s": float("inf")}, r"pcen.time_constant_s is inf, expected a number > 0"),
        ({"eps": -1.0}, r"pcen.eps is -1.0, expected a number > 0"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Pcen(**change)


def test_a_logarithm_beside_it_is_refused():
    with pytest.raises(ValueError, match="log is 'ln_add', expected 'none' with pcen"):
        LogMelSpec(pcen=Pcen())


def test_gpus_are_refused():
    with FakeTensorMode(allow_non_fake_inputs=True):
        waveform = torch.empty(2, 3000, device="cuda")
        with pytest.raises(ValueError, match=r"waveform is on cuda.*, expected the CPU with pcen"):
            log_mel_spectrogram(waveform, pcen_spec())
