"""The clip-offset sampler in plain Python integers: what `csrc/clip_offset` must equal exactly."""

from __future__ import annotations

from collections.abc import Sequence

_MASK32 = 2**32 - 1


def philox4x32_10(counter: Sequence[int], key: int) -> list[int]:
    """Four random 32-bit words (Salmon et al., SC 2011)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & _MASK32, key >> 32 & _MASK32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK32, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK32
        k0, k1 = (k0 + 0x9E3779B9) & _MASK32, (k1 + 0xBB67AE85) & _MASK32
    return [c0, c1, c2, c3]


def draw_pair(
    last_start: Sequence[int],
    media: int,
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
    """One pair: video start, audio start (ticks), kind, audio medium, fallback."""
    words = [
        word
        for block in (0, 1)
        for word in philox4x32_10(
            (draw, 2 * epoch + block, media_id & _MASK32, media_id >> 32 & _MASK32), seed
        )
    ]

    def below(first_word: int, count: int) -> int:
        return (words[first_word + 1] << 32 | words[first_word]) * count >> 64

    last, others = last_start[media], len(last_start) - 1
    wanted = next(kind for kind in range(4) if words[0] < kind_bound[kind])
    possible = {
        0: True,
        1: others > 0,
        2: last >= hard_distance,
        3: last >= min_offset and max_offset >= min_offset,
    }
    kind = wanted if possible[wanted] else int(others > 0)
    if kind == 0:
        start = below(2, last + 1)
        return start, start, kind, media, kind != wanted
    if kind == 1:
        partner = below(6, others)
        partner += partner >= media
        return (
            below(2, last + 1),
            below(4, last_start[partner] + 1),
            kind,
            partner,
            kind != wanted,
        )
    if kind == 2:
        count = last - hard_distance + 1
        i, j = below(2, count), below(4, count + 1)
        early, late = (i, j - 1) if j > i else (j, i)
        late += hard_distance
    else:
        low, high, width = min_offset, min(max_offset, last), last + 1
        offset = low + below(2, high - low + 1)
        early = below(4, 2 * width - low - high)
        if early >= width - offset:
            early, offset = early - (width - offset), low + high - offset
        late = early + offset
    video, audio = (early, late) if words[1] & 1 else (late, early)
    return video, audio, kind, media, False
