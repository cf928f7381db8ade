import itertools

import numpy as np
import pytest

from avts_ext.data import ClipBatchSampler
from avts_ext.data.draws import hash64

IDS = [int(i) for i in np.random.default_rng(0).integers(0, 2**62, 103)]


def epoch_of(sampler, epoch, first_batch=0):
    sampler.set_epoch(epoch, first_batch)
    return list(sampler)


def test_every_item_at_most_once():
    batches = epoch_of(ClipBatchSampler(IDS, 10, seed=1), 4)
    items = [item for batch in batches for _, item in batch]
    assert len(batches) == 10 and {len(batch) for batch in batches} == {10}
    assert len(set(items)) == 100
    assert {epoch for batch in batches for epoch, _ in batch} == {4}


def test_seed_and_epoch_change_the_order_and_nothing_else_does():
    sampler = ClipBatchSampler(IDS, 10, seed=1)
    first = epoch_of(sampler, 0)
    assert epoch_of(sampler, 1) != first
    assert epoch_of(sampler, 0) == first
    assert epoch_of(ClipBatchSampler(IDS, 10, seed=2), 0) != first


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_ranks_share_the_same_global_batches(world_size):
    whole = epoch_of(ClipBatchSampler(IDS, 20, seed=1), 3)
    parts = [
        epoch_of(ClipBatchSampler(IDS, 20 // world_size, 1, rank, world_size), 3)
        for rank in range(world_size)
    ]
    assert [list(itertools.chain(*batches)) for batches in zip(*parts, strict=True)] == whole


def test_resumes_in_the_middle_of_an_epoch_once():
    sampler = ClipBatchSampler(IDS, 10, seed=1)
    whole = epoch_of(sampler, 2)
    assert epoch_of(sampler, 2, first_batch=7) == whole[7:]
    assert list(sampler) == whole


def test_order_goes_by_media_not_by_position():
    order = [IDS[item] for batch in epoch_of(ClipBatchSampler(IDS, 1, 1), 0) for _, item in batch]
    backwards = IDS[::-1]
    again = [
        backwards[item]
        for batch in epoch_of(ClipBatchSampler(backwards, 1, 1), 0)
        for _, item in batch
    ]
    assert again == order


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 104}, "must be at most the number of media, 103, got 104"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, r"rank must be in \[0, 2\), got 2"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        ClipBatchSampler(IDS, seed=0, **options)


def test_first_batch_must_exist():
    with pytest.raises(ValueError, match=r"first_batch must be in \[0, 10\], got 11"):
        ClipBatchSampler(IDS, 10, seed=0).set_epoch(0, first_batch=11)


def test_hash_is_uniform_and_depends_on_every_key():
    draws = hash64(7, 3, np.arange(20000))
    for shift in (0, 16, 32, 48, 58):
        counts = np.bincount((draws >> np.uint64(shift)).astype(np.int64) & 63, minlength=64)
        assert ((counts - 312.5) ** 2 / 312.5).sum() < 120  # chi-square, 63 degrees: p < 1e-4
    assert len({int(hash64(*keys)) for keys in [(1, 2, 3), (2, 1, 3), (1, 2, 4), (1, 2)]}) == 4


def test_hash_values_are_fixed():
    # SplitMix64's published sequence for the seed 1234567.
    first = hash64(1234567)
    assert int(first) == 6457827717110365317
