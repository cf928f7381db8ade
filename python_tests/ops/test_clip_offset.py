import math
import re
from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avts_ext import LogMelSpectrogram
from avts_ext._extension import _C
from avts_ext.ops.clip_offset import (
    ClipStarts,
    PairKind,
    _kind_bounds,
    sample_clip_offsets,
)
from avts_ext.ops.reference.clip_offset import (
    distant_pieces,
    draw_pair,
    near_pieces,
    philox4x32_10,
)

PAGE = (Path(__file__).parents[2] / "docs" / "clip_offset.md").read_text()
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


@st.composite
def stretches(draw, clip: int, longest: int):
    """Ascending (begin, end) stretches of one medium, at least one with room for a clip."""
    cuts = draw(st.lists(st.integers(0, longest), min_size=2, max_size=8, unique=True))
    cuts.sort()
    spans = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    at = cuts[len(spans) * 2 - 1] + 1
    return [*spans, (at, at + clip + draw(st.integers(0, longest)))]


@st.composite
def requests(draw):
    """Media in ticks, the options of `ClipStarts.in_ticks`, and those of `ClipStarts.draw`."""
    clip = draw(st.integers(1, 60))
    longest = draw(st.sampled_from([10, 1000, 10**6, 2**47]))
    valid = draw(st.lists(stretches(clip, longest), min_size=1, max_size=5))
    media = {
        "durations": torch.tensor([spans[-1][1] for spans in valid]),
        "valid": draw(st.sampled_from([None, valid])),
        "clip": clip,
        "min_gap": draw(st.integers(0, 2 * clip)),
        "min_offset": draw(st.integers(0, clip)),
        "media_ids": torch.arange(len(valid)) + draw(st.integers(-(2**63), 2**63 - 10)),
    }
    weights = draw(st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda w: sum(w) > 0))
    drawing = {
        "seed": draw(st.integers(-(2**63), 2**64 - 1)),
        "epoch": draw(st.integers(0, 2**31 - 1)),
        "first_draw": draw(st.integers(0, 2**32 - 3)),
        "draws": 3,
        "proportions": dict(zip(("positive", "easy", "hard", "super_hard"), weights, strict=True)),
    }
    return media, drawing


def ranges_of(spans, clip: int):
    """(first start, number of starts) of each stretch with room for a clip."""
    return [(begin, end - clip - begin + 1) for begin, end in spans if end - clip >= begin]


@settings(max_examples=300, deadline=None)
@given(requests())
def test_equals_reference_and_keeps_its_promises(request_):
    media, drawing = request_
    drawn = ClipStarts.in_ticks(**media).draw(**drawing)
    clip = media["clip"]
    spans = media["valid"] or [[(0, d)] for d in media["durations"].tolist()]
    ranges = [ranges_of(s, clip) for s in spans]

    def is_valid(medium, start):
        return any(begin <= start and start + clip <= end for begin, end in spans[medium])

    for i in range(len(ranges)):
        for k in range(drawing["draws"]):
            found = tuple(t[i, k].item() for t in drawn)
            assert found == draw_pair(
                ranges,
                i,
                int(media["media_ids"][i]),
                drawing["first_draw"] + k,
                hard_distance=clip + media["min_gap"],
                min_offset=max(1, media["min_offset"]),
                max_offset=clip - 1,
                kind_bound=_kind_bounds(drawing["proportions"]),
                seed=drawing["seed"],
                epoch=drawing["epoch"],
            )
            video, audio, kind, partner, _ = found
            assert is_valid(i, video) and is_valid(partner, audio)
            assert (partner != i) == (kind == PairKind.EASY)
            if kind == PairKind.POSITIVE:
                assert video == audio
            elif kind == PairKind.HARD:  # edge to edge
                assert abs(video - audio) - clip >= media["min_gap"]
            elif kind == PairKind.SUPER_HARD:
                assert max(1, media["min_offset"]) <= abs(video - audio) < clip


