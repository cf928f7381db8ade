"""The contrastive losses with the whole matrix of pairs, by the equations, in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avts_ext.ops.clip_offset import PairKind

IGNORED = -1
_TOLERANCE_S = 1e-9


class Windows(NamedTuple):
    """Medium (rows,) int64 and window start in seconds (rows,) of each row of one side."""

    ids: Tensor
    start_s: Tensor


def pair_kinds(
    video: Windows, audio: Windows, clip_s: float, min_gap_s: float, min_offset_s: float
) -> Tensor:
    """(N, M) int64 kinds of all pairs."""
    shift_s = (video.start_s[:, None] - audio.start_s[None, :]).abs().double()
    kinds = torch.full(shift_s.shape, IGNORED)
    kinds[shift_s >= min_offset_s - _TOLERANCE_S] = PairKind.SUPER_HARD
    kinds[shift_s >= clip_s + min_gap_s - _TOLERANCE_S] = PairKind.HARD
    kinds[shift_s <= _TOLERANCE_S] = PairKind.POSITIVE
    kinds[video.ids[:, None] != audio.ids[None, :]] = PairKind.EASY
    return kinds


def distances(video: Tensor, audio: Tensor) -> Tensor:
    """(N, M) Euclidean distances, with gradient zero where the distance is zero."""
    squared = (video.double()[:, None] - audio.double()[None]).square().sum(-1)
    return torch.where(squared == 0, 0.0, torch.where(squared == 0, 1.0, squared).sqrt())


def hardest_negatives(distance: Tensor, admissible: Tensor) -> Tensor:
    """(N,) column of each row's nearest admissible pair, the lowest among equals, or -1."""
    found = torch.full((len(distance),), -1)
    for i, row in enumerate(distance.tolist()):
        columns = [j for j in range(len(row)) if admissible[i, j]]
        if columns:
            found[i] = min(columns, key=lambda j: (row[j], j))
    return found


def margin_loss(
    video: Tensor, audio: Tensor, kinds: Tensor, negatives: set[int], margin: float, hardest: bool
) -> Tensor:
    """Half the mean of d^2 over positives plus half the mean squared hinge over negatives."""
    d = distances(video, audio)
    hinge = (margin - d).clamp(min=0).square()
    admissible = torch.isin(kinds, torch.tensor(sorted(negatives)))
    if hardest:
        of_rows = hardest_negatives(d.detach(), admissible)
        of_columns = hardest_negatives(d.detach().T, admissible.T)
        rows, columns = (of_rows >= 0).nonzero()[:, 0], (of_columns >= 0).nonzero()[:, 0]
        terms = torch.cat([hinge[rows, of_rows[rows]], hinge[of_columns[columns], columns]])
        count = len(video) + len(audio)
    else:
        terms, count = hinge[admissible], int(admissible.sum())
    squares = d[kinds == PairKind.POSITIVE].square()
    return squares.sum() / max(1, 2 * len(squares)) + terms.sum() / max(1, 2 * count)


def infonce_loss(
    video: Tensor, audio: Tensor, kinds: Tensor, negatives: set[int], temperature: float | Tensor
) -> Tensor:
    """Half the mean over video rows plus half that over audio rows, of rows with a positive."""
    logits = video.double() @ audio.double().T / temperature
    positive = kinds == PairKind.POSITIVE
    admissible = torch.isin(kinds, torch.tensor([PairKind.POSITIVE, *sorted(negatives)]))
    of_video = _infonce_rows(logits, positive, admissible)
    of_audio = _infonce_rows(logits.T, positive.T, admissible.T)
    return (of_video + of_audio) / 2


def _infonce_rows(logits: Tensor, positive: Tensor, admissible: Tensor) -> Tensor:
    has_positive = positive.any(1)
    logits, positive = logits[has_positive], positive[has_positive]
    lse = logits.masked_fill(~admissible[has_positive], -torch.inf).logsumexp(1)
    target = (logits * positive).sum(1) / positive.sum(1)
    return (lse - target).sum() / max(1, len(logits))


def pair_loss(video: Tensor, audio: Tensor, pairs: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over given pairs of y d^2 + (1 - y) max(margin - d, 0)^2."""
    d = distances(video, audio)[pairs[:, 0], pairs[:, 1]]
    y = labels.double()
    return (y * d.square() + (1 - y) * (margin - d).clamp(min=0).square()).sum() / max(1, len(d))
