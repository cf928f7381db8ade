"""The contrastive losses with the whole matrix of pairs, by the equations, in float64."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from avts_ext.ops.clip_offset import PairKind
from avts_ext.ops.reference.clip_offset import philox4x32_10
from avts_ext.ops.sync_options import SyncLossOptions

IGNORED = -1
_TOLERANCE_S = 1e-9


class Windows(NamedTuple):
    """Medium (rows,) int64, start in seconds (rows,) and group (rows,) int64 of one side's rows."""

    ids: Tensor
    start_s: Tensor
    groups: Tensor | None = None


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
    if video.groups is not None and audio.groups is not None:
        same = (video.groups[:, None] == audio.groups[None, :]) & (video.groups[:, None] >= 0)
        kinds[same & (kinds != PairKind.POSITIVE)] = IGNORED
    return kinds


def weights_of_kinds(kinds: Tensor, options: SyncLossOptions) -> Tensor:
    """(N, M) float64, what the term of each negative is multiplied by; 0: not a negative."""
    weights = torch.zeros(kinds.shape, dtype=torch.float64)
    for kind, weight in zip((1, 2, 3), options.kind_weights, strict=True):
        weights[kinds == kind] = weight
    return weights


def distances(video: Tensor, audio: Tensor) -> Tensor:
    """(N, M) Euclidean distances, with gradient zero where the distance is zero."""
    squared = (video.double()[:, None] - audio.double()[None]).square().sum(-1)
    return torch.where(squared == 0, 0.0, torch.where(squared == 0, 1.0, squared).sqrt())


def farthest_positive(distance: Tensor, kinds: Tensor) -> Tensor:
    """(N,) distance of each row to its farthest positive, NaN without one."""
    far = distance.masked_fill(kinds != PairKind.POSITIVE, -1).amax(1)
    return torch.where(far < 0, torch.nan, far)


def mined_negatives(
    distance: Tensor,
    kinds: Tensor,
    options: SyncLossOptions,
    from_audio: bool = False,
    dim: int = 0,
) -> Tensor:
    """(N, k) columns mined for each row, the first of them first, -1 where there is none.

    ``dim`` is the embeddings' number of dimensions, for distance-weighted draws.
    """
    admissible = weights_of_kinds(kinds, options) > 0
    floor = farthest_positive(distance, kinds).tolist()
    found = torch.full((len(distance), options.k), -1)
    for i, row in enumerate(distance.tolist()):
        columns = [j for j in range(len(row)) if admissible[i, j]]
        if options.mining == "semi_hard":
            columns = [j for j in columns if row[j] > floor[i]]  # never where floor is NaN
        keys = row
        if options.mining == "distance_weighted":
            keys = [_race_key(options.seed, i, j, d, from_audio, dim) for j, d in enumerate(row)]
        best = [j for _, j in sorted((keys[j], j) for j in columns)][: options.k]
        found[i, : len(best)] = torch.tensor(best, dtype=torch.int64)
    return found


def _race_key(
    seed: int, self_row: int, other_row: int, d: float, from_audio: bool, dim: int
) -> float:
    """The negative with the least key is a draw with probability in inverse proportion to density.

    An exponential variate divided by its weight, as a logarithm.
    """
    low, high, *_ = philox4x32_10((self_row, other_row, int(from_audio), 0), seed)
    uniform = (((high << 32 | low) >> 11) + 1) * 2.0**-53
    near = max(d * d, 0.25)
    density = 0.5 * (dim - 2) * math.log(near)
    density += 0.5 * (dim - 3) * math.log(max(1 - near / 4, 1e-8))
    return math.log(-math.log(uniform)) + density if uniform < 1 else -math.inf


def contrastive_loss(
    video: Tensor, audio: Tensor, kinds: Tensor, options: SyncLossOptions
) -> Tensor:
    """The loss of (N, D) and (M, D) embeddings whose pairs are of the given (N, M) kinds."""
    video, audio = (_scaled(rows.double(), options.embeddings) for rows in (video, audio))
    if options.by_distance:
        return _distance_loss(video, audio, kinds, options)
    logits = video @ audio.T / options.temperature
    if options.objective == "infonce":
        sides = {"video": (logits, kinds), "audio": (logits.T, kinds.T)}
        used = [side for name, side in sides.items() if options.anchors in ("both", name)]
        return torch.stack([_infonce_rows(*side, options) for side in used]).mean()
    return _sigmoid_loss(logits + options.bias, kinds, options)


def _scaled(rows: Tensor, embeddings: str) -> Tensor:
    if embeddings == "raw":
        return rows
    return torch.nn.functional.normalize(rows) * (0.5 if embeddings == "half" else 1)


def _distance_loss(video: Tensor, audio: Tensor, kinds: Tensor, options: SyncLossOptions) -> Tensor:
    d, dim, triplet = distances(video, audio), video.shape[1], options.objective == "triplet"
    terms, count = [], 0
    for name, distance, kind in (("video", d, kinds), ("audio", d.T, kinds.T)):
        if options.anchors not in ("both", name):
            continue
        weight = weights_of_kinds(kind, options)
        if options.mining == "all":
            rows, columns = (weight > 0).nonzero(as_tuple=True)
            count += len(rows)
        else:
            mined = mined_negatives(distance.detach(), kind, options, name == "audio", dim)
            rows, nth = (mined >= 0).nonzero(as_tuple=True)
            columns = mined[rows, nth]
            count += mined.numel()
        reach = torch.full((len(rows),), options.margin, dtype=torch.float64)
        if triplet:  # a row without a positive has terms of zero
            far = farthest_positive(distance, kind)
            reach = torch.where(far.isnan(), -torch.inf, options.margin + far)[rows]
        hinge = (reach - distance[rows, columns]).clamp(min=0)
        hinge = hinge.square() if options.hinge == "squared" else hinge
        terms.append((weight[rows, columns] * hinge).sum())
    negatives = sum(terms, start=torch.zeros((), dtype=torch.float64)) / max(1, count)
    if triplet:
        return negatives
    squares = d[kinds == PairKind.POSITIVE].square()
    return (squares.sum() / max(1, len(squares)) + negatives) / 2


def _infonce_rows(logits: Tensor, kinds: Tensor, options: SyncLossOptions) -> Tensor:
    positive = kinds == PairKind.POSITIVE
    weighted = logits + torch.where(positive, 1.0, weights_of_kinds(kinds, options)).log()
    has_positive = positive.any(1)
    logits, positive = logits[has_positive], positive[has_positive]
    target = (logits * positive).sum(1) / positive.sum(1)
    return (weighted[has_positive].logsumexp(1) - target).sum() / max(1, len(logits))


def _sigmoid_loss(z: Tensor, kinds: Tensor, options: SyncLossOptions) -> Tensor:
    positive, weights = kinds == PairKind.POSITIVE, weights_of_kinds(kinds, options)
    # Not torch's softplus, which is the identity above 20.
    of_positives, of_negatives = (x.logaddexp(torch.zeros_like(x)) for x in (-z[positive], z))
    return (of_positives.sum() + (weights * of_negatives).sum()) / (sum(kinds.shape) / 2)


def pair_loss(video: Tensor, audio: Tensor, pairs: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Mean over given pairs of y d^2 + (1 - y) max(margin - d, 0)^2."""
    d = distances(video, audio)[pairs[:, 0], pairs[:, 1]]
    y = labels.double()
    return (y * d.square() + (1 - y) * (margin - d).clamp(min=0).square()).sum() / max(1, len(d))
