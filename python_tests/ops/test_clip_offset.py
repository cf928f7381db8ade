import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avts_ext._extension import _C
from avts_ext.ops.clip_offset import PairKind, _kind_bounds, sample_clip_offsets
from avts_ext.ops.reference.clip_offset import draw_pair, philox4x32_10

EACH_KIND = {"positive": 1, "easy": 1, "hard": 1, "super_hard": 1}


def seconds(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # known answers published with the generator (Random123, kat_vectors)
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            0xFFFFFFFFFFFFFFFF,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    assert tuple(philox4x32_10(counter, key)) == expected
    assert tuple(_C.philox(counter, key)) == expected


@settings(max_examples=200, deadline=None)
@given(
    durations=st.lists(st.floats(1.0, 40.0), min_size=1, max_size=6),
    weights=st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda w: sum(w) > 0),
    seed=st.integers(-(2**63), 2**64 - 1),
    epoch=st.integers(0, 2**31 - 1),
    id_base=st.integers(-(2**63), 2**63 - 10),
    gap_s=st.floats(0, 3),
    offset_s=st.floats(0, 1.5),
    snap_s=st.sampled_from([None, 1 / 16, 0.04, 0.3]),
)
def test_equals_reference_and_keeps_its_promises(
    durations, weights, seed, epoch, id_base, gap_s, offset_s, snap_s
):
    tick, clip_s, draws = snap_s or 1e-6, 1.0, 3
    ids = torch.arange(len(durations)) + id_base
    proportions = dict(zip(("positive", "easy", "hard", "super_hard"), weights, strict=True))
    got = sample_clip_offsets(
        seconds(*durations),
        clip_s=clip_s,
        seed=seed,
        epoch=epoch,
        draws=draws,
        proportions=proportions,
        media_ids=ids,
        min_gap_s=gap_s,
        min_offset_s=offset_s,
        snap_s=snap_s,
    )
    last_start = [math.floor((d - clip_s) / tick) for d in durations]
    for i, duration in enumerate(durations):
        for k in range(draws):
            video, audio, kind, partner, fallback = draw_pair(
                last_start,
                i,
                int(ids[i]),
                k,
                hard_distance=math.ceil((clip_s + gap_s) / tick),
                min_offset=max(1, math.ceil(offset_s / tick)),
                max_offset=math.ceil(clip_s / tick) - 1,
                kind_bound=_kind_bounds(proportions),
                seed=seed,
                epoch=epoch,
            )
            found = [t[i, k].item() for t in got]
            assert found == [video * tick, audio * tick, kind, partner, fallback]
            shift = abs(found[0] - found[1])
            assert 0 <= found[0] <= duration - clip_s + 1e-9
            assert 0 <= found[1] <= durations[partner] - clip_s + 1e-9
            if kind == PairKind.POSITIVE:
                assert shift == 0 and partner == i
            elif kind == PairKind.EASY:
                assert partner != i
            elif kind == PairKind.HARD:
                assert partner == i and shift >= clip_s + gap_s - 1e-9
            else:
                assert partner == i and max(offset_s, 1e-7) - 1e-9 <= shift < clip_s


def chi_square(counts: torch.Tensor) -> float:
    expected = counts.sum() / counts.numel()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("positive", 7),
        ("hard", 2 * 3),  # |shift| >= 5 of 7 starts: (0,5) (0,6) (1,6) and mirrored
        ("super_hard", 2 * (5 + 4 + 3)),  # |shift| 2 to 4: 5, 4 and 3 places each way
    ],
)
def test_starts_are_uniform_over_the_admissible_pairs(kind, pairs):
    n = 24000
    drawn = sample_clip_offsets(
        seconds(10.5),
        clip_s=4.5,
        seed=3,
        draws=n,
        proportions={kind: 1},
        min_gap_s=0.5,
        min_offset_s=2,
        snap_s=1.0,
    )
    cells, counts = torch.unique(
        (drawn.video_start_s * 100 + drawn.audio_start_s).flatten(), return_counts=True
    )
    assert len(cells) == pairs and not drawn.fallback.any()
    # Mean pairs - 1, standard deviation sqrt(2 (pairs - 1)): five of them.
    assert chi_square(counts.double()) < pairs - 1 + 5 * math.sqrt(2 * (pairs - 1))


def test_easy_partners_and_starts_are_uniform():
    n = 30000
    drawn = sample_clip_offsets(
        seconds(3, 3, 3, 3), torch.tensor([2]), clip_s=1, seed=1, draws=n, proportions={"easy": 1}
    )
    counts = torch.bincount(drawn.audio_media[0], minlength=4).double()
    assert counts[2] == 0
    assert chi_square(counts[[0, 1, 3]]) < 2 + 5 * 2
    for starts in (drawn.video_start_s[0], drawn.audio_start_s[0]):
        assert chi_square(torch.histc(starts.float(), 20, 0, 2).double()) < 19 + 5 * math.sqrt(38)
    both = torch.stack([drawn.video_start_s[0], drawn.audio_start_s[0]])
    assert abs(torch.corrcoef(both)[0, 1]) < 5 / math.sqrt(n)