@pytest.mark.parametrize("draws", [1, 3, 130])
def test_every_cpu_level_draws_the_same(cpu_level, draws):
    clip, spans = 10, [[(0, 30), (40, 90)], [(5, 70)], [(0, 10)]]
    ids = torch.tensor([-5, 2**40, 3])
    media = ClipStarts.in_ticks(
        torch.tensor([90, 70, 10]), clip=clip, min_gap=5, min_offset=2, valid=spans, media_ids=ids
    )
    drawn = media.draw(seed=-9, epoch=2**31 - 1, draws=draws, proportions=EACH_KIND)
    options = {"hard_distance": 15, "min_offset": 2, "max_offset": 9}
    options |= {"kind_bound": _kind_bounds(EACH_KIND), "seed": -9, "epoch": 2**31 - 1}
    ranges = [ranges_of(s, clip) for s in spans]
    expected = [
        draw_pair(ranges, i, int(ids[i]), k, **options) for i in range(3) for k in range(draws)
    ]
    assert list(zip(*(t.flatten().tolist() for t in drawn), strict=True)) == expected


def probabilities(pieces):
    """Exact distribution of the pair that is drawn from the reference's pieces."""
    result, total = Counter(), sum(piece.size for piece in pieces)
    for piece in pieces:
        share = Fraction(piece.size, total * piece.rows * piece.columns)
        for i in range(piece.rows):
            for j in range(piece.columns):
                result[piece.pair(i, j)] += share
    return result


def uniform(pairs):
    return {pair: Fraction(1, len(pairs)) for pair in pairs}


@settings(max_examples=200, deadline=None)
@given(stretches(3, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 8))
def test_reference_is_exactly_uniform(valid, distance, min_offset, max_offset):
    """Each admissible pair has the same probability, as a fraction, and no other has any."""
    ranges = ranges_of(valid, 3)
    starts = [first + i for first, width in ranges for i in range(width)]
    pairs = list(combinations_with_replacement(starts, 2))
    distant = [(early, late) for early, late in pairs if late - early >= distance]
    assert probabilities(list(distant_pieces(ranges, distance))) == uniform(distant)
    near = [
        (early, late)
        for early, late in pairs
        if min_offset <= late - early <= max_offset
        and any(first <= early and late < first + width for first, width in ranges)
    ]
    assert probabilities(list(near_pieces(ranges, min_offset, max_offset))) == uniform(near)


# The seeds are fixed, so a test below always gives the same p. Were the draws not uniform it would
# be close to zero; uniform draws give one below this for one seed in a thousand.
LEAST_P = 1e-3


def p_of_uniform(counts) -> float:
    return scipy.stats.chisquare(counts).pvalue


@pytest.mark.parametrize("valid", [None, [[(0, 4), (5, 13), (14, 17), (18, 29)]]])
@pytest.mark.parametrize("kind", ["positive", "hard", "super_hard"])
def test_starts_are_uniform_over_the_admissible_pairs(kind, valid):
    clip, gap, offset = 4, 2, 2
    media = ClipStarts.in_ticks(
        torch.tensor([29 if valid else 15]), clip=clip, min_gap=gap, min_offset=offset, valid=valid
    )
    drawn = media.draw(seed=3, draws=40000, proportions={kind: 1})
    ranges = ranges_of(valid[0] if valid else [(0, 15)], clip)
    starts = [(r, first + i) for r, (first, width) in enumerate(ranges) for i in range(width)]
    admissible = {
        "positive": lambda shift, one_range: shift == 0,
        "hard": lambda shift, one_range: shift >= clip + gap,
        "super_hard": lambda shift, one_range: one_range and offset <= shift < clip,
    }[kind]
    pairs = {
        (video, audio)
        for range1, video in starts
        for range2, audio in starts
        if admissible(abs(video - audio), range1 == range2)
    }
    counts = Counter(zip(drawn.video_start[0].tolist(), drawn.audio_start[0].tolist(), strict=True))
    assert counts.keys() == pairs and not drawn.fallback.any()
    assert p_of_uniform(list(counts.values())) > LEAST_P


def test_easy_partners_and_starts_are_uniform_and_independent():
    media = ClipStarts.in_ticks(torch.full((4,), 12), clip=3, min_gap=0, min_offset=1)
    drawn = media.draw(torch.tensor([2]), seed=1, draws=60000, proportions={"easy": 1})
    columns = (drawn.audio_media[0], drawn.video_start[0], drawn.audio_start[0])
    counts = Counter(zip(*(column.tolist() for column in columns), strict=True))
    assert counts.keys() == {(m, v, a) for m in (0, 1, 3) for v in range(10) for a in range(10)}
    assert p_of_uniform(list(counts.values())) > LEAST_P


