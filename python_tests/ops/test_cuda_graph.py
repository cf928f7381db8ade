"""The operators wait for nothing and read nothing back: they can be captured in a CUDA graph.

On the host emulator a capture runs no kernel until the graph is replayed, and refuses kernels on
any other stream than the caller's. Each test captures on some values and replays on others.
"""

import pytest
import torch
from kernels import captured

from avts_ext.ops import _cuda, log_mel_spectrogram, sync_contrastive_loss, sync_pair_loss
from avts_ext.ops._sync_operators import Batch, Choices, Numbers
from avts_ext.ops.log_mel_spec import LogMelSpec
from avts_ext.ops.sync_options import MININGS, OBJECTIVES, SyncLossOptions

pytestmark = pytest.mark.kernels("cuda-on-host", "gpu")

SPEC = LogMelSpec()
LONG = LogMelSpec(n_fft=2**15, win_length=2**15, hop_length=2**14)  # works in global memory
SHUFFLED_KINDS = [2**30, 2**31, 3 * 2**30, 2**32]
SYNC_LOSSES = {
    "margin": {"mining": "all"},
    "triplet": {"mining": "hardest", "k": 2},
    "infonce": {},
    "sigmoid": {},
}


def rows(count):
    return 0.1 * torch.randn(count, 24)


def log_mel(spec):
    lengths = torch.tensor([spec.samples_needed, spec.samples_needed + 900])
    return torch.randn(2, spec.samples_needed + 1000), None, lengths, -1, spec.key


def log_mel_backward(spec):
    inputs = log_mel(spec)
    _, mel = torch.ops.avts.log_mel_with_mel(*inputs)
    return torch.randn(mel.shape), mel, *inputs


def clip_offset():
    counts = torch.randint(1, 1000, (50,))
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    ranges = torch.stack([torch.arange(51) % 2, ends], 1)
    media = torch.stack([torch.arange(51), torch.arange(51), *ranges.T], 1)
    return media, ranges, torch.randperm(50), 5, 2, 99, SHUFFLED_KINDS, 7, 0, 0, 3


def sync_loss(objective):
    options = SyncLossOptions(objective=objective, **SYNC_LOSSES[objective])
    temperature, bias = (torch.rand((), dtype=torch.float64) + 0.1 for _ in range(2))
    ids, start_s, groups = (torch.randint(0, 9, (70,)) for _ in range(3))
    choices = Choices(
        OBJECTIVES.index(objective),
        MININGS.index(options.mining),
        options.k if options.mines else 0,
        *(True, True, True),  # anchors of both sides, squared
        seed=7,
        want_gradient=True,
        want_statistics=True,
    )
    windows = (ids, ids.flip(0), start_s.double(), start_s.double())
    flags = (groups, groups.clone(), torch.rand(70) < 0.1)
    numbers = Numbers(1.5, 0.25, 1.0, 2.0, 0.5, 0.99, 1.0, 0.0)
    return Batch(rows(70), rows(70), *windows, *flags, temperature, bias, choices, numbers)


def sync_loss_of_rows_alone():
    *_, choices, numbers = sync_loss("sigmoid")
    return Batch(rows(70), rows(70), *(None,) * 9, choices, numbers)


def sync_pair():
    return rows(20), rows(30), torch.randint(0, 20, (40, 2)), torch.rand(40).double(), 0.99


def sync_pair_backward():
    return torch.randn(()), *sync_pair()


CALLS = {
    "log_mel": lambda: log_mel(SPEC),
    "log_mel, long": lambda: log_mel(LONG),
    "log_mel_with_mel": lambda: log_mel(SPEC),
    "log_mel_backward": lambda: log_mel_backward(SPEC),
    "log_mel_backward, long": lambda: log_mel_backward(LONG),
    "clip_offset": clip_offset,
    **{f"sync_loss, {name}": lambda name=name: sync_loss(name) for name in SYNC_LOSSES},
    "sync_loss, rows alone": sync_loss_of_rows_alone,
    "sync_pair": sync_pair,
    "sync_pair_backward": sync_pair_backward,
}


def tensors_of(results):
    if isinstance(results, torch.Tensor):
        return [results]
    if len(results) == 2 and results[0].ndim == 3:
        return results[:1]  # log_mel saves no mel of frames that an item is too short for
    return list(results)


@pytest.mark.parametrize("call", CALLS)
def test_a_graph_computes_on_the_values_it_is_replayed_on(call):
    operator = getattr(torch.ops.avts, call.split(",")[0])
    before, after = CALLS[call](), CALLS[call]()
    first, expected = tensors_of(operator(*before)), tensors_of(operator(*after))
    graph, results = captured(lambda: operator(*before))
    for old, new in zip(before, after, strict=True):
        if isinstance(old, torch.Tensor):
            old.copy_(new)
    graph.replay()
    assert all(map(torch.equal, tensors_of(results), expected))
    assert not all(map(torch.equal, first, expected))


# What the operators have PyTorch do. None of it waits; `to` without a copy converts nothing.
CAPTURABLE = {
    *("empty", "new_empty", "empty_like", "empty_strided", "new_zeros", "zero_"),
    *("detach", "reshape", "view", "to", "arange", "new_full", "fill_", "resize_"),
}


@pytest.mark.kernels("cuda-on-host")
@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_read_back_in_python(call):
    arguments = CALLS[call]()
    kernel = _cuda.KERNELS[call.split(",")[0]]
    kernel(*arguments)
    with torch.profiler.profile() as profile:
        kernel(*arguments)
    used = {event.name.removeprefix("aten::") for event in profile.events()}
    assert used and used <= CAPTURABLE, used - CAPTURABLE


def value_and_gradients(function, *inputs):
    inputs = [x.requires_grad_() for x in inputs]
    value = function(*inputs)
    return value, *torch.autograd.grad(value.square().sum(), inputs)


@pytest.mark.kernels("gpu")
@pytest.mark.parametrize(
    ("function", "count"),
    [
        (log_mel_spectrogram, 1),
        (sync_contrastive_loss, 2),
        (lambda v, a: sync_contrastive_loss(v, a, objective="infonce"), 2),
        (lambda v, a: sync_pair_loss(v, a, torch.arange(8).view(4, 2), torch.ones(4)), 2),
    ],
    ids=["log_mel", "margin", "infonce", "pairs"],
)
def test_gradients_are_captured_and_wait_for_nothing(function, count):
    inputs = [torch.randn(64, 2000) for _ in range(count)]
    others = [torch.randn(64, 2000) for _ in range(count)]
    expected = value_and_gradients(function, *others)
    value_and_gradients(function, *inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        value_and_gradients(function, *inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph, results = captured(lambda: value_and_gradients(function, *inputs))
    with torch.no_grad():
        for old, new in zip(inputs, others, strict=True):
            old.copy_(new)
    graph.replay()
    assert all(map(torch.equal, results, expected))
