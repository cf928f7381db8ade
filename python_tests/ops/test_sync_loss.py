import itertools

import pytest
import torch

from avts_ext.ops import (
    SyncLossOptions,
    mine_hardest_negatives,
    sync_contrastive_loss,
    sync_pair_loss,
)
from avts_ext.ops.reference import sync_loss as reference
from avts_ext.ops.sync_loss import _make_batch as make_batch
from avts_ext.ops.sync_loss import _make_plan as make_plan

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2, torch.float16: 1e-3}
OBJECTIVES = [("margin", "hardest"), ("margin", "all"), ("infonce", "all")]
SHAPES = [(5, 5, 8), (37, 21, 7), (1, 9, 3), (9, 1, 3), (1, 1, 1), (19, 70, 133)]


def embeddings(n, m, dim, dtype=torch.float64):
    scale = 0.5 / dim**0.5  # typical distances straddle the margin
    video = (torch.randn(n, dim, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    audio = (torch.randn(m, dim, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    return video, audio


def windows(n, m, media=4):
    """Windows in which every kind of pair occurs, the ignored one too."""
    return {
        "video_ids": torch.randint(media, (n,)),
        "audio_ids": torch.randint(media, (m,)),
        "video_start_s": torch.randint(12, (n,)) * 0.1,
        "audio_start_s": torch.randint(30, (m,)) * 0.1,
    }


def kinds_of(w):
    video = reference.Windows(w["video_ids"], w["video_start_s"].double())
    audio = reference.Windows(w["audio_ids"], w["audio_start_s"].double())
    return reference.pair_kinds(video, audio, 1.0, 0.5, 0.25)


def expected_loss(video, audio, w, objective, mining, **options):
    options = SyncLossOptions(objective=objective, mining=mining, **options)
    return reference.contrastive_loss(video, audio, kinds_of(w), options)


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs, torch.tensor(1.7, dtype=loss.dtype))


def assert_matches_reference(video, audio, w, objective, mining, **options):
    loss = sync_contrastive_loss(video, audio, objective=objective, mining=mining, **w, **options)
    expected = expected_loss(video, audio, w, objective, mining, **options)
    tolerance = TOLERANCE[video.dtype]
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=tolerance)
    for found, wanted in zip(
        gradients(loss, video, audio), gradients(expected, video, audio), strict=True
    ):
        assert found.dtype == video.dtype
        scale = wanted.double().abs().max().clamp(min=1e-6)
        assert (found.double() - wanted.double()).abs().max() <= 5 * tolerance * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(cpu_level, shape, objective, mining, dtype):
    video, audio = embeddings(*shape, dtype)
    assert_matches_reference(video, audio, windows(*shape[:2]), objective, mining)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_half_precision_is_computed_in_float32(objective, mining, dtype):
    video, audio = embeddings(12, 15, 16, dtype)
    assert_matches_reference(video, audio, windows(12, 15), objective, mining)
    w = windows(12, 15)
    loss = sync_contrastive_loss(video, audio, objective=objective, mining=mining, **w)
    wide = sync_contrastive_loss(
        video.float(), audio.float(), objective=objective, mining=mining, **w
    )
    assert loss.dtype == torch.float32
    assert torch.equal(loss, wide)


@pytest.mark.parametrize("negatives", [["easy"], ["hard"], ["super_hard"], ["easy", "hard"]])
@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_kinds_of_negatives(objective, mining, negatives):
    video, audio = embeddings(20, 30, 6)
    w = windows(20, 30)
    assert set(kinds_of(w).unique().tolist()) == {-1, 0, 1, 2, 3}
    assert_matches_reference(video, audio, w, objective, mining, negatives=negatives)


@pytest.mark.parametrize(
    ("shift_s", "kind"),
    [(0.0, 0), (0.2, -1), (0.25, 3), (1.0, 3), (1.49, 3), (1.5, 2), (9.0, 2), (-1.5, 2)],
)
def test_kind_by_shift(shift_s, kind):
    starts_s = torch.tensor([[0.6], [0.6 + shift_s]], dtype=torch.float64)
    mined = mine_hardest_negatives(
        torch.zeros(1, 2), torch.ones(1, 2), video_start_s=starts_s[0], audio_start_s=starts_s[1]
    )
    assert mined.video_kind.tolist() == mined.audio_kind.tolist() == [kind if kind > 0 else -1]
    assert mined.video_negative.tolist() == [0 if kind > 0 else -1]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mined_negatives_match_brute_force(cpu_level, shape):
    video, audio = embeddings(*shape, torch.float32)
    w = windows(*shape[:2])
    mined = mine_hardest_negatives(video, audio, **w)
    kinds, d = kinds_of(w), reference.distances(video, audio).detach()
    of_video = reference.mined_negatives(d, kinds, SyncLossOptions(mining="hardest"))[:, 0]
    of_audio = reference.mined_negatives(d.T, kinds.T, SyncLossOptions(mining="hardest"))[:, 0]
    assert torch.equal(mined.video_negative, of_video)
    assert torch.equal(mined.audio_negative, of_audio)
    for i, j in enumerate(of_video.tolist()):
        assert mined.video_kind[i] == (kinds[i, j] if j >= 0 else -1)
    for j, i in enumerate(of_audio.tolist()):
        assert mined.audio_kind[j] == (kinds[i, j] if i >= 0 else -1)


def test_lowest_index_wins_ties(cpu_level):
    row = torch.randn(1, 19)
    mined = mine_hardest_negatives(row.expand(70, 19), row.expand(90, 19))
    assert mined.video_negative.tolist() == [1] + [0] * 69
    assert mined.audio_negative.tolist() == [1] + [0] * 89


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_identical_rows_have_a_defined_gradient(objective, mining):
    video = torch.ones(6, 4, dtype=torch.float64, requires_grad=True)
    audio = torch.ones(6, 4, dtype=torch.float64, requires_grad=True)
    loss = sync_contrastive_loss(video, audio, objective=objective, mining=mining)
    for gradient in gradients(loss, video, audio):
        assert gradient.abs().max() < 1e-12
    if objective == "margin":
        assert loss.item() == pytest.approx(0.99**2 / 2)


@pytest.mark.parametrize("mining", ["hardest", "all"])
def test_chance_line(mining):
    """With every distance at half the margin the loss rests at margin^2 / 4."""
    video, audio = torch.zeros(8, 3), torch.zeros(8, 3)
    audio[:, 1] = 0.99 / 2
    loss = sync_contrastive_loss(video, audio, mining=mining)
    assert loss.item() == pytest.approx(0.245025, abs=1e-6)


def test_hardest_equals_the_papers_mean_over_as_many_negatives_as_positives():
    video, audio = embeddings(10, 10, 6)
    mined = mine_hardest_negatives(video, audio)
    rows = torch.arange(10)
    positives = torch.stack([rows, rows], 1)
    by_row = torch.stack([rows, mined.video_negative], 1)
    by_column = torch.stack([mined.audio_negative, rows], 1)
    labels = torch.cat([torch.ones(10), torch.zeros(10)])
    explicit = [
        sync_pair_loss(video, audio, torch.cat([positives, negatives]), labels)
        for negatives in (by_row, by_column)
    ]
    loss = sync_contrastive_loss(video, audio, mining="hardest")
    torch.testing.assert_close(loss, (explicit[0] + explicit[1]) / 2)


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_no_admissible_negative(objective, mining):
    """Aligned windows of one medium: only positives and, for one row, nothing at all."""
    video, audio = embeddings(3, 3, 4)
    w = {
        "video_ids": torch.zeros(3, dtype=torch.int64),
        "audio_ids": torch.zeros(3, dtype=torch.int64),
        "video_start_s": torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64),
        "audio_start_s": torch.zeros(3, dtype=torch.float64),
    }
    assert_matches_reference(video, audio, w, objective, mining)
    assert mine_hardest_negatives(video, audio, **w).video_negative.tolist() == [-1] * 3


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_empty_batch_costs_nothing(objective, mining):
    video = torch.zeros(0, 4, requires_grad=True)
    loss = sync_contrastive_loss(video, torch.ones(3, 4), objective=objective, mining=mining)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, video)
    assert gradient.shape == (0, 4)


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_strided_inputs(objective, mining):
    video, audio = embeddings(9, 11, 10)
    w = windows(18, 22)
    strided = {name: value[::2] for name, value in w.items()}
    views = video[:, ::2], audio.T.contiguous().T[:, ::2]
    loss = sync_contrastive_loss(*views, objective=objective, mining=mining, **strided)
    plain = {name: value.clone() for name, value in strided.items()}
    dense = sync_contrastive_loss(
        *(x.contiguous() for x in views), objective=objective, mining=mining, **plain
    )
    assert torch.equal(loss, dense)


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_threads_do_not_change_a_bit(cpu_level, objective, mining):
    video, audio = embeddings(300, 200, 64, torch.float32)
    w = windows(300, 200, media=50)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            loss = sync_contrastive_loss(video, audio, objective=objective, mining=mining, **w)
            results.append((loss, *gradients(loss, video, audio)))
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["video", "audio"])
def test_non_finite_rows_reach_the_loss(objective, mining, bad, side):
    video, audio = (x.detach() for x in embeddings(8, 8, 4))
    (video if side == "video" else audio)[3, 2] = bad
    loss = sync_contrastive_loss(video, audio, objective=objective, mining=mining)
    assert not loss.isfinite()