def test_kinds_have_their_proportions():
    proportions = {"positive": 0.4, "easy": 0.3, "hard": 0.2, "super_hard": 0.1}
    drawn = sample_clip_offsets(
        seconds(9, 9), torch.tensor([0]), clip_s=1, seed=5, draws=40000, proportions=proportions
    )
    counts = torch.bincount(drawn.kind[0], minlength=4).double()
    expected = 40000 * torch.tensor(list(proportions.values()), dtype=torch.float64)
    assert scipy.stats.chisquare(counts, expected).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"seed": 1}, {"seed": 2}),
        ({"epoch": 0}, {"epoch": 1}),
        ({"media": 0}, {"media": 1}),
        ({"first_draw": 0}, {"first_draw": 20000}),
    ],
)
def test_draws_of_different_keys_are_independent(first, second):
    media = ClipStarts.in_ticks(
        torch.tensor([10, 10]), clip=1, min_gap=0, min_offset=1, media_ids=torch.tensor([7, 8])
    )

    def starts(media_index=0, **key):
        key = {"seed": 0, "epoch": 0, **key}
        query = torch.tensor([key.pop("media", media_index)])
        return media.draw(query, draws=20000, proportions={"positive": 1}, **key).video_start[0]

    table = torch.bincount(starts(**first) * 10 + starts(**second), minlength=100)
    assert p_of_uniform(table) > LEAST_P


@settings(max_examples=100, deadline=None)
@given(
    order=st.permutations(range(40)),
    ranks=st.integers(1, 7),
    first=st.integers(0, 4),
    seed=st.integers(-(2**63), 2**64 - 1),
    epoch=st.integers(0, 2**31 - 1),
)
def test_a_draw_depends_on_its_own_key_only(order, ranks, first, seed, epoch):
    """Not on the order, the batch or shard it is in, nor on how many draws are made at once."""
    media = ClipStarts.in_seconds(
        torch.linspace(1.2, 9, 40).double(), clip_s=1.0, media_ids=torch.arange(40) * 7919
    )
    options = {"seed": seed, "epoch": epoch, "proportions": EACH_KIND}
    everything = media.draw(draws=5, **options)
    order = torch.tensor(order)
    assert same([t[order] for t in everything], media.draw(order, draws=5, **options))
    for rank in range(ranks):
        shard = media.draw(order[rank::ranks], draws=5, **options)
        assert same([t[order[rank::ranks]] for t in everything], shard)
    later = media.draw(first_draw=first, draws=5 - first, **options)
    assert same([t[:, first:] for t in everything], later)


@pytest.mark.parametrize("change", [{"seed": 12}, {"epoch": 5}, {"first_draw": 5}])
def test_another_key_gives_other_draws(change):
    media = ClipStarts.in_seconds(torch.linspace(3, 9, 40).double(), clip_s=1.0)
    options = {"seed": 11, "epoch": 4, "draws": 5, "proportions": EACH_KIND}
    one, other = media.draw(**options), media.draw(**{**options, **change})
    assert (one.video_start != other.video_start).float().mean() > 0.9


def test_media_that_come_or_go_change_no_draw_of_the_others():
    durations, ids = torch.linspace(3, 9, 6).double(), torch.tensor([50, 3, 9, 77, 20, 4])
    kept = torch.tensor([0, 2, 3, 5])
    options = {"seed": 1, "draws": 50, "proportions": {"positive": 1, "hard": 1, "super_hard": 1}}
    everything = sample_clip_offsets(durations, kept, clip_s=1.0, media_ids=ids, **options)
    fewer = sample_clip_offsets(durations[kept], clip_s=1.0, media_ids=ids[kept], **options)
    assert torch.equal(everything.video_start, fewer.video_start)
    assert torch.equal(everything.audio_start, fewer.audio_start)


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


