"""Fine-tuning the whole video tower on the classes of a data set, one fold at a time.

Protocol "finetune/2": a linear classifier with dropout on the average of the tower's last map. It
is trained alone for some epochs, the tower frozen; then all is trained together, deeper stages at
smaller rates, under a cosine from the full rates to zero. A run goes on after every epoch exactly
as if it had not been interrupted.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from avts_ext._files import write_atomically
from avts_ext.data import ClipSpec, MediaError, SkipReport
from avts_ext.evaluation.action_clips import Item, TestClips, TrainingClips
from avts_ext.evaluation.inference import inference
from avts_ext.models.avts import AVTS

__all__ = ["ActionNetwork", "ActionRecipe", "FoldResult", "Part", "finetune_fold"]

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class ActionRecipe:
    """How to fine-tune, the same whatever the tower begins from.

    Attributes:
        epochs: passes over the training videos, one clip of each per pass.
        warmup_epochs: of them, with the tower frozen.
        batch_size: clips in a step.
        tower_lr: learning rate of the tower's last stage.
        layer_decay: each stage before has the rate of the next times this.
        head_lr: learning rate of the classifier.
        weight_decay: of all, decoupled (AdamW).
        dropout: before the classifier.
        precision: of the forward pass: "float32", or mixed with "bfloat16" or "float16".
        test_clips: clips of a test video, evenly spread.
        seed: of the classifier, the order, the clips and dropout.
    """

    epochs: int = 20
    warmup_epochs: int = 2
    batch_size: int = 16
    tower_lr: float = 3e-4
    layer_decay: float = 0.75
    head_lr: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.5
    precision: Precision = "float32"
    test_clips: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "test_clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tower_lr", "head_lr", "layer_decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must be in [0, {self.epochs}), got {self.warmup_epochs}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be one of {', '.join(get_args(Precision))}, got {self.precision!r}"
            )


@dataclass(frozen=True)
class Part:
    """Videos and their classes.

    Attributes:
        paths: N files.
        labels: (N,) int64.
    """

    paths: Sequence[Path]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class FoldResult:
    """Answers to the test videos of a fold.

    Attributes:
        clip_accuracy: share of right answers to single clips.
        video_accuracy: to videos, from the mean of their clips' probabilities.
        n_videos: number of test videos.
        answer_hash: BLAKE2b of the answers to all test clips, 128 bits in hexadecimal.
        losses: mean training loss of each epoch.
        broken: paths of videos that could not be read.
    """

    clip_accuracy: float
    video_accuracy: float
    n_videos: int
    answer_hash: str
    losses: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class ActionNetwork(nn.Module):
    """A model's video tower and a new classifier.

    Args:
        model: its preprocessing and tower are copied.
        n_classes: K.
        dropout: before the classifier.
    """

    def __init__(self, model: AVTS, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        # The sound has no part in this.
        del self.model.audio, self.model.audio_head, self.model.video_head
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(model.video.out_channels, n_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Clips (B, T, H, W, 3) uint8 to logits (B, K)."""
        features = self.model.video_features(self.model.video_input(frames))
        return self.linear(self.dropout(features.mean((2, 3, 4))))

    def groups(self, recipe: ActionRecipe) -> list[dict[str, Any]]:
        """Parameter groups with their learning rates: the classifier, then stages from the top."""
        stages = list(self.model.video.children())
        groups = [{"params": list(self.linear.parameters()), "lr": recipe.head_lr}]
        for depth, stage in enumerate(reversed(stages)):
            lr = recipe.tower_lr * recipe.layer_decay**depth
            groups.append({"params": list(stage.parameters()), "lr": lr})
        return groups

    def freeze_tower(self, frozen: bool) -> None:
        """Training mode, with the tower and its BatchNorm statistics fixed or not."""
        self.train()
        self.model.video.train(not frozen)
        self.model.video.requires_grad_(not frozen)


def finetune_fold(
    model: AVTS,
    train: Part,
    test: Part,
    n_classes: int,
    recipe: ActionRecipe,
    folder: Path,
    *,
    workers: int = 0,
    allow_broken: bool = False,
) -> FoldResult:
    """Train on one part and test on the other, or go on with that, or read what came of it.

    Args:
        model: whose tower to begin from; it stays as it is. The run is on its device.
        train, test: the videos.
        n_classes: number of classes.
        recipe: how.
        folder: holds `resume.pt` and in the end `result.json`; made if missing.
        workers: processes that decode.
        allow_broken: leave out videos that cannot be read; otherwise the first one is an error.

    Raises:
        MediaError: a video cannot be read and `allow_broken` is not given.
        ValueError: `folder` holds a run with another recipe.
        FloatingPointError: the loss is no longer finite.
    """
    result_path = folder / "result.json"
    run = _Run(model, train, n_classes, recipe, folder, workers, allow_broken)
    run.resume()
    if result_path.exists():
        return FoldResult(**json.loads(result_path.read_text()))
    while run.epoch < recipe.epochs:
        run.train_epoch()
        run.save()
    result = run.test(test)
    write_atomically(result_path, (json.dumps(asdict(result)) + "\n").encode())
    return result


