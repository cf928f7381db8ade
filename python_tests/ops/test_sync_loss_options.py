"""Objectives, mining rules and flags against the reference."""

import pytest
import torch

from avts_ext.ops import (
    SyncLossOptions,
    mine_negatives,
    sync_contrastive_loss,
    sync_loss_with_diagnostics,
)
from avts_ext.ops.reference import sync_loss as reference

VARIANTS = {
    "margin hardest plain": {"hinge": "plain", "mining": "hardest"},
    "margin all plain": {"hinge": "plain", "mining": "all"},
    "margin top-k": {"mining": "hardest", "k": 4},
    "margin semi-hard": {"mining": "semi_hard", "k": 2},
    "margin drawn": {"mining": "distance_weighted", "k": 3, "seed": 5, "embeddings": "l2"},
    "margin hardest video anchors": {"mining": "hardest", "anchors": "video"},
    "margin all audio anchors": {"anchors": "audio", "mining": "all"},
    "margin hardest half length": {"mining": "hardest", "embeddings": "half"},
    "margin unit length": {"embeddings": "l2", "mining": "all"},
    "triplet hardest": {"objective": "triplet", "mining": "hardest", "margin": 0.3},
    "triplet plain top-k": {
        "objective": "triplet",
        "mining": "hardest",
        "margin": 0.3,
        "hinge": "plain",
        "k": 3,
    },
    "triplet all": {"objective": "triplet", "margin": 0.3, "mining": "all"},
    "triplet all plain": {"objective": "triplet", "margin": 0.3, "mining": "all", "hinge": "plain"},
    "triplet semi-hard": {"objective": "triplet", "margin": 0.3, "mining": "semi_hard"},
    "triplet audio anchors": {"objective": "triplet", "anchors": "audio", "mining": "all"},
    "infonce": {"objective": "infonce"},
    "infonce sharp": {"objective": "infonce", "temperature": 1e-3},
    "infonce video anchors": {"objective": "infonce", "anchors": "video"},
    "sigmoid": {"objective": "sigmoid", "temperature": 0.1, "bias": -3.0},
    "sigmoid far out": {"objective": "sigmoid", "temperature": 1e-3, "bias": 40.0},
}
WEIGHTS = {"easy": 1.0, "hard": 2.5, "super_hard": 0.25}