@settings(max_examples=200, deadline=None)
@given(
    duration_s=st.floats(1.0, 1e6),
    clip_s=st.floats(1e-6, 1.0),
    snap_s=st.sampled_from([None, 1 / 25, 1001 / 30000, 0.1, 0.3, 1e-6, 1 / 3]),
    gap_s=st.floats(0, 10),
)
def test_seconds_become_grid_steps_to_the_nanosecond(duration_s, clip_s, snap_s, gap_s):
    media = ClipStarts.in_seconds(
        seconds(duration_s), clip_s=clip_s, snap_s=snap_s, min_gap_s=gap_s, min_offset_s=gap_s
    )
    step, clip, gap = Fraction(snap_s or 1e-6), Fraction(clip_s), Fraction(gap_s)
    least, most = Fraction(9, 10**10), Fraction(11, 10**10)
    starts = int(media.ranges[-1, 1])
    assert (starts - 1) * step + clip <= Fraction(duration_s) + most  # the last one lies inside,
    assert starts * step + clip > Fraction(duration_s) + least  # and there is no room for another
    for steps, time in ((media.hard_distance, clip + gap), (media.max_offset + 1, clip)):
        assert steps * step >= time - most and (steps - 1) * step < time - least
    assert media.min_offset == 1 or media.min_offset * step >= gap - most
    drawn = media.draw(seed=0, draws=4)
    assert torch.equal(drawn.video_start, torch.round(drawn.video_start / media.step) * media.step)


def test_decimal_seconds_lose_no_place_to_binary_rounding():
    media = ClipStarts.in_seconds(
        seconds(1.9), clip_s=1.0, snap_s=0.1, valid_s=[[(0.3, 1.9)]], min_gap_s=0, min_offset_s=0.3
    )
    assert media.ranges.tolist() == [[3, 0], [0, 7]]
    assert (media.hard_distance, media.min_offset, media.max_offset) == (10, 3, 9)


def test_starts_snap_to_the_grid_in_ticks():
    media = ClipStarts.in_ticks(
        torch.tensor([1000]),
        clip=100,
        min_gap=50,
        min_offset=30,
        snap=40,
        valid=[[(41, 500), (570, 900)]],
    )
    assert media.ranges.tolist() == [[2, 0], [15, 9], [0, 15]]
    drawn = media.draw(seed=0, draws=300, proportions=EACH_KIND)
    assert not (drawn.video_start % 40).any() and not (drawn.audio_start % 40).any()
    assert drawn.video_start.dtype == torch.int64
    shift = (drawn.video_start - drawn.audio_start).abs()
    assert shift[drawn.kind == PairKind.HARD].min() >= 160  # 150, on the grid
    assert set(shift[drawn.kind == PairKind.SUPER_HARD].tolist()) == {40, 80}


def test_long_tracks_are_cropped_and_transformed_in_one_call():
    rate, clip = 16000, 16000
    tracks = torch.randn(3, 5 * rate)
    media = ClipStarts.in_ticks(
        torch.tensor([5 * rate, 3 * rate, 4 * rate + 7]),
        clip=clip,
        min_gap=rate // 2,
        min_offset=rate // 4,
    )
    drawn = media.draw(seed=0, draws=4, proportions=EACH_KIND)
    log_mel = LogMelSpectrogram.from_preset("avts")
    # All tracks as one row that every item shares: nothing is copied.
    row = tracks.flatten().expand(drawn.kind.numel(), -1)
    starts = (drawn.audio_media * tracks.shape[1] + drawn.audio_start).flatten()
    features = log_mel(row, starts=starts, clip_length=clip)
    for i in range(3):
        for k in range(4):
            track, start = tracks[drawn.audio_media[i, k]], drawn.audio_start[i, k]
            assert torch.equal(features[i * 4 + k], log_mel(track[start : start + clip]))


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_page_run(example):
    names = {}
    exec(example, names)
    if "features" in names:
        assert names["features"].shape == (12, 40, 100)
    else:
        assert names["drawn"].kind.shape == (3, 1) and names["one"].kind.shape == (1, 1)


def test_short_media_fall_back_and_say_so():
    drawn = sample_clip_offsets(seconds(1.2, 5), clip_s=1.0, seed=0, proportions={"hard": 1})
    assert drawn.kind.flatten().tolist() == [PairKind.EASY, PairKind.HARD]
    assert drawn.fallback.flatten().tolist() == [True, False]
    alone = sample_clip_offsets(seconds(1.0), clip_s=1.0, seed=0, proportions={"super_hard": 1})
    assert alone.kind.item() == PairKind.POSITIVE and alone.fallback.item()
    assert alone.video_start.item() == 0


def test_seeds_may_be_numpy_integers():
    a, b = (sample_clip_offsets(seconds(9), clip_s=1.0, seed=s) for s in (np.int64(-3), -3))
    assert same(a, b)