def test_proportions_are_kept():
    n = 40000
    drawn = sample_clip_offsets(
        seconds(9, 9), torch.tensor([0]), clip_s=1, seed=5, draws=n, proportions=EACH_KIND
    )
    assert chi_square(torch.bincount(drawn.kind[0], minlength=4).double()) < 3 + 5 * math.sqrt(6)


def test_a_draw_depends_on_its_own_key_only():
    durations = seconds(*torch.linspace(3, 9, 40).tolist())
    ids = torch.arange(40) * 7919
    options = {"clip_s": 1.0, "seed": 11, "epoch": 4, "proportions": EACH_KIND, "draws": 5}
    everything = sample_clip_offsets(durations, media_ids=ids, **options)
    order = torch.randperm(40)
    shuffled = sample_clip_offsets(durations, order, media_ids=ids, **options)
    assert same([t[order] for t in everything], shuffled)
    fewer = sample_clip_offsets(durations, media_ids=ids, **{**options, "draws": 2})
    assert same([t[:, :2] for t in everything], fewer)
    for change in ({"seed": 12}, {"epoch": 5}, {"media_ids": ids + 1}):
        other = sample_clip_offsets(durations, **{"media_ids": ids, **options, **change})
        assert (other.video_start_s != everything.video_start_s).float().mean() > 0.9


def test_threads_and_random_state_do_not_matter():
    durations = torch.rand(9000, dtype=torch.float64) * 10 + 1
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        results = []
        for n in (1, 4):
            torch.set_num_threads(n)
            results.append(
                sample_clip_offsets(durations, clip_s=1.0, seed=2, proportions=EACH_KIND)
            )
    finally:
        torch.set_num_threads(threads)
    assert same(*results)
    assert torch.equal(before, torch.get_rng_state())


def test_short_media_fall_back_and_say_so():
    drawn = sample_clip_offsets(seconds(1.2, 5), clip_s=1.0, seed=0, proportions={"hard": 1})
    assert drawn.kind.flatten().tolist() == [PairKind.EASY, PairKind.HARD]
    assert drawn.fallback.flatten().tolist() == [True, False]
    alone = sample_clip_offsets(seconds(1.0), clip_s=1.0, seed=0, proportions={"super_hard": 1})
    assert alone.kind.item() == PairKind.POSITIVE and alone.fallback.item()
    assert alone.video_start_s.item() == 0


def test_empty_requests():
    assert sample_clip_offsets(seconds(), clip_s=1.0, seed=0).kind.shape == (0, 1)
    assert sample_clip_offsets(seconds(2, 3), clip_s=1.0, seed=0, draws=0).kind.shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations_s": torch.ones(2)}, "durations_s is torch.float32"),
        ({"durations_s": seconds(5, 0.5)}, "shorter than clip_s at index 1"),
        ({"durations_s": seconds(5, math.nan)}, "shorter than clip_s at index 1"),
        ({"query": torch.tensor([2])}, "query is 2, expected an index below"),
        ({"query": torch.tensor([0.0])}, "query is torch.float32"),
        ({"media_ids": torch.tensor([1])}, "media_ids has 1 elements, expected one per duration"),
        ({"clip_s": 0.0}, "clip_s is 0.0, expected a positive"),
        ({"snap_s": -1.0}, "snap_s is -1.0"),
        ({"min_gap_s": -0.1}, "min_gap_s is -0.1"),
        ({"min_offset_s": math.inf}, "min_offset_s is inf"),
        ({"epoch": -1}, "epoch is -1"),
        ({"draws": -1}, "draws is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"proportions": {"harder": 1}}, r"proportions names \['harder'\]"),
        ({"proportions": {"hard": 0}}, "expected finite weights"),
        ({"proportions": {"hard": math.nan}}, "expected finite weights"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"durations_s": seconds(5, 6), "clip_s": 1.0, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        sample_clip_offsets(arguments.pop("durations_s"), **arguments)


def test_opcheck_and_compile():
    arguments = (
        torch.tensor([50, 60]),
        torch.tensor([3, 4]),
        torch.tensor([1, 0, 1]),
        *(20, 2, 9, [2**30, 2**31, 3 * 2**30, 2**32], 7, 1, 4),
    )
    torch.library.opcheck(torch.ops.avts.clip_offset.default, arguments)

    def draw(durations_s):
        return sample_clip_offsets(durations_s, clip_s=1.0, seed=3, proportions=EACH_KIND)

    durations = seconds(4, 5, 6)
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    assert same(compiled(durations), draw(durations))
