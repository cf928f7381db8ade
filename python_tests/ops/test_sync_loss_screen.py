"""The screen for near pairs rules out none that is among the nearest, whatever the embeddings."""

import pytest
import torch

from avts_ext.ops import mine_negatives, sync_contrastive_loss
from avts_ext.ops.reference import sync_loss as reference

N, M, DIM = 400, 384, 24


def spread():
    return torch.randn(N, DIM), torch.randn(M, DIM)


def near_ties():
    """All audio rows at almost the same distance from all video rows."""
    video = 1e-4 * torch.randn(N, DIM)
    audio = torch.nn.functional.normalize(torch.randn(M, DIM)) * (1 + 1e-7 * torch.randn(M, 1))
    return video, audio


def exact_ties():
    """Few different rows, on a grid that float32 holds exactly."""
    return torch.randint(-1, 2, (N, DIM)).float(), torch.randint(-1, 2, (M, DIM)).float()


def collapsed():
    return torch.ones(N, DIM).mul(0.3), torch.ones(M, DIM).mul(0.3)


def nearly_collapsed():
    centre = torch.randn(DIM)
    return centre + 1e-6 * torch.randn(N, DIM), centre + 1e-6 * torch.randn(M, DIM)


def apart():
    """Two tight clouds far from each other, as two untrained towers make them."""
    return 5 + 1e-3 * torch.randn(N, DIM), -5 + 1e-3 * torch.randn(M, DIM)


def ever_nearer():
    """Each audio row nearer to all video rows than those before: every pair is the nearest yet."""
    audio = torch.nn.functional.normalize(torch.randn(M, DIM)) * torch.linspace(3, 1, M)[:, None]
    return 1e-2 * torch.randn(N, DIM), audio


def one_large_element():
    """Eight bits of the largest element leave nothing of the others."""
    video, audio = spread()
    video[:, 0] += 1e4 * torch.randn(N)
    audio[:, 0] += 1e4 * torch.randn(M)
    return video, audio


def mixed_lengths():
    video, audio = spread()
    return video * 10 ** torch.empty(N, 1).uniform_(-8, 8), audio * 10 ** torch.empty(
        M, 1
    ).uniform_(-8, 8)


def huge():
    video, audio = spread()
    return 1e18 * video, 1e18 * audio


def beyond_float_squares():
    video, audio = spread()
    return 1e30 * video, 1e30 * audio


def tiny():
    video, audio = spread()
    return 1e-25 * video, 1e-25 * audio


def denormal():
    video, audio = spread()
    return 1e-40 * video, 1e-40 * audio


HOSTILE = [spread, near_ties, exact_ties, collapsed, nearly_collapsed, apart, ever_nearer]
HOSTILE += [one_large_element, mixed_lengths, huge, beyond_float_squares, tiny, denormal]


def expected(distance, k, floor):
    """Columns by (distance, index), the diagonal excluded."""
    d = distance.clone()
    d.fill_diagonal_(torch.inf)
    d[d <= floor[:, None]] = torch.inf
    order = d.sort(dim=1, stable=True)
    return order.indices[:, :k].where(order.values[:, :k] < torch.inf, -1)


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("mining", "k"), [("hardest", 1), ("hardest", 6), ("hardest", 20), ("semi_hard", 2)]
)
def test_mined_are_the_nearest(cpu_level, make, mining, k):
    video, audio = make()
    mined = mine_negatives(video, audio, mining=mining, k=k)
    d2 = (video.double()[:, None] - audio.double()[None]).square().sum(-1)
    own = torch.full((max(N, M),), torch.inf if mining == "semi_hard" else -1.0).double()
    if mining == "semi_hard":
        own[:M] = d2.diagonal()
    for found, distance, floor in (
        (mined.video_negative, d2, own[:N]),
        (mined.audio_negative, d2.T, own[:M]),
    ):
        wanted = expected(distance, k, floor)
        assert torch.equal(found >= 0, wanted >= 0)
        # Equal places, or distances within what the order of a sum in double may change.
        at, best = distance.gather(1, found.clamp(min=0)), distance.gather(1, wanted.clamp(min=0))
        differs = found != wanted
        assert ((at - best).abs() <= DIM * 2**-52 * best)[differs].all()
        if make in (exact_ties, collapsed):
            assert not differs.any()


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_threads_and_companions_do_not_matter(make):
    """Neither threads nor rows of no consequence, which shift the tiles, change what is mined."""
    video, audio = make()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(mine_negatives(video, audio, mining="hardest", k=3))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))
    silent = torch.arange(M + 7) < 7
    shifted = mine_negatives(
        video,
        torch.cat([torch.zeros(7, DIM), audio]),
        video_ids=torch.arange(N),
        audio_ids=torch.cat([torch.full((7,), -1), torch.arange(M)]),
        audio_silent=silent,
        mining="hardest",
        k=3,
    )
    assert torch.equal(shifted.video_negative - 7, found[0].video_negative)
    assert torch.equal(shifted.audio_negative[7:], found[0].audio_negative)


@pytest.mark.parametrize("make", [spread, near_ties, collapsed, nearly_collapsed, apart])
@pytest.mark.parametrize(
    "options",
    [
        {"mining": "hardest"},
        {"mining": "all"},
        {"objective": "triplet", "mining": "hardest"},
        {"objective": "triplet", "mining": "all"},
        {"objective": "triplet", "mining": "all", "hinge": "plain"},
    ],
    ids=str,
)
def test_loss_and_gradient_keep_their_digits(cpu_level, make, options):
    """Also where inner products of float32 lose all of them."""
    video, audio = (x.requires_grad_() for x in make())
    loss = sync_contrastive_loss(video, audio, **options)
    kinds = torch.ones(N, M).int()
    kinds.fill_diagonal_(0)
    wanted = reference.contrastive_loss(video, audio, kinds, reference.SyncLossOptions(**options))
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-7)
    for found, exact in zip(
        torch.autograd.grad(loss, (video, audio)),
        torch.autograd.grad(wanted, (video, audio)),
        strict=True,
    ):
        assert (found - exact).abs().max() <= 2e-4 * exact.abs().max() + 1e-9