def batch(n, m, dim, dtype=torch.float64):
    """Embeddings, and windows of four media in which every kind of pair occurs."""
    scale = 0.5 / dim**0.5
    video = (torch.randn(n, dim, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    audio = (torch.randn(m, dim, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    windows = {
        "video_ids": torch.randint(4, (n,)),
        "audio_ids": torch.randint(4, (m,)),
        "video_start_s": torch.randint(12, (n,)) * 0.1,
        "audio_start_s": torch.randint(30, (m,)) * 0.1,
    }
    return video, audio, windows


def flags(n, m):
    return {
        "video_groups": torch.randint(-1, 4, (n,)),
        "audio_groups": torch.randint(-1, 4, (m,)),
        "audio_silent": torch.rand(m) < 0.2,
    }


def kinds_of(w):
    sides = [
        reference.Windows(w[f"{side}_ids"], w[f"{side}_start_s"].double(), w.get(f"{side}_groups"))
        for side in ("video", "audio")
    ]
    return reference.pair_kinds(*sides, 1.0, 0.5, 0.25)


def expected_loss(video, audio, w, options):
    kinds = kinds_of(w)
    sounding = ~w.get("audio_silent", torch.zeros(len(audio), dtype=torch.bool))
    return reference.contrastive_loss(video, audio[sounding], kinds[:, sounding], options)


def assert_matches(video, audio, w, options, tolerance):
    loss = sync_contrastive_loss(video, audio, **w, **options)
    expected = expected_loss(video, audio, w, SyncLossOptions(**options))
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad(loss, (video, audio))
    wanted = torch.autograd.grad(expected, (video, audio))
    for x, y in zip(found, wanted, strict=True):
        assert (x - y).abs().max() <= 10 * tolerance * y.abs().max().clamp(min=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flagged", [False, True], ids=["plain", "flagged"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_matches_reference(cpu_level, variant, flagged, dtype):
    video, audio, w = batch(23, 31, 9, dtype)
    options = dict(VARIANTS[variant])
    if options.get("mining") == "distance_weighted":
        flagged = False  # draws go by the row's number, which the reference loses with silent rows
    if flagged:
        w |= flags(23, 31)
        options["negatives"] = WEIGHTS
    sharp = options.get("temperature", 1) < 0.01
    tolerance = 1e-12 if dtype == torch.float64 else 2e-4 if sharp else 2e-5
    assert_matches(video, audio, w, options, tolerance)


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 7, 3), (7, 1, 3), (200, 400, 20)], ids=str)
@pytest.mark.parametrize(
    ("objective", "mining"),
    [(o, m) for o in ("margin", "triplet") for m in ("hardest", "all", "semi_hard")]
    + [("infonce", "all"), ("sigmoid", "all")],
)
def test_odd_shapes(objective, mining, shape):
    video, audio, w = batch(*shape, torch.float32)
    options = {"objective": objective, "mining": mining, "temperature": 0.3}
    assert_matches(video, audio, w, options, 3e-5)


@pytest.mark.parametrize("negatives", [("hard",), ("super_hard",), ("hard", "super_hard")])
@pytest.mark.parametrize("objective", ["margin", "triplet", "infonce", "sigmoid"])
def test_restricted_to_kinds_of_the_same_medium(objective, negatives):
    """Blocks without such pairs are skipped."""
    video, audio, w = batch(250, 230, 8)
    w["video_ids"], w["audio_ids"] = torch.arange(250) // 3, torch.arange(230) // 3
    options = {"objective": objective, "negatives": negatives}
    assert_matches(video, audio, w, options, 1e-11)


@pytest.mark.parametrize("name", [name for name in VARIANTS if "sharp" not in name])
def test_gradcheck(name):
    video, audio, w = batch(6, 7, 4)
    options = dict(VARIANTS[name])
    options["k"] = min(2, options.get("k", 1))
    if options.get("temperature") == 1e-3:
        options["temperature"] = 0.05
    check = torch.autograd.gradcheck
    assert check(lambda v, a: sync_contrastive_loss(v, a, **w, **options), (video, audio))


def test_temperature_and_bias_of_sigmoid_have_gradients():
    video, audio, w = batch(6, 7, 4)
    scalars = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.4, -1.0)]

    def loss(temperature, bias):
        options = {"objective": "sigmoid", "temperature": temperature, "bias": bias}
        return sync_contrastive_loss(video, audio, **w, **options)

    assert torch.autograd.gradcheck(loss, scalars)


MINING = [
    {"mining": "hardest", "k": 1},
    {"mining": "hardest", "k": 5},
    {"mining": "semi_hard"},
    {"mining": "semi_hard", "k": 3},
    {"mining": "distance_weighted", "k": 2, "seed": 7},
]


@pytest.mark.parametrize("options", MINING, ids=str)
@pytest.mark.parametrize("grouped", [False, True])
def test_mined_negatives_match_brute_force(cpu_level, options, grouped):
    video, audio, w = batch(37, 52, 6, torch.float32)
    w |= {name: x for name, x in flags(37, 52).items() if grouped and "silent" not in name}
    mined = mine_negatives(video, audio, **w, **options)
    kinds, d = kinds_of(w), reference.distances(video, audio).detach()
    rules = SyncLossOptions(**options)
    of_video = reference.mined_negatives(d, kinds, rules, False, 6)
    of_audio = reference.mined_negatives(d.T, kinds.T, rules, True, 6)
    assert torch.equal(mined.video_negative, of_video)
    assert torch.equal(mined.audio_negative, of_audio)
    rows = torch.arange(37)[:, None].expand_as(of_video)
    assert torch.equal(mined.video_kind.long(), kinds[rows, of_video].where(of_video >= 0, -1))


