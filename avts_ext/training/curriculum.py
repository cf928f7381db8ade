"""Which negatives an epoch uses: easy ones first, then some from the same recording."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Proportions of the negatives from one epoch on, until the next stage begins.

    Attributes:
        first_epoch: the first epoch of the stage, counted from 0.
        easy: share of negatives that are sound of another recording.
        hard: share that are sound of the same recording, at least `min_gap_s` away.
        super_hard: share whose sound overlaps the clip in time.
    """

    first_epoch: int = 0
    easy: float = 1.0
    hard: float = 0.0
    super_hard: float = 0.0

    def __post_init__(self) -> None:
        if self.first_epoch < 0:
            raise ValueError(f"first_epoch must be at least 0, got {self.first_epoch}")
        shares = self.proportions()
        if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"easy, hard and super_hard must be shares of 1 in all, got {shares}")

    def proportions(self) -> dict[str, float]:
        """The shares by kind of negative."""
        return {"easy": self.easy, "hard": self.hard, "super_hard": self.super_hard}


def check_stages(stages: Sequence[Stage]) -> None:
    """Raise ValueError unless the stages begin at epoch 0 and follow one another."""
    starts = [stage.first_epoch for stage in stages]
    if not starts or starts[0] != 0 or any(b <= a for a, b in itertools.pairwise(starts)):
        raise ValueError(
            f"curriculum stages must have increasing first_epoch, the first 0, got {starts}"
        )


@dataclass(frozen=True)
class Curriculum:
    """Maps an epoch to the proportions of its negatives, for `SyncClipDataset`."""

    stages: tuple[Stage, ...]

    def stage_index(self, epoch: int) -> int:
        """Position of the stage that `epoch` belongs to."""
        return sum(stage.first_epoch <= epoch for stage in self.stages) - 1

    def __call__(self, epoch: int) -> dict[str, float]:
        """Proportions of "easy", "hard" and "super_hard" negatives in `epoch`."""
        return self.stages[self.stage_index(epoch)].proportions()
