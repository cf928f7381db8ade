import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_offset_cases import (
    EACH_KIND,
    draw_with_threads,
    ranges_of,
    same,
    seconds,
    stretches,
)
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
    draw_pair,
    philox4x32_10,
)

PAGE = (Path(__file__).parents[2] / "docs" / "clip_offset.md").read_text()


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


@pytest.mark.kernels("cpu")  # another process has the CPU kernels
def test_another_process_with_other_threads_draws_the_same_bits():
    threads, context = torch.get_num_threads(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as processes:
        found = list(processes.map(draw_with_threads, (1, 3)))
    try:
        expected = draw_with_threads(2)
    finally:
        torch.set_num_threads(threads)
    for drawn in found:
        for values, others in zip(drawn, expected, strict=True):
            np.testing.assert_array_equal(values, others)


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


def test_compiled_draws_are_the_same():
    def draw(durations_s):
        return sample_clip_offsets(durations_s, clip_s=1.0, seed=3, proportions=EACH_KIND)

    durations = seconds(4, 5, 6)
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    assert same(compiled(durations), draw(durations))
