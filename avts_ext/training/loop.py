"""Pretraining, top to bottom: clips in, two towers that agree on what belongs together out.

Nothing random depends on anything but (seed, epoch, medium), so a run that was interrupted and
resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from avts_ext.data import (
    Batch,
    ClipBatchSampler,
    SkipReport,
    SyncClipDataset,
    SyncItem,
    collate,
    index_folder,
)
from avts_ext.models.avts import AVTS
from avts_ext.training.augment import augment
from avts_ext.training.checkpoint import Progress, RunFolder
from avts_ext.training.config import OptimizerConfig, PretrainConfig
from avts_ext.training.curriculum import Curriculum
from avts_ext.training.objective import Objective, make_objective, pair_counts
from avts_ext.training.schedule import Schedule


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to.

    Attributes:
        model_path: the model at its end, or where it was interrupted.
        best_path: the model of the epoch with the lowest mean loss in the last stage of the
            curriculum that was reached; losses of different stages do not compare. None before the
            end of the first epoch.
        history: for each epoch its mean "loss", "pair_accuracy" (share of clips nearer to their own
            sound than to their negative) and that of each kind of negative.
        skipped: broken files.
        interrupted: whether Ctrl-C ended it.
    """

    model_path: Path
    best_path: Path | None
    history: list[dict[str, Any]]
    skipped: SkipReport
    interrupted: bool


def pretrain(config: PretrainConfig) -> PretrainResult:
    """Train the two towers on the synchrony of a folder of media.

    Leaves models, metrics and TensorBoard scalars in `config.run.out_dir`; see `RunFolder`.
    Ctrl-C ends the run after the current step in a state from which it can be resumed.

    Raises:
        FileExistsError: the output folder holds a run that is not to be resumed.
        NotADirectoryError: the data folder is none.
        ValueError: no usable media, fewer than a batch, a device that is not there, or a changed
            configuration on resuming.
        OSError: a file cannot be written, for instance because the disk is full.
        FloatingPointError: the loss is no longer finite.
        TooManyBrokenFilesError: more broken files than the configuration allows.
    """
    folder = RunFolder(config)
    _check_device(config.run.device)
    torch.set_num_threads(config.run.threads)
    curriculum = Curriculum(config.curriculum)
    loader, sampler, skipped = _clips(config, curriculum)
    model = _new_model(config)
    optimizer = _optimizer(config.optimizer, model)
    schedule = Schedule(config.schedule, total_steps=config.run.epochs * len(sampler))
    objective = make_objective(config)

    folder.create()
    progress = Progress()
    if folder.can_resume:
        progress = folder.load_resume(model, optimizer, schedule)
    else:
        folder.save_model(model, "epoch_000")
    first_step = progress.epoch * len(sampler) + progress.batch

    with (
        SummaryWriter(str(folder.path), purge_step=first_step) as writer,
        _interrupt_flag() as interrupted,
    ):
        for epoch in range(progress.epoch, config.run.epochs):
            sampler.set_epoch(epoch, progress.batch)
            bar = tqdm(
                loader,
                desc=f"epoch {epoch + 1}/{config.run.epochs}",
                initial=progress.batch,
                total=len(sampler),
                unit="batch",
                leave=False,
            )
            for batch in bar:
                step = epoch * len(sampler) + progress.batch
                lr = config.optimizer.lr * schedule.factor(step)
                skipped.update(batch.skipped)
                skipped.check_budget(config.data.max_broken_files)
                batch = augment(batch, config.data, seed=config.run.seed, epoch=epoch)
                batch = batch.to(config.run.device)
                metrics = train_step(
                    model, optimizer, objective, batch, lr, config.optimizer.clip_grad
                )
                if not math.isfinite(metrics["loss"]):
                    raise FloatingPointError(f"the loss became {metrics['loss']} at step {step}")
                progress.batch += 1
                for name, value in metrics.items():
                    progress.sums[name] = progress.sums.get(name, 0.0) + value
                writer.add_scalar("step/loss", metrics["loss"], step)
                writer.add_scalar("step/lr", lr, step)
                bar.set_postfix(loss=f"{metrics['loss']:.3f}")
                if interrupted.is_set():
                    break
            if progress.batch < len(sampler):
                break
            _end_epoch(progress, schedule, len(sampler), writer)
            _save_epoch(folder, model, progress, config, curriculum)
            folder.save_resume(model, optimizer, schedule, progress)
            if interrupted.is_set():
                break

    stopped = progress.epoch < config.run.epochs
    model_path = folder.save_model(model, "last")
    folder.save_resume(model, optimizer, schedule, progress)
    best_path = folder.path / "best.safetensors"
    result = PretrainResult(
        model_path, best_path if best_path.exists() else None, progress.history, skipped, stopped
    )
    print(_end_message(result, config))
    return result