def test_nan_is_mined_even_without_a_positive():
    video, audio = torch.zeros(2, 3), torch.zeros(3, 3)
    audio[2, 0] = float("nan")  # row 2 belongs to no video row
    assert sync_contrastive_loss(video, audio, mining="hardest").isnan()
    assert mine_hardest_negatives(video, audio).video_negative.tolist() == [2, 2]


def test_infonce_is_right_at_any_temperature():
    video, audio = embeddings(20, 20, 8)
    video, audio = torch.nn.functional.normalize(video), torch.nn.functional.normalize(audio)
    for temperature in (1e-4, 0.01, 1.0, 100.0):
        loss = sync_contrastive_loss(video, audio, objective="infonce", temperature=temperature)
        logits = video @ audio.T / temperature
        labels = torch.arange(20)
        cross_entropy = torch.nn.functional.cross_entropy
        expected = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
        torch.testing.assert_close(loss, expected)


def test_temperature_gradient():
    video, audio = embeddings(9, 13, 5)
    w = windows(9, 13)
    temperature = torch.tensor(0.3, requires_grad=True)
    loss = sync_contrastive_loss(video, audio, objective="infonce", temperature=temperature, **w)
    expected = expected_loss(video, audio, w, "infonce", "all", temperature=temperature)
    torch.testing.assert_close(gradients(loss, temperature)[0], gradients(expected, temperature)[0])


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_gradcheck(objective, mining):
    video, audio = embeddings(6, 7, 3)
    w = windows(6, 7, media=3)
    temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def loss(video, audio, temperature):
        options = {"objective": objective, "mining": mining, "temperature": temperature}
        return sync_contrastive_loss(video, audio, **options, **w)

    assert torch.autograd.gradcheck(loss, (video, audio, temperature))