def test_empty_requests():
    assert sample_clip_offsets(seconds(), clip_s=1.0, seed=0).kind.shape == (0, 1)
    assert sample_clip_offsets(seconds(2, 3), clip_s=1.0, seed=0, draws=0).kind.shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations_s": torch.ones(2)}, "durations_s is torch.float32"),
        (
            {"durations_s": seconds(5, 0.5)},
            r"durations_s\[1\] is 0.5, expected .* 1.0, to 1000000.0",
        ),
        ({"durations_s": seconds(5, math.nan)}, r"durations_s\[1\] is nan"),
        ({"durations_s": seconds(math.inf)}, r"durations_s\[0\] is inf"),
        pytest.param(
            {"query": torch.tensor([2])},
            "query is 2, expected an index below the number of media, 2",
            marks=pytest.mark.kernels("cpu"),  # a device finds it by other means
        ),
        pytest.param(
            {"query": torch.tensor([-1])},
            "query is -1, expected an index",
            marks=pytest.mark.kernels("cpu"),
        ),
        ({"query": torch.tensor([0.0])}, "query is torch.float32"),
        ({"query": torch.tensor(0)}, r"query is torch.int64 of shape \(\), expected 1-D"),
        ({"media_ids": torch.tensor([1])}, r"media_ids is .* \(1,\), expected one .* \(2,\)"),
        ({"valid_s": [[(0, 5)]]}, "valid_s has 1 elements, expected one per duration"),
        ({"valid_s": [[(0, 5)], [(2, 6.1)]]}, r"valid_s\[1\] has \(2, 6.1\), expected .* 6.0"),
        ({"valid_s": [[(3, 2)], [(0, 6)]]}, r"valid_s\[0\] has \(3, 2\)"),
        ({"valid_s": [[(0, 2), (2, 4)], [(0, 6)]]}, r"valid_s\[0\] has \(2, 4\), .* apart"),
        ({"valid_s": [[(0, math.nan)], [(0, 6)]]}, r"valid_s\[0\] has \(0, nan\)"),
        ({"valid_s": [[(0, 2)], []]}, r"valid_s\[1\] has 0 stretches and none with room"),
        ({"valid_s": [[(0, 0.5)], [(0, 6)]]}, r"valid_s\[0\] has 1 stretches"),
        ({"clip_s": 0.0}, "clip_s is 0.0, expected 1e-06 to"),
        ({"snap_s": -1.0}, "snap_s is -1.0"),
        ({"min_gap_s": -0.1}, "min_gap_s is -0.1"),
        ({"min_offset_s": math.inf}, "min_offset_s is inf"),
        ({"epoch": -1}, "epoch is -1, expected 0 to 2147483647"),
        ({"draws": -1}, "draws is -1"),
        ({"draws": 2, "first_draw": 2**32 - 1}, "draws is 2, expected 0 to 1"),
        ({"first_draw": -1}, "first_draw is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 0.5}, "seed is 0.5, expected an integer"),
        ({"proportions": {}}, "expected finite weights"),
        ({"proportions": {"harder": 1}}, r"proportions names \['harder'\]"),
        ({"proportions": {"hard": 0}}, "expected finite weights"),
        ({"proportions": {"hard": math.nan}}, "expected finite weights"),
        ({"proportions": {"hard": -1, "easy": 2}}, "expected finite weights"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"durations_s": seconds(5, 6), "clip_s": 1.0, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        sample_clip_offsets(arguments.pop("durations_s"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": seconds(5)}, r"durations is torch.float64 of shape \(1,\), expected \(N,\)"),
        (
            {"durations": torch.tensor([9])},
            r"durations\[0\] is 9, expected .* 10, to 9007199254740992",
        ),
        ({"clip": 0}, "clip is 0, expected an integer, 1 to"),
        ({"snap": 0}, "snap is 0, expected an integer, 1 to"),
        ({"min_gap": -1}, "min_gap is -1, expected an integer, 0 to"),
        ({"min_offset": 2**60}, "min_offset is 1152921504606846976"),
        ({"valid": [[(0, 21)]]}, r"valid\[0\] has \(0, 21\), expected .* 20"),
        ({"valid": [[(1, 11)]], "snap": 8}, r"valid\[0\] has 1 stretches and none with room"),
        ({"valid": [[(0.5, 12)]]}, "valid has fractions of a tick, expected integers"),
        ({"clip": 1.5}, "clip is 1.5, expected an integer, 1 to"),
        ({"durations": torch.full((2000,), 2**53)}, r"durations give 2\^62 starts or more"),
    ],
)
def test_bad_ticks_are_named(change, message):
    arguments = {"durations": torch.tensor([20]), "clip": 10, "min_gap": 1, "min_offset": 1}
    with pytest.raises(ValueError, match=message):
        ClipStarts.in_ticks(**{**arguments, **change})


TABLE = {
    "media": torch.tensor([[3, 0, 0, 0], [4, 1, 0, 50], [0, 3, 0, 110]]),
    "ranges": torch.tensor([[0, 0], [0, 50], [90, 60], [0, 110]]),
    "query": torch.tensor([1, 0, 1]),
    "hard_distance": 20,
    "min_offset": 2,
    "max_offset": 9,
    "kind_bound": [2**30, 2**31, 3 * 2**30, 2**32],
    "seed": 7,
    "epoch": 1,
    "first_draw": 0,
    "draws": 4,
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"media": torch.zeros(3, 4)}, r"media is torch.float32 of shape \(3, 4\), expected"),
        ({"media": torch.tensor([0, 1])}, r"media is torch.int64 of shape \(2,\)"),
        (
            {"media": torch.zeros(0, 4).long()},
            r"media is .* \(0, 4\), expected .* \(1 or more, 4\)",
        ),
        ({"ranges": torch.zeros(3, 3).long()}, r"ranges is torch.int64 of shape \(3, 3\)"),
        ({"query": torch.tensor([1], dtype=torch.int32)}, "query is torch.int32"),
        ({"hard_distance": 0}, "hard_distance is 0, expected 1 to"),
        ({"min_offset": 0}, "min_offset is 0, expected 1 to"),
        ({"max_offset": -1}, "max_offset is -1, expected 0 to"),
        ({"epoch": 2**31}, "epoch is 2147483648, expected 0 to 2147483647"),
        ({"first_draw": 2**32}, "first_draw is 4294967296"),
        ({"draws": -3}, "draws is -3"),
        ({"kind_bound": [1, 2, 2**32]}, "kind_bound is .* expected 4 ascending"),
        ({"kind_bound": [5, 2, 3, 2**32]}, "kind_bound is .* expected 4 ascending"),
        ({"kind_bound": [-1, 2, 3, 2**32]}, "kind_bound is .* expected 4 ascending"),
    ],
)
def test_the_operator_and_its_fake_refuse_alike(device, change, message):
    arguments = {
        k: v.to(device) if isinstance(v, torch.Tensor) else v
        for k, v in {**TABLE, **change}.items()
    }
    with pytest.raises(ValueError, match=message):
        torch.ops.avts.clip_offset(**arguments)