def train_step(
    model: AVTS,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    batch: Batch,
    lr: float,
    clip_grad: float,
) -> dict[str, float]:
    """One step down the gradient.

    Returns:
        "loss", and counts of right and of all pairs for `_end_epoch` to divide.
    """
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
    video, audio = model(batch.frames, batch.waveforms)
    loss = objective(video, audio, batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip_grad)
    optimizer.step()
    # Reading numbers waits for the device; the loss is wanted at every step to stop when it breaks.
    return {"loss": loss.item(), **pair_counts(video.detach(), audio.detach(), batch)}


def _clips(
    config: PretrainConfig, curriculum: Curriculum
) -> tuple[DataLoader[SyncItem], ClipBatchSampler, SkipReport]:
    clip, data, run = config.model.clip, config.data, config.run
    entries, skipped = index_folder(data.root, min_duration_s=clip.duration_s)
    skipped.check_budget(data.max_broken_files)
    dataset = SyncClipDataset(
        entries,
        clip,
        run.seed,
        negatives=curriculum,
        min_gap_s=data.min_gap_s,
        cache_dir=data.cache_dir,
    )
    sampler = ClipBatchSampler([entry.media_id for entry in entries], run.batch_size, run.seed)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=data.workers,
        worker_init_fn=_ignore_interrupt,
    )
    return loader, sampler, skipped


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch built without CUDA
        problem = str(error).splitlines()[0]
        raise ValueError(f"run.device is {device!r}, which cannot be used: {problem}") from None


def _new_model(config: PretrainConfig) -> AVTS:
    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        return AVTS(config.model).to(config.run.device)


def _optimizer(config: OptimizerConfig, model: AVTS) -> torch.optim.Optimizer:
    if config.name == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )


def _end_epoch(
    progress: Progress, schedule: Schedule, n_batches: int, writer: SummaryWriter
) -> None:
    sums = progress.sums
    metrics: dict[str, Any] = {"epoch": progress.epoch + 1, "loss": sums["loss"] / n_batches}
    for suffix in ("", "_easy", "_hard", "_super_hard"):
        if sums[f"pairs{suffix}"]:
            metrics[f"pair_accuracy{suffix}"] = sums[f"right{suffix}"] / sums[f"pairs{suffix}"]
    for name, value in metrics.items():
        writer.add_scalar(f"epoch/{name}", value, (progress.epoch + 1) * n_batches)
    schedule.end_epoch(metrics["loss"])
    progress.history.append(metrics)
    progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}


def _save_epoch(
    folder: RunFolder,
    model: AVTS,
    progress: Progress,
    config: PretrainConfig,
    curriculum: Curriculum,
) -> None:
    folder.save_model(model, "last")
    keep_every, done = config.run.keep_every, progress.epoch
    if done == config.run.epochs or (keep_every and done % keep_every == 0):
        folder.save_model(model, f"epoch_{done:03}")
    stage = config.curriculum[curriculum.stage_index(done - 1)]
    losses = [metrics["loss"] for metrics in progress.history[stage.first_epoch :]]
    if losses[-1] <= min(losses):
        folder.save_model(model, "best")


@contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread may handle signals
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(_number: int, _frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _ignore_interrupt(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, but the main one must still finish its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_message(result: PretrainResult, config: PretrainConfig) -> str:
    done = len(result.history)
    lines = [f"{'Interrupted' if result.interrupted else 'Finished'} after {done} epochs."]
    if result.history:
        last = result.history[-1]
        lines.append(f"loss {last['loss']:.4f}, pair accuracy {last['pair_accuracy']:.3f}")
    lines += [f"model: {result.model_path}", str(result.skipped)]
    if result.interrupted:
        lines.append(f"To go on: the same run with run.resume, out_dir {config.run.out_dir}")
    return "\n".join(lines)
