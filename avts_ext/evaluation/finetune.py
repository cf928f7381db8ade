"""Fine-tuning: how few labelled videos the pretrained video tower needs to tell classes.

Protocol "finetune/1": a linear classifier on the tower's maximum over the picture, pooled over time
by mean and by maximum, is trained together with the tower on random clips, mirrored half of the
time. A test recording's class is that with the highest mean probability over three clips. Compare
with the same from `evaluation.random_network`: from scratch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avts_ext.evaluation.inference import apply_in_batches, inference
from avts_ext.evaluation.intervals import wilson_interval
from avts_ext.models.avts import AVTS

__all__ = ["FinetuneConfig", "FinetuneResult", "finetune"]


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune.

    Attributes:
        steps: optimizer steps.
        batch_size: clips in a step.
        tower_lr: learning rate of the tower; cosine decay to 0.
        classifier_lr: of the new classifier, likewise.
        weight_decay: of both, decoupled (AdamW).
        test_clips: clips of a test recording, evenly spread.
    """

    steps: int = 200
    batch_size: int = 20
    tower_lr: float = 1e-3
    classifier_lr: float = 3e-3
    weight_decay: float = 1e-3
    test_clips: int = 3


@dataclass(frozen=True)
class FinetuneResult:
    """Share of test recordings given the right class, with its 95 % interval."""

    accuracy: float
    interval: tuple[float, float]
    n_test: int


def finetune(
    model: AVTS,
    train_frames: Tensor,
    train_labels: Tensor,
    test_frames: Tensor,
    test_labels: Tensor,
    *,
    config: FinetuneConfig | None = None,
    seed: int = 0,
) -> FinetuneResult:
    """Train a copy of the model's video tower to classify, and test it; the model stays as it is.

    Args:
        model: a `models.AVTS`.
        train_frames, test_frames: recordings (N, F, H, W, 3) uint8 at the model's frame rate.
        train_labels, test_labels: (N,) int64 in [0, classes).
        config: how to fine-tune; None for the defaults.
        seed: of the classifier's weights, the order, and the clips drawn.

    Raises:
        ValueError: shapes do not agree, or recordings shorter than a clip.
    """
    config = config or FinetuneConfig()
    for name, frames, labels in (
        ("train_frames", train_frames, train_labels),
        ("test_frames", test_frames, test_labels),
    ):
        _check(name, frames, labels, model.config.clip.n_frames)
    n_classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = _Classifier(copy.deepcopy(model), n_classes)
    _train(classifier, train_frames, train_labels, config, seed)
    with inference(classifier):
        predicted = _probabilities(classifier, test_frames, config).argmax(1)
    right = int((predicted == test_labels.to(predicted.device)).sum())
    n_test = len(test_labels)
    return FinetuneResult(right / n_test, wilson_interval(right, n_test), n_test)


class _Classifier(nn.Module):
    def __init__(self, model: AVTS, n_classes: int) -> None:
        super().__init__()
        self.model = model
        self.n_frames = model.config.clip.n_frames
        self.linear = nn.Linear(2 * model.video.out_channels, n_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Clips (B, T, H, W, 3) uint8 to logits (B, classes)."""
        steps = self.model.video_features(self.model.video_input(frames)).amax((3, 4))
        return self.linear(torch.cat([steps.amax(2), steps.mean(2)], 1))


def _train(
    classifier: _Classifier, frames: Tensor, labels: Tensor, config: FinetuneConfig, seed: int
) -> None:
    groups = [
        {"params": classifier.model.video.parameters(), "lr": config.tower_lr},
        {"params": classifier.linear.parameters(), "lr": config.classifier_lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    generator = torch.Generator().manual_seed(seed)
    classifier.train()
    waiting = torch.empty(0, dtype=torch.int64)
    for _ in range(config.steps):
        while len(waiting) < config.batch_size:
            waiting = torch.cat([waiting, torch.randperm(len(frames), generator=generator)])
        rows, waiting = waiting[: config.batch_size], waiting[config.batch_size :]
        clips = _random_clips(frames[rows], classifier.n_frames, generator)
        loss = F.cross_entropy(classifier(clips), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _random_clips(frames: Tensor, n_frames: int, generator: torch.Generator) -> Tensor:
    starts = torch.randint(frames.shape[1] - n_frames + 1, (len(frames),), generator=generator)
    mirrored = torch.rand(len(frames), generator=generator) < 0.5
    clips = [
        recording[start : start + n_frames].flip(2 if mirror else ())
        for recording, start, mirror in zip(frames, starts, mirrored, strict=True)
    ]
    return torch.stack(clips)


def _probabilities(classifier: _Classifier, frames: Tensor, config: FinetuneConfig) -> Tensor:
    n_frames = classifier.n_frames
    starts = torch.linspace(0, frames.shape[1] - n_frames, config.test_clips).round().long()
    clips = [
        apply_in_batches(
            lambda batch: classifier(batch).softmax(1), frames[:, s : s + n_frames], 32
        )
        for s in starts
    ]
    return torch.stack(clips).mean(0)


def _check(name: str, frames: Tensor, labels: Tensor, n_frames: int) -> None:
    if frames.ndim != 5 or frames.shape[1] < n_frames:
        raise ValueError(
            f"{name}: got shape {tuple(frames.shape)}, expected (N, F, H, W, 3), "
            f"F at least {n_frames}"
        )
    if labels.shape != frames.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"{name}: got {len(frames)} recordings for labels of shape {tuple(labels.shape)}, "
            "expected one label each"
        )
