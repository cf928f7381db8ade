"""What a sync loss was made of, and where it would be if nothing had been learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from avts_ext.ops._sync_operators import Outputs
from avts_ext.ops.sync_options import SyncLossOptions


@dataclass(frozen=True)
class SyncDiagnostics:
    """What a loss was made of, for a training monitor.

    Attributes:
        loss: its value.
        chance: its least value while all distances (or logits) are equal, that is while nothing has
            been learned: margin^2 / 4 for the margin loss with a squared hinge. For InfoNCE with
            rows of different numbers of pairs, an upper bound.
        pairs: number of pairs by kind that are terms ("positive", "easy", "hard", "super_hard").
        mean_distance: their mean Euclidean distance by kind; NaN where there are none.
        active_share: share of the negatives' terms above zero; 1 for InfoNCE and sigmoid.
        rows_without_negative: anchors for which mining found none; their terms are zero.
    """

    loss: float
    chance: float
    pairs: dict[str, int]
    mean_distance: dict[str, float]
    active_share: float
    rows_without_negative: int

    @property
    def collapse(self) -> float:
        """Mean distance of positives over that of negatives: 1 when nothing tells them apart.

        Together with a loss at ``chance`` this is the signature of embeddings that have collapsed.
        """
        kinds = [kind for kind in self.pairs if kind != "positive" and self.pairs[kind]]
        total = sum(self.pairs[kind] * self.mean_distance[kind] for kind in kinds)
        count = sum(self.pairs[kind] for kind in kinds)
        if not total:
            return 1.0 if count else math.nan
        return self.mean_distance["positive"] * count / total


_KIND_NAMES = ("positive", "easy", "hard", "super_hard")


def diagnostics_of(outputs: Outputs, videos: int, options: SyncLossOptions) -> SyncDiagnostics:
    """From the statistics of a batch with so many rows of video."""
    numbers = outputs.sums.tolist()[2:]
    counts, sums = numbers[:4], numbers[4:8]
    terms, active, weights, rows, rows_without_negative = numbers[8:]
    means = [
        total / count if count else math.nan for total, count in zip(sums, counts, strict=True)
    ]
    if options.by_distance:
        active_share = active / terms if terms else 0.0
        chance = _chance_of_distances(options, weights / terms if terms else 0.0)
    else:
        active_share = 1.0 if terms else 0.0
        chance = _chance_of_products(options, counts[0], weights, (videos, rows - videos))
    return SyncDiagnostics(
        outputs.loss.item(),
        chance,
        dict(zip(_KIND_NAMES, map(int, counts), strict=True)),
        dict(zip(_KIND_NAMES, means, strict=True)),
        active_share,
        int(rows_without_negative),
    )


def _chance_of_distances(options: SyncLossOptions, weight: float) -> float:
    """Least loss over one common distance, for a mean weight of the negatives' terms."""
    squared, margin = options.hinge == "squared", options.margin
    if options.objective == "triplet":
        return weight * (margin**2 if squared else margin)
    if squared:
        return weight * margin**2 / (1 + weight) / 2
    d = min(weight / 2, margin)
    return (d**2 + weight * (margin - d)) / 2


def _chance_of_products(
    options: SyncLossOptions, positives: float, weights: float, rows: tuple[float, float]
) -> float:
    """Least loss over one common logit."""
    total = positives + weights
    if not positives or not total:
        return 0.0
    if options.objective == "infonce":
        used = [
            n
            for n, side in zip(rows, ("video", "audio"), strict=True)
            if options.anchors in ("both", side)
        ]
        return sum(math.log(total / n) for n in used) / len(used)
    negative = weights * math.log(total / weights) if weights else 0.0
    return (positives * math.log(total / positives) + negative) / (sum(rows) / 2)
