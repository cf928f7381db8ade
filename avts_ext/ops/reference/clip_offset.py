"""The clip-offset sampler in plain Python integers: what `csrc/clip_offset` must equal exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

_MASK32 = 2**32 - 1
Ranges = Sequence[tuple[int, int]]  # (first start, number of starts) of a medium, ascending


def philox4x32_10(counter: Sequence[int], key: int) -> list[int]:
    """Four random 32-bit words (Salmon et al., SC 2011)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _MASK32, key >> 32 & _MASK32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK32, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK32
        k0, k1 = (k0 + 0x9E3779B9) & _MASK32, (k1 + 0xBB67AE85) & _MASK32
    return [c0, c1, c2, c3]


class Piece(NamedTuple):
    """A set of (early, late) pairs, drawn by two numbers: below `rows` and below `columns`."""

    size: int
    rows: int
    columns: int
    pair: Callable[[int, int], tuple[int, int]]


def start_at(ranges: Ranges, number: int) -> int:
    """The start that has `number` starts of the medium before it."""
    for first, width in ranges:
        if number < width:
            return first + number
        number -= width
    raise IndexError("number is not below the number of starts")


def _band(low: int, high: int, width: int, pair: Callable[[int, int], tuple[int, int]]) -> Piece:
    """All (offset, start) with low <= offset <= high and 0 <= start < width - offset."""

    def folded(row: int, column: int) -> tuple[int, int]:
        offset = low + row
        if column >= width - offset:
            return pair(low + high - offset, column - (width - offset))
        return pair(offset, column)

    rows, columns = high - low + 1, 2 * width - low - high
    return Piece(rows * columns // 2, rows, columns, folded)


def near_pieces(ranges: Ranges, min_offset: int, max_offset: int) -> Iterator[Piece]:
    """All pairs of one range with min_offset <= late - early <= max_offset."""
    for first, width in ranges:
        high = min(max_offset, width - 1)
        if high >= min_offset:
            yield _band(min_offset, high, width, partial(_near_pair, first))


def _near_pair(first: int, offset: int, start: int) -> tuple[int, int]:
    return first + start, first + start + offset


def distant_pieces(ranges: Ranges, distance: int) -> Iterator[Piece]:
    """All pairs with late - early >= distance."""
    if len(ranges) == 1:
        first, width = ranges[0]
        count = width - distance
        if count > 0:
            pair = partial(_triangle_pair, first, distance)
            yield Piece(count * (count + 1) // 2, count, count + 1, pair)
        return
    for late_first, width in ranges:
        far = late_first - distance  # early starts up to here are far from the whole range
        rows = sum(min(n, max(0, far - first + 1)) for first, n in ranges)
        if rows:
            yield Piece(rows * width, rows, width, partial(_free_pair, ranges, late_first))
        for first, n in ranges:
            low, high = max(1, first - far), min(first + n - 1 - far, width - 1)
            if low <= high:
                yield _band(low, high, width, partial(_distant_pair, far, late_first))


def _triangle_pair(first: int, distance: int, i: int, j: int) -> tuple[int, int]:
    early, late = (i, j - 1) if j > i else (j, i)
    return first + early, first + distance + late


def _free_pair(ranges: Ranges, late_first: int, i: int, j: int) -> tuple[int, int]:
    return start_at(ranges, i), late_first + j


def _distant_pair(far: int, late_first: int, offset: int, start: int) -> tuple[int, int]:
    return far + offset, late_first + offset + start


def draw_pair(
    media: Sequence[Ranges],
    medium: int,
    media_id: int,
    draw: int,
    *,
    hard_distance: int,
    min_offset: int,
    max_offset: int,
    kind_bound: Sequence[int],
    seed: int,
    epoch: int,
) -> tuple[int, int, int, int, bool]:
    """One pair: video start, audio start (grid steps), kind, audio medium, fallback."""
    words = [
        word
        for block in (0, 1)
        for word in philox4x32_10(
            (draw, 2 * epoch + block, media_id & _MASK32, media_id >> 32 & _MASK32), seed
        )
    ]

    def below(first_word: int, count: int) -> int:
        return (words[first_word + 1] << 32 | words[first_word]) * count >> 64

    def any_start(ranges: Ranges, first_word: int) -> int:
        return start_at(ranges, below(first_word, sum(width for _, width in ranges)))

    ranges, others = media[medium], len(media) - 1
    wanted = next(kind for kind in range(4) if words[0] < kind_bound[kind])
    pieces = {
        2: list(distant_pieces(ranges, hard_distance)),
        3: list(near_pieces(ranges, min_offset, max_offset)),
    }.get(wanted, [])
    if pieces:
        number = below(6, sum(piece.size for piece in pieces))
        for piece in pieces:
            if number < piece.size:
                break
            number -= piece.size
        early, late = piece.pair(below(2, piece.rows), below(4, piece.columns))
        video, audio = (early, late) if words[1] & 1 else (late, early)
        return video, audio, wanted, medium, False
    kind = int(wanted != 0 and others > 0)
    video = any_start(ranges, 2)
    if kind == 0:
        return video, video, kind, medium, kind != wanted
    partner = below(6, others)
    partner += partner >= medium
    return video, any_start(media[partner], 4), kind, partner, kind != wanted
