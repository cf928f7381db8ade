"""What is drawn has the distribution that the page of the sampler states."""

from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement

import pytest
import scipy.stats
import torch
from clip_offset_cases import ranges_of, seconds, stretches
from hypothesis import given, settings
from hypothesis import strategies as st

from avts_ext.ops.clip_offset import ClipStarts, sample_clip_offsets
from avts_ext.ops.reference.clip_offset import distant_pieces, near_pieces


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
