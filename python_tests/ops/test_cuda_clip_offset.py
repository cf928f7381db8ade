"""What is the CUDA kernel's own: the bits of the CPU's, and faults that the device finds."""

import pytest
import torch

from avts_ext.ops import _cuda
from avts_ext.ops._clip_offset_operator import clip_offset_cpu

pytestmark = pytest.mark.kernels("cuda-on-host", "gpu")

OPTIONS = (1500000, 250000, 999999, [2**30, 2**31, 3 * 2**30, 2**32], -7, 3, 2, 4)


def table(count):
    """Media of one to three ranges of up to ten million starts."""
    ranges = torch.arange(count) % 3 + 1
    zero = torch.zeros(1, dtype=torch.int64)
    first_range = torch.cat([zero, ranges.cumsum(0)])
    nth = torch.arange(int(first_range[-1])) - first_range[:-1].repeat_interleave(ranges)
    rank = torch.cat(
        [torch.zeros(1, dtype=torch.int64), torch.randint(1, 10**7, nth.shape).cumsum(0)]
    )
    ids = torch.randint(-(2**63), 2**63 - 1, (count + 1,))
    first = torch.cat([nth * 10**8, zero])
    ranges = torch.stack([first, rank], 1)
    return torch.cat([torch.stack([ids, first_range], 1), ranges[first_range]], 1), ranges


@pytest.mark.parametrize("seed", ["0", "1"], ids=["in order", "shuffled"])
def test_equals_the_cpu_bit_for_bit(seed, monkeypatch):
    monkeypatch.setenv("CUDA_ON_HOST_SEED", seed)
    tensors = (*table(3000), torch.randperm(3000))
    on_device = _cuda.KERNELS["clip_offset"](*tensors, *OPTIONS)
    on_cpu = clip_offset_cpu(*(x.cpu() for x in tensors), *OPTIONS)
    _, kind, _, _ = on_cpu
    assert len(kind.unique()) == 4  # every kind occurs
    assert all(torch.equal(a.cpu(), b) for a, b in zip(on_device, on_cpu, strict=True))


@pytest.mark.kernels("cuda-on-host")  # after a trap a GPU is of no more use to the process
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([0, 3], "query has an index that is not below the number of media"),
        ([0, -1], "query has an index"),
        ([1], "a medium is too short for a clip"),
    ],
)
def test_bad_values_are_found_on_the_device(query, message):
    media, ranges = table(3)
    media[2, 1] = media[1, 1]
    with pytest.raises(RuntimeError, match=f"clip_offset: block .*{message}"):
        torch.ops.avts.clip_offset(media, ranges, torch.tensor(query), *OPTIONS)
