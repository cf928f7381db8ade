"""What the tests of the clip-offset sampler share: media, requests, and a draw for a process."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from avts_ext.ops import sample_clip_offsets

EACH_KIND = {"positive": 1, "easy": 1, "hard": 1, "super_hard": 1}


def seconds(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@st.composite
def stretches(draw, clip: int, longest: int):
    """Ascending (begin, end) stretches of one medium, at least one with room for a clip."""
    cuts = draw(st.lists(st.integers(0, longest), min_size=2, max_size=8, unique=True))
    cuts.sort()
    spans = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    at = cuts[len(spans) * 2 - 1] + 1
    return [*spans, (at, at + clip + draw(st.integers(0, longest)))]


def ranges_of(spans, clip: int):
    """(first start, number of starts) of each stretch with room for a clip."""
    return [(begin, end - clip - begin + 1) for begin, end in spans if end - clip >= begin]


def draw_with_threads(n_threads: int):
    """Draws for 9,000 media, whoever asks; a chunk of the kernel is smaller than that."""
    torch.set_num_threads(n_threads)
    durations = torch.linspace(1, 11, 9000, dtype=torch.float64)
    drawn = sample_clip_offsets(durations, clip_s=1.0, seed=2, epoch=5, proportions=EACH_KIND)
    return [values.numpy() for values in drawn]