@pytest.mark.kernels("cpu")  # other kernels are held to the reference's draws, above
def test_draws_follow_their_weights():
    """One anchor at the pole, negatives at two distances: how often the nearer ones are drawn."""
    near, far = 0.6, 1.2  # on the sphere of three dimensions the density is d
    video = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    angle = 2 * torch.tensor([near, far, far, far], dtype=torch.float64).div(2).asin()
    turn = torch.arange(4)
    audio = torch.stack([angle.sin() * turn.cos(), angle.sin() * turn.sin(), angle.cos()], 1)
    ids = {"video_ids": torch.tensor([-1]), "audio_ids": torch.arange(4)}
    rule = {"mining": "distance_weighted", "anchors": "video"}
    draws = [
        int(mine_negatives(video, audio, **ids, **rule, seed=seed).video_negative)
        for seed in range(2000)
    ]
    share = (1 / near) / (1 / near + 3 / far)
    assert abs(draws.count(0) / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5
    assert {1, 2, 3} <= set(draws)


def test_groups_are_no_negatives_of_each_other():
    video, audio = torch.zeros(3, 2), torch.arange(6.0).reshape(3, 2)
    groups = {"video_groups": torch.tensor([0, 0, -1]), "audio_groups": torch.tensor([0, 0, -1])}
    mined = mine_negatives(video, audio, mining="hardest", **groups)
    assert mined.video_negative.tolist() == [[2], [2], [0]]
    assert mined.audio_negative.tolist() == [[2], [2], [0]]


def test_silent_rows_may_hold_anything():
    video, audio = torch.randn(2, 5, 4)
    silent = torch.tensor([False, True, False, False, True])
    spoiled = audio.clone()
    spoiled[silent] = torch.nan
    kept = {"video_ids": torch.arange(5), "audio_ids": torch.arange(5)[~silent]}
    for objective in ("margin", "triplet", "infonce", "sigmoid"):
        loss = sync_contrastive_loss(video, spoiled, audio_silent=silent, objective=objective)
        without = sync_contrastive_loss(video, audio[~silent], **kept, objective=objective)
        assert torch.equal(loss, without)
    mined = mine_negatives(video, spoiled, audio_silent=silent, mining="hardest")
    assert not set(mined.video_negative.flatten().tolist()) & {1, 4}
    assert mined.audio_negative[silent].tolist() == [[-1], [-1]]


def expected_means(d, kinds):
    return {
        name: d[kinds == kind].mean().item()
        for kind, name in enumerate(("positive", "easy", "hard", "super_hard"))
    }


@pytest.mark.parametrize("objective", ["margin", "triplet", "infonce", "sigmoid"])
def test_diagnostics_of_all_pairs(objective):
    video, audio, w = batch(40, 200, 12)
    options = {"objective": objective, "mining": "all"}
    loss, found = sync_loss_with_diagnostics(video, audio, **w, **options)
    assert found.loss == loss.item() == sync_contrastive_loss(video, audio, **w, **options).item()
    kinds, d = kinds_of(w), reference.distances(video, audio)
    means = expected_means(d, kinds)
    for kind, name in enumerate(means):
        if objective == "triplet" and name == "positive":
            continue  # counts each row's farthest
        assert found.pairs[name] == int((kinds == kind).sum())
        assert found.mean_distance[name] == pytest.approx(means[name], rel=1e-9)
    if objective == "margin":
        active = (d[kinds > 0] < 0.99).double().mean().item()
        assert found.active_share == pytest.approx(active)
        assert found.collapse == pytest.approx(means["positive"] / d[kinds > 0].mean().item())


def test_diagnostics_of_mined_pairs():
    video, audio, w = batch(20, 30, 12)
    options = {"mining": "hardest", "negatives": ("hard",)}
    _, found = sync_loss_with_diagnostics(video, audio, **w, **options)
    mined = mine_negatives(video, audio, **w, **options)
    of_video, of_audio = mined.video_negative[:, 0], mined.audio_negative[:, 0]
    d = reference.distances(video, audio)
    rows, columns = (of_video >= 0).nonzero()[:, 0], (of_audio >= 0).nonzero()[:, 0]
    terms = torch.cat([d[rows, of_video[rows]], d[of_audio[columns], columns]])
    assert found.pairs["hard"] == len(terms) and found.pairs["easy"] == 0
    assert found.mean_distance["hard"] == pytest.approx(terms.mean().item())
    assert found.active_share == pytest.approx((terms < 0.99).sum().item() / 50)
    assert found.rows_without_negative == 50 - len(terms)


@pytest.mark.parametrize(
    ("options", "distance"),
    [
        ({"mining": "hardest"}, 0.495),
        ({"mining": "all"}, 0.495),
        ({"negatives": {"easy": 3.0}}, 3 * 0.99 / 4),
        ({"hinge": "plain", "mining": "hardest"}, 0.5),
        ({"objective": "triplet", "mining": "hardest", "margin": 0.2}, 0.7),
        ({"objective": "triplet", "margin": 0.2, "mining": "all", "hinge": "plain"}, 0.7),
        ({"objective": "infonce"}, 0.3),
    ],
    ids=str,
)
def test_loss_is_at_chance_when_all_distances_are_equal(options, distance):
    video, audio = torch.zeros(8, 3), torch.zeros(8, 3)
    audio[:, 1] = distance
    loss, found = sync_loss_with_diagnostics(video, audio, **options)
    assert loss.item() == pytest.approx(found.chance, rel=1e-5)
    assert found.collapse == pytest.approx(1, rel=1e-5)


def test_chance_of_sigmoid():
    video = torch.zeros(8, 3)
    logit = -torch.tensor(7.0).log().item()  # one positive among eight
    loss, found = sync_loss_with_diagnostics(video, video, objective="sigmoid", bias=logit)
    assert loss.item() == pytest.approx(found.chance, rel=1e-5)


BATCH = torch.zeros(3, 4), torch.zeros(5, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"mining": "hardest", "k": 4}, "k is 4, expected at most the 3 rows"),
        ({"mining": "all", "hinge": "cubic"}, "hinge is 'cubic'"),
        ({"anchors": "all"}, "anchors is 'all'"),
        ({"embeddings": "l1"}, "embeddings is 'l1'"),
        ({"seed": -1}, "seed is -1"),
        ({"objective": "infonce", "mining": "hardest"}, "mining is 'hardest', expected 'all'"),
        ({"objective": "sigmoid", "bias": float("nan")}, "bias is nan"),
        ({"objective": "sigmoid", "bias": torch.zeros(2)}, "bias is of shape"),
        ({"negatives": {"easy": 0.0}}, r"negatives\['easy'\] is 0.0"),
        ({"negatives": {"easy": 1.0, "soft": 1.0}}, "negatives is"),
        ({"video_groups": torch.zeros(3).long()}, "audio_groups is None"),
        (
            {"video_groups": torch.zeros(3).long(), "audio_groups": torch.zeros(5)},
            "audio_groups is torch.float32",
        ),
        ({"audio_silent": torch.zeros(5)}, "audio_silent is torch.float32"),
        ({"audio_silent": torch.zeros(3).bool()}, "audio_silent is torch.bool of shape"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        sync_contrastive_loss(*BATCH, **options)


def test_nothing_to_mine():
    with pytest.raises(ValueError, match="mining is 'all', expected a rule that mines"):
        mine_negatives(*BATCH, mining="all")