@pytest.mark.kernels("cpu")  # a device finds it by other means
@pytest.mark.parametrize(
    "first_range", [[0, 1, 4], [-1, 1, 3], [0, 1, 1], [0, 4, 3], [2, 1, 3], [0, 1, 2**62]]
)
def test_a_broken_table_is_refused_before_it_leads_out_of_memory(first_range):
    media = TABLE["media"].clone()
    media[:, 1] = torch.tensor(first_range)
    with pytest.raises(ValueError, match=r"medium [01] is too short for a clip"):
        torch.ops.avts.clip_offset(**{**TABLE, "media": media})


def test_opcheck_and_compile():
    torch.library.opcheck(torch.ops.avts.clip_offset.default, tuple(TABLE.values()))

    def draw(durations_s):
        return sample_clip_offsets(durations_s, clip_s=1.0, seed=3, proportions=EACH_KIND)

    durations = seconds(4, 5, 6)
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    assert same(compiled(durations), draw(durations))


@pytest.mark.kernels("cpu")  # a device finds it by other means
def test_a_compiled_draw_refuses_a_short_medium():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def draw(durations_s):
        return sample_clip_offsets(durations_s, clip_s=1.0, seed=3, proportions=EACH_KIND)

    with pytest.raises(ValueError, match="medium 1 is too short for a clip"):
        draw(seconds(4, 0.5, 6))