def test_pair_loss_matches_reference(cpu_level):
    for dtype, dim in itertools.product((torch.float32, torch.float64), (1, 7, 64)):
        video, audio = embeddings(11, 13, dim, dtype)
        pairs = torch.stack([torch.randint(11, (50,)), torch.randint(13, (50,))], 1)
        labels = torch.randint(2, (50,))
        loss = sync_pair_loss(video, audio, pairs, labels)
        expected = reference.pair_loss(video, audio, pairs, labels, 0.99)
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=tolerance)
        for found, wanted in zip(
            gradients(loss, video, audio), gradients(expected, video, audio), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_pair_loss_gradcheck():
    video, audio = embeddings(4, 5, 3)
    pairs = torch.tensor([[0, 0], [1, 1], [0, 4], [3, 2], [0, 4]])
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert torch.autograd.gradcheck(
        lambda v, a: sync_pair_loss(v, a, pairs, labels), (video, audio)
    )


def test_pair_loss_of_no_pairs_is_zero():
    video, audio = embeddings(4, 5, 3)
    pairs = torch.zeros(0, 2, dtype=torch.int64)
    assert sync_pair_loss(video, audio, pairs, torch.zeros(0)).item() == 0


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_opcheck(objective, mining):
    video, audio = embeddings(5, 6, 3)
    plan = make_plan(SyncLossOptions(objective=objective, mining=mining))
    w = tuple(windows(5, 6).values())
    for want_gradient in (True, False):
        batch = make_batch(video, audio, w, (None, None, None), plan)
        choices = batch.choices._replace(want_gradient=int(want_gradient))
        batch = batch._replace(choices=choices)
        tests = ("test_schema", "test_faketensor")
        if want_gradient:
            tests += ("test_autograd_registration", "test_aot_dispatch_dynamic")
        torch.library.opcheck(torch.ops.avts.sync_loss.default, tuple(batch), test_utils=tests)


def test_opcheck_pairs():
    video, audio = embeddings(5, 6, 3)
    pairs, labels = torch.tensor([[0, 1], [4, 5]]), torch.tensor([1.0, 0.0], dtype=torch.float64)
    torch.library.opcheck(torch.ops.avts.sync_pair.default, (video, audio, pairs, labels, 0.99))


def test_no_second_derivative():
    video, audio = embeddings(4, 4, 3)
    (gradient,) = torch.autograd.grad(sync_contrastive_loss(video, audio), video, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        gradient.sum().backward()


@pytest.mark.parametrize(("objective", "mining"), OBJECTIVES)
def test_compiles_without_a_break(objective, mining):
    video, audio = embeddings(6, 8, 4, torch.float32)
    w = windows(6, 8)

    def loss(video, audio):
        return sync_contrastive_loss(video, audio, objective=objective, mining=mining, **w)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    eager, traced = loss(video, audio), compiled(video, audio)
    assert torch.equal(eager, traced)
    for a, b in zip(gradients(eager, video, audio), gradients(traced, video, audio), strict=True):
        assert torch.equal(a, b)


BATCH = torch.zeros(3, 4), torch.zeros(5, 4)
by_other_means = pytest.mark.kernels("cpu")  # is how a device finds what a tensor holds


@pytest.mark.parametrize(
    ("video", "audio", "options", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3, 5), {}, "audio has D = 5, expected that of video, 4"),
        (torch.zeros(4), torch.zeros(3, 4), {}, r"video is of shape \(4,\), expected \(rows, D\)"),
        (torch.zeros(3, 4).int(), torch.zeros(3, 4).int(), {}, "video is torch.int32"),
        (torch.zeros(3, 4), torch.zeros(3, 4).double(), {}, "audio is torch.float64"),
        (*BATCH, {"video_ids": torch.zeros(5).long()}, r"video_ids is .* expected int64 of \(3,\)"),
        (*BATCH, {"audio_ids": torch.zeros(5)}, "audio_ids is torch.float32"),
        (*BATCH, {"audio_start_s": torch.zeros(4)}, r"audio_start_s is of shape \(4,\)"),
        (*BATCH, {"margin": 0.0}, "margin is 0.0, expected a positive number"),
        (*BATCH, {"margin": float("nan")}, "margin is nan"),
        (*BATCH, {"objective": "hinge"}, "objective is 'hinge'"),
        (*BATCH, {"mining": "semi"}, "mining is 'semi'"),
        (*BATCH, {"negatives": ["soft"]}, "negatives is"),
        (*BATCH, {"negatives": []}, "negatives is"),
        (*BATCH, {"clip_s": 0}, "clip_s is 0"),
        (*BATCH, {"min_gap_s": -1}, "min_gap_s is -1"),
        (*BATCH, {"min_offset_s": 0}, "min_offset_s is 0"),
        (*BATCH, {"objective": "infonce", "temperature": 0.0}, "temperature is 0.0"),
        (*BATCH, {"objective": "infonce", "temperature": torch.ones(1)}, "temperature is of shape"),
        pytest.param(
            *BATCH,
            {"objective": "infonce", "temperature": torch.tensor(-1.0)},
            "temperature is -1",
            marks=by_other_means,
        ),
    ],
)
def test_bad_input(video, audio, options, message):
    with pytest.raises(ValueError, match=message):
        sync_contrastive_loss(video, audio, **options)


@pytest.mark.parametrize(
    ("pairs", "labels", "message"),
    [
        (torch.tensor([[0, 0, 0]]), torch.ones(1), "pairs is"),
        (torch.tensor([[0.0, 0.0]]), torch.ones(1), "pairs is torch.float32"),
        (torch.tensor([[0, 0]]), torch.ones(2), r"labels is of shape \(2,\), expected \(1,\)"),
        pytest.param(
            torch.tensor([[3, 0]]),
            torch.ones(1),
            r"pairs\[:, 0\] is 3, expected a video row in",
            marks=by_other_means,
        ),
        pytest.param(
            torch.tensor([[0, -1]]),
            torch.ones(1),
            r"pairs\[:, 1\] is -1, expected an audio row in",
            marks=by_other_means,
        ),
    ],
)
def test_bad_pairs(pairs, labels, message):
    with pytest.raises(ValueError, match=message):
        sync_pair_loss(*BATCH, pairs, labels)
