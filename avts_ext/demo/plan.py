"""How much the demo does: everything that differs between the full and the quick run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avts_ext.training.config import (
    DataConfig,
    PretrainConfig,
    RunConfig,
)
from avts_ext.training.curriculum import Stage

__all__ = ["FULL", "LABELS_FOR_FINETUNING", "LABELS_FOR_PROBE", "QUICK", "DemoPlan", "seeds"]

LABELS_FOR_PROBE = 20
LABELS_FOR_FINETUNING = 10


@dataclass(frozen=True)
class DemoPlan:
    """Sizes of one run.

    Attributes:
        train_videos: videos that the network learns from; labels are not used.
        labelled_videos: videos whose labels the linear probe and fine-tuning learn from.
        test_videos: held-out videos on which everything is scored.
        duet_videos: held-out videos with two objects that both show events.
        epochs: passes over the training videos, half of them with hard negatives.
        keep_every: epochs between two points of the curve over epochs.
        subset_percents: shares of the training videos for the table of subset sizes.
        n_questions: sync questions of each kind.
        draws: draws of labelled examples for the probe and for fine-tuning.
        exhibits: videos of each kind of scene in the gallery.
    """

    train_videos: int
    labelled_videos: int
    test_videos: int
    duet_videos: int
    epochs: int
    keep_every: int
    subset_percents: tuple[int, ...]
    n_questions: int
    draws: int
    exhibits: int

    def pretraining(
        self, manifest: Path, cache_dir: Path, out_dir: Path, seed: int, videos: int
    ) -> PretrainConfig:
        """The recipe of ``configs/world.yaml`` on the first ``videos`` files of a manifest."""
        return PretrainConfig(
            data=DataConfig(root=str(manifest), cache_dir=str(cache_dir), max_files=videos),
            curriculum=(Stage(), Stage(self.epochs // 2, easy=0.75, hard=0.25)),
            run=RunConfig(
                out_dir=str(out_dir),
                epochs=self.epochs,
                keep_every=self.keep_every,
                seed=seed,
                resume=True,
            ),
        )

    def subset_videos(self, percent: int) -> int:
        """Size of a subset: whole rounds of the ten classes, so that all are equally frequent."""
        return max(10, round(self.train_videos * percent / 1000) * 10)


# The subset sizes are those of the paper's Table 1.
FULL = DemoPlan(
    train_videos=320,
    labelled_videos=300,
    test_videos=300,
    duet_videos=150,
    epochs=72,
    keep_every=9,
    subset_percents=(13, 28, 55, 100),
    n_questions=600,
    draws=3,
    exhibits=4,
)
QUICK = DemoPlan(
    train_videos=160,
    labelled_videos=200,
    test_videos=100,
    duet_videos=50,
    epochs=48,
    keep_every=12,
    subset_percents=(28, 100),
    n_questions=300,
    draws=1,
    exhibits=1,
)


def seeds(seed: int) -> dict[str, int]:
    """The seed of each part of a run, by name; held-out worlds share no video with training."""
    return {
        "training world": seed,
        "held-out world": 1_000_000 + seed,
        "held-out duets": 2_000_000 + seed,
        "weights and clips": seed,
        "random network": seed,
        "questions and draws": seed,
    }
