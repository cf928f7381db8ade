"""Sets of stretches of time: ascending, disjoint (begin, end) in seconds."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[float, float]


def merge(spans: Iterable[Span], gap_s: float = 0.0) -> list[Span]:
    """The union of any spans; those no further than `gap_s` apart become one."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1] + gap_s:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def subtract(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """What is left of `spans` when all `holes` are cut out; both may be any spans."""
    left = merge(spans)
    for hole_begin, hole_end in holes:
        cut: list[Span] = []
        for begin, end in left:
            cut += [(begin, min(end, hole_begin)), (max(begin, hole_end), end)]
        left = [(begin, end) for begin, end in cut if begin < end]
    return merge(left)


def total_s(spans: Iterable[Span]) -> float:
    """Length of all of them together, in seconds."""
    return sum(end - begin for begin, end in spans)
