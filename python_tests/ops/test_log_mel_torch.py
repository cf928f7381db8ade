"""The log-mel spectrogram under what PyTorch does with operators."""

import pytest
import torch

from avts_ext import LogMelSpectrogram
from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.log_mel_spec import LogMelSpec

ITEMS = {
    "starts": torch.tensor([100, 0, 900]),
    "lengths": torch.tensor([2000, 3000, 1000]),
    "clip_length": 3000,
}


@pytest.mark.parametrize("preset", ["avts", "whisper", "kaldi"])
def test_exported_program_gives_the_same_bits(preset):
    transform = LogMelSpectrogram.from_preset(preset)
    time = torch.export.Dim("time", min=1000)
    program = torch.export.export(
        transform, (torch.randn(2, 16000),), dynamic_shapes=({1: time},), strict=False
    )
    for samples in (16000, 12345):
        x = torch.randn(2, samples)
        assert torch.equal(program.module()(x), transform(x))


def test_options_and_items_compile_without_a_break():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def function(x, starts, lengths):
        return log_mel_spectrogram(
            x, starts=starts, lengths=lengths, clip_length=3000, n_fft=400, top_db=20.0
        )

    x = torch.randn(3, 4000, requires_grad=True)
    values = function(x, ITEMS["starts"], ITEMS["lengths"])
    expected = log_mel_spectrogram(x, **ITEMS, n_fft=400, top_db=20.0)
    assert torch.equal(values, expected)
    grads = [torch.autograd.grad(y.sum(), x)[0] for y in (values, expected)]
    assert torch.equal(*grads)


def test_vmap_is_a_batch():
    x = torch.randn(3, 2, 5000)
    spec = LogMelSpec(log="db", top_db=30.0)
    expected = log_mel_spectrogram(x, spec)

    def function(x):
        return log_mel_spectrogram(x, spec)

    assert torch.equal(torch.vmap(function)(x), expected)
    assert torch.equal(torch.vmap(function, in_dims=2)(x.permute(1, 2, 0)), expected)


def test_vmap_over_items_of_one_row():
    track = torch.randn(9000)
    starts = torch.tensor([0, 77, 5000])

    def clip(start):
        return log_mel_spectrogram(track, starts=start, clip_length=4000)

    expected = [log_mel_spectrogram(track[s : s + 4000]) for s in starts]
    assert torch.equal(torch.vmap(clip)(starts), torch.stack(expected))


def test_batched_gradients():
    x = torch.randn(2, 3000, requires_grad=True)
    values = log_mel_spectrogram(x)
    weights = torch.randn(3, *values.shape)
    (grads,) = torch.autograd.grad(values, x, weights, is_grads_batched=True, retain_graph=True)
    for grad, weight in zip(grads, weights, strict=True):
        assert torch.equal(grad, torch.autograd.grad(values, x, weight, retain_graph=True)[0])


def test_autocast_changes_nothing():
    x = torch.randn(2, 4000, requires_grad=True)
    expected = log_mel_spectrogram(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = log_mel_spectrogram(x)
        half = log_mel_spectrogram(x.bfloat16())
    assert values.dtype == half.dtype == torch.float32
    assert torch.equal(values, expected)
    assert torch.equal(half, log_mel_spectrogram(x.bfloat16()))


def test_operator_without_a_gradient_says_so():
    x = torch.randn(2, 4000, requires_grad=True)
    arguments = (None, None, -1, LogMelSpec().key)
    for waveform in (x, x.to("meta").requires_grad_()):
        with pytest.raises(ValueError, match="avts::log_mel does not have, expected avts::log"):
            torch.ops.avts.log_mel(waveform, *arguments)
    with torch.no_grad():
        torch.ops.avts.log_mel(x, *arguments)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_compiles_without_a_gradient_of_a_waveform_that_has_one(mode):
    x = torch.randn(2, 4000, requires_grad=True)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def function(x):
        with torch.no_grad():
            inside = log_mel_spectrogram(x, top_db=20.0)
        return inside, log_mel_spectrogram(x, top_db=20.0)

    expected = log_mel_spectrogram(x, top_db=20.0)
    assert all(torch.equal(values, expected) for values in function(x))
    with mode():
        assert all(torch.equal(values, expected) for values in function(x))
        assert torch.equal(log_mel_spectrogram(x, top_db=20.0), expected)


def test_a_kernel_registered_for_the_operator_is_called():
    library = torch.library.Library("avts", "IMPL")
    calls = []

    def kernel(waveform, *rest):
        calls.append(rest)
        return waveform.new_zeros(1)

    library.impl("log_mel", kernel, "CPU", allow_override=True)
    try:
        assert log_mel_spectrogram(torch.randn(4000)).shape == (1,)
    finally:
        library._destroy()
    assert len(calls) == 1


@pytest.mark.parametrize("layout", ["mel_time", "time_mel"])
@pytest.mark.parametrize("shape", [(4000,), (2, 4000), (2, 3, 4000), (0, 4000)], ids=str)
def test_whole_rows_give_the_bits_of_items_as_long_as_rows(shape, layout, cpu_level):
    x, spec = torch.randn(shape), LogMelSpec(layout=layout, top_db=30.0)
    lengths = torch.full(shape[:-1], 4000, dtype=torch.int64)
    expected = log_mel_spectrogram(x, spec, lengths=lengths)
    assert expected.shape == (*shape[:-1], *((25, 40) if layout == "time_mel" else (40, 25)))
    for same in (x, x.flip(-1).flip(-1), x.mT.contiguous().mT if x.ndim > 1 else x):
        values = log_mel_spectrogram(same, spec)
        assert values.is_contiguous() and torch.equal(values, expected)


def test_spec_beside_options_is_refused():
    with pytest.raises(ValueError, match=r"options are \['n_mels'\], expected none beside a spec"):
        log_mel_spectrogram(torch.zeros(4000), LogMelSpec(), n_mels=3)