class _Run:
    """One network on its way."""

    def __init__(
        self,
        model: AVTS,
        train: Part,
        n_classes: int,
        recipe: ActionRecipe,
        folder: Path,
        workers: int,
        allow_broken: bool,
    ) -> None:
        self._recipe, self._folder = recipe, folder
        self._workers, self._allow_broken = workers, allow_broken
        self._spec: ClipSpec = model.config.clip
        self._device = next(model.parameters()).device
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self._network = ActionNetwork(model, n_classes, recipe.dropout).to(self._device)
        groups = self._network.groups(recipe)
        self._lrs = [group["lr"] for group in groups]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        # Only float16 has gradients that vanish for want of range.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=recipe.precision == "float16"
        )
        self._data = TrainingClips(train.paths, train.labels, self._spec, recipe.seed)
        self._n_batches = math.ceil(len(train.paths) / recipe.batch_size)
        self._skipped = SkipReport()
        self.epoch = 0
        self._losses: list[float] = []

    def train_epoch(self) -> None:
        """One pass over the training videos."""
        frozen = self.epoch < self._recipe.warmup_epochs
        self._network.freeze_tower(frozen)
        total, n_clips = 0.0, 0
        with torch.random.fork_rng(devices=self._cuda_devices()):
            torch.manual_seed(1_000_003 * self._recipe.seed + self.epoch)  # of dropout
            bar = tqdm(
                self._batches(),
                f"epoch {self.epoch + 1}/{self._recipe.epochs}",
                self._n_batches,
                unit="batch",
                leave=False,
            )
            for step, (labels, frames) in enumerate(bar):
                self._set_rates(step)
                loss = self._step(frames.to(self._device), labels.to(self._device))
                if not math.isfinite(loss):
                    raise FloatingPointError(f"the loss became {loss} in epoch {self.epoch + 1}")
                total, n_clips = total + loss * len(labels), n_clips + len(labels)
        self._losses.append(total / n_clips)
        self.epoch += 1

    def test(self, part: Part) -> FoldResult:
        """Answers to the clips and videos of a part."""
        data = TestClips(part.paths, part.labels, self._spec, self._recipe.test_clips)
        loader: DataLoader[Item] = DataLoader(data, batch_size=None, num_workers=self._workers)
        right_clips, right_videos, n_videos = 0, 0, 0
        digest = hashlib.blake2b(digest_size=16)
        with inference(self._network):
            for label, frames in tqdm(loader, "test", unit="video", leave=False):
                if isinstance(frames, MediaError):
                    self._note(frames)
                    continue
                with self._autocast():
                    logits = self._network(frames.to(self._device))
                probabilities = logits.float().softmax(1)
                digest.update(probabilities.cpu().numpy().tobytes())
                right_clips += int((probabilities.argmax(1) == label).sum())
                right_videos += int(probabilities.mean(0).argmax() == label)
                n_videos += 1
        if n_videos == 0:
            raise ValueError(f"test: none of {len(part.paths)} videos can be read")
        n_clips = n_videos * self._recipe.test_clips
        return FoldResult(
            right_clips / n_clips,
            right_videos / n_videos,
            n_videos,
            digest.hexdigest(),
            self._losses,
            sorted(self._skipped.errors),
        )

    def save(self) -> None:
        """Write all that going on needs, whole or not at all."""
        state = {
            "recipe": asdict(self._recipe),
            "epoch": self.epoch,
            "losses": self._losses,
            "broken": [error.args for error in self._skipped.errors.values()],
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / "resume.pt", buffer.getvalue())

    def resume(self) -> None:
        """Go on from what `save` wrote, if anything."""
        path = self._folder / "resume.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self._device, weights_only=True)
        if state["recipe"] != asdict(self._recipe):
            raise ValueError(
                f"{str(self._folder)!r} holds a run of another recipe: choose another folder"
            )
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._skipped.update(MediaError(*arguments) for arguments in state["broken"])
        self.epoch, self._losses = state["epoch"], state["losses"]

    def _step(self, frames: Tensor, labels: Tensor) -> float:
        with self._autocast():
            loss = F.cross_entropy(self._network(frames), labels)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.item()

    def _set_rates(self, step: int) -> None:
        """Full rates while the tower is frozen, then a cosine down to zero."""
        warmup = self._recipe.warmup_epochs * self._n_batches
        done = max(0, self.epoch * self._n_batches + step - warmup)
        length = self._recipe.epochs * self._n_batches - warmup
        factor = 0.5 * (1 + math.cos(math.pi * done / length))
        for group, lr in zip(self._optimizer.param_groups, self._lrs, strict=True):
            group["lr"] = factor * lr

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Labels (B,) and frames (B, T, H, W, 3) of the epoch's batches, broken videos left out."""
        order = np.random.default_rng([self._recipe.seed, self.epoch]).permutation(len(self._data))
        keys = [(self.epoch, int(item)) for item in order]
        size = self._recipe.batch_size
        loader: DataLoader[Any] = DataLoader(
            self._data,
            batch_sampler=[keys[i : i + size] for i in range(0, len(keys), size)],
            collate_fn=list,
            num_workers=self._workers,
        )
        for items in loader:
            whole = []
            for label, frames in items:
                if isinstance(frames, MediaError):
                    self._note(frames)
                else:
                    whole.append((label, frames))
            if whole:
                labels, clips = zip(*whole, strict=True)
                yield torch.tensor(labels), torch.stack(clips)

    def _note(self, error: MediaError) -> None:
        if not self._allow_broken:
            raise error
        self._skipped.add(error)

    def _autocast(self) -> torch.autocast:
        precision = self._recipe.precision
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
        return torch.autocast(self._device.type, dtype, enabled=dtype is not None)

    def _cuda_devices(self) -> list[torch.device]:
        return [self._device] if self._device.type == "cuda" else []
