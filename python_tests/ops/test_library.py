"""When an operator's CPU kernel may be called without PyTorch's dispatcher."""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from avts_ext.ops import log_mel_spectrogram
from avts_ext.ops._library import needs_no_dispatch


class Subclass(torch.Tensor):
    pass


class FunctionMode(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class DispatchMode(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_plain_tensors_need_none():
    x = torch.zeros(3)
    assert needs_no_dispatch(x)
    assert needs_no_dispatch(torch.nn.Parameter(x, requires_grad=False))
    with torch.no_grad():
        assert needs_no_dispatch(x)
    with torch.inference_mode():
        assert needs_no_dispatch(x)
        assert needs_no_dispatch(torch.zeros(3))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(3).as_subclass(Subclass),
        torch.zeros(3, device="meta"),
        torch.zeros(3).to_sparse(),
        torch._neg_view(torch.zeros(3)),
    ],
    ids=["subclass", "meta", "sparse", "negated"],
)
def test_others_do(x):
    assert not needs_no_dispatch(x)


@pytest.mark.parametrize("mode", [FunctionMode, DispatchMode, torch.profiler.profile])
def test_modes_have_their_say(mode):
    x = torch.zeros(3)
    with mode():
        assert not needs_no_dispatch(x)
    assert needs_no_dispatch(x)


def test_transforms_have_their_say():
    found = []

    def record(x):
        found.append(needs_no_dispatch(x))
        return x

    torch.vmap(record)(torch.zeros(3))
    torch.vmap(lambda x: record(torch.zeros(3)) + x)(torch.zeros(3))
    torch.func.jvp(record, (torch.zeros(3),), (torch.zeros(3),))
    assert found == [False] * 3


def test_log_mel_is_seen_by_modes_and_profilers():
    waveform = torch.randn(1600)
    with DispatchMode() as mode:
        log_mel_spectrogram(waveform)
    assert "avts.log_mel.default" in mode.seen
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        log_mel_spectrogram(waveform)
    assert "avts::log_mel" in {event.key for event in profile.key_averages()}
