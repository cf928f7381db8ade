"""Pretraining, top to bottom: clips in, two towers that agree on what belongs together out.

Nothing random depends on anything but (seed, epoch, medium), so a run that was interrupted and
resumed ends with the same weights as one that was not. Under torchrun each process trains on its
share of every batch; BatchNorm's statistics are taken within it, and so are negatives sought,
unless `loss.gather` has them sought in the whole batch.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from avts_ext.data import Batch, SkipReport
from avts_ext.models.avts import AVTS
from avts_ext.training.augment import augment
from avts_ext.training.checkpoint import Progress, RunFolder
from avts_ext.training.clips import Clips, open_clips
from avts_ext.training.config import OptimizerConfig, PretrainConfig
from avts_ext.training.curriculum import Curriculum
from avts_ext.training.health import collapse_warning
from avts_ext.training.objective import Objective, make_objective, pair_counts
from avts_ext.training.prefetch import made_ahead
from avts_ext.training.ranks import Ranks
from avts_ext.training.schedule import Schedule
from avts_ext.training.timing import DataClock


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to.

    Attributes:
        model_path: the model at its end, or where it was interrupted.
        best_path: the model of the epoch with the lowest validation loss; without validation, with
            the lowest mean loss in the last stage of the curriculum that was reached, for losses
            of different stages do not compare. None before the end of the first epoch.
        history: for each epoch its mean "loss", "pair_accuracy" (share of clips nearer to their own
            sound than to their negative) and that of each kind of negative, the mean
            "positive_distance" and "negative_distance"; with validation also "validation_loss"
            and "validation_pair_accuracy"; and a "warning" if the embeddings have collapsed.
        skipped: broken files.
        interrupted: whether Ctrl-C ended it.
        data_shares: of the epochs finished in this run of the program, the part of their time, of
            0 to 1, that training waited for its data. The first also decodes what is cached.
    """

    model_path: Path
    best_path: Path | None
    history: list[dict[str, Any]]
    skipped: SkipReport
    interrupted: bool
    data_shares: list[float]


def pretrain(config: PretrainConfig) -> PretrainResult:
    """Train the two towers on the synchrony of the media of a manifest.

    Leaves models, metrics and TensorBoard scalars in `config.run.out_dir`; see `RunFolder`.
    Ctrl-C ends the run after the current step in a state from which it can be resumed.
    Started by torchrun, the processes train one model together, and the first one writes.

    Raises:
        FileExistsError: the output folder holds a run that is not to be resumed.
        FileNotFoundError: there is no manifest.
        IsADirectoryError: several processes are given a folder in place of a manifest.
        ValueError: no usable media, fewer than a batch, a device that is not there, or a changed
            configuration on resuming.
        OSError: a file cannot be written, for instance because the disk is full.
        FloatingPointError: the loss is no longer finite.
        TooManyBrokenFilesError: more broken files than the configuration allows.
    """
    run = _prepare(config)
    with (
        run.ranks.joined(run.device),
        run.folder.opened(run.progress.step(run.n_batches)),
        _interrupt_flag() as interrupted,
    ):
        if not run.folder.can_resume:
            run.folder.save_model(run.model, "epoch_000")
        stop = False
        while run.progress.epoch < config.run.epochs and not stop:
            stop = _train_epoch(run, interrupted)
            if run.progress.batch == run.n_batches:
                _end_epoch(run)
        _report_skipped(run)
        model_path = run.folder.save_model(run.model, "last")
        run.folder.save_resume(run.model, run.optimizer, run.schedule, run.progress)
        run.ranks.gather(None)  # nobody leaves before the first rank has written
    best_path = run.folder.path / "best.safetensors"
    result = PretrainResult(
        model_path,
        best_path if best_path.exists() else None,
        run.progress.history,
        run.clips.skipped,
        interrupted=run.progress.epoch < config.run.epochs,
        data_shares=[clock.waiting_share for clock in run.data_clocks],
    )
    if run.ranks.is_first:
        print(_end_message(result, config))
    return result


@dataclass(frozen=True)
class _Run:
    """What an epoch needs."""

    config: PretrainConfig
    ranks: Ranks
    device: torch.device
    folder: RunFolder
    clips: Clips
    model: AVTS
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    objective: Objective
    validation_objective: Objective
    progress: Progress
    data_clocks: list[DataClock] = field(default_factory=list)

    @property
    def n_batches(self) -> int:
        """Batches in an epoch."""
        return len(self.clips.training)


def _prepare(config: PretrainConfig) -> _Run:
    """Check and build everything; nothing is written yet but the manifest of a folder."""
    ranks = Ranks()
    ranks.check_batch_size(config.run.batch_size)
    device = ranks.device(config.run.device)
    folder = RunFolder(config, ranks)
    clips = open_clips(config, ranks)
    torch.set_num_threads(config.run.threads)
    model = _new_model(config).to(device)
    optimizer = _optimizer(config.optimizer, model)
    schedule = Schedule(config.schedule, total_steps=config.run.epochs * len(clips.training))
    progress = folder.load_resume(model, optimizer, schedule) if folder.can_resume else Progress()
    _take_up(progress, clips, config, ranks)
    return _Run(
        config,
        ranks,
        device,
        folder,
        clips,
        model,
        optimizer,
        schedule,
        make_objective(config),
        make_objective(_without_gathering(config)),
        progress,
    )


def _without_gathering(config: PretrainConfig) -> PretrainConfig:
    """For validation clips, which are the same in all processes: each would meet itself."""
    return replace(config, loss=replace(config.loss, gather=False))


def _take_up(progress: Progress, clips: Clips, config: PretrainConfig, ranks: Ranks) -> None:
    """Have the clips go on where they were left, or say why that cannot be."""
    if progress.batch and progress.lanes != clips.lanes:
        raise ValueError(
            f"data.workers must be {progress.lanes} to go on within an epoch of shards, "
            f"got {config.data.workers}"
        )
    media = clips.training.dataset.entries.fingerprint()
    if progress.media not in ("", media) and ranks.is_first:
        message = f"warning: {config.data.root} no longer holds the media that the run began with"
        print(f"{message}: it does not go on exactly", file=sys.stderr)
    progress.media, progress.lanes = media, clips.lanes
    clips.skipped.update(SkipReport.from_plain(progress.skipped).errors.values())


def _train_epoch(run: _Run, interrupted: threading.Event) -> bool:
    """Go through the batches that are left of an epoch; whether Ctrl-C stopped it."""
    config, progress, skipped = run.config, run.progress, run.clips.skipped
    clock = DataClock()
    batches: Iterator[Batch] = (
        augment(batch, config.data, seed=config.run.seed, epoch=progress.epoch)
        for batch in run.clips.training.epoch(progress.epoch, progress.batch)
    )
    if config.data.workers == 0:  # workers make them ahead by themselves
        batches = made_ahead(batches)
    bar = tqdm(
        clock.watch(batches),
        desc=f"epoch {progress.epoch + 1}/{config.run.epochs}",
        initial=progress.batch,
        total=run.n_batches,
        unit="batch",
        leave=False,
        disable=not run.ranks.is_first,
    )
    for batch in bar:
        step = progress.step(run.n_batches)
        lr = config.optimizer.lr * run.schedule.factor(step)
        metrics = train_step(
            run.model,
            run.optimizer,
            run.objective,
            batch.to(run.device),
            lr,
            config.optimizer.clip_grad,
            run.ranks,
        )
        shares = run.ranks.gather((metrics, batch.skipped, interrupted.is_set()))
        metrics = {name: sum(share[0][name] for share in shares) for name in metrics}
        metrics["loss"] /= run.ranks.size
        skipped.update(error for share in shares for error in share[1])
        skipped.check_budget(config.data.max_broken_files)
        if not math.isfinite(metrics["loss"]):
            raise FloatingPointError(f"the loss became {metrics['loss']} at step {step}")
        progress.add_step(metrics)
        run.folder.log({"step/loss": metrics["loss"], "step/lr": lr}, step)
        bar.set_postfix(loss=f"{metrics['loss']:.3f}")
        if any(share[2] for share in shares):
            bar.close()
            return True
    run.data_clocks.append(clock)
    scalars = {"epoch/data_share": clock.waiting_share, "epoch/data_s": clock.waiting_s}
    run.folder.log(scalars, progress.step(run.n_batches))
    return False


def train_step(
    model: AVTS,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    batch: Batch,
    lr: float,
    clip_grad: float,
    ranks: Ranks,
) -> dict[str, float]:
    """One step down the gradient, averaged over all ranks; so are BatchNorm's statistics.

    Returns:
        Of this rank: "loss", and sums over pairs for `_mean_metrics` to divide.
    """
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
    video, audio = model(batch.frames, batch.waveforms)
    loss = objective(video, audio, batch)
    optimizer.zero_grad()
    loss.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    ranks.average([*gradients, *statistics])
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip_grad)
    optimizer.step()
    # Reading numbers waits for the device; the loss is wanted at every step to stop when it breaks.
    return {"loss": loss.item(), **pair_counts(video.detach(), audio.detach(), batch)}


@torch.no_grad()
def _validate(run: _Run) -> dict[str, float]:
    """Mean loss, and share of clips nearer to their own sound, on clips that are not trained on."""
    if run.clips.validation is None:
        return {}
    run.model.eval()
    sums = {"validation_loss": 0.0, "validation_pair_accuracy": 0.0}
    n_clips = 0
    for batch in run.clips.validation.epoch(run.progress.epoch):
        run.clips.skipped.update(batch.skipped)
        batch = batch.to(run.device)
        video, audio = run.model(batch.frames, batch.waveforms)
        loss = run.validation_objective(video, audio, batch).item()
        sums["validation_loss"] += loss * len(video)
        sums["validation_pair_accuracy"] += pair_counts(video, audio, batch)["right"]
        n_clips += len(video)
    return {name: value / n_clips for name, value in sums.items()}


def _end_epoch(run: _Run) -> None:
    """Measure, report, decide on the learning rate, and save."""
    config, progress = run.config, run.progress
    metrics = {"epoch": progress.epoch + 1, **_mean_metrics(progress.sums, run.n_batches)}
    metrics |= _validate(run)
    run.folder.log(
        {f"epoch/{name}": value for name, value in metrics.items()},
        (progress.epoch + 1) * run.n_batches,
    )
    met = config.run.batch_size // (1 if config.loss.gather else run.ranks.size)
    if warning := collapse_warning(metrics, config.loss, met):
        metrics["warning"] = warning
        if run.ranks.is_first:
            print(f"epoch {metrics['epoch']}: {warning}", file=sys.stderr)
    run.schedule.end_epoch(metrics["loss"])
    _report_skipped(run)
    progress.end_epoch(metrics)
    _save_epoch(run)


def _report_skipped(run: _Run) -> None:
    """Name the broken files that were not named before."""
    progress, skipped = run.progress, run.clips.skipped
    news = skipped.since(progress.n_reported)
    if news and run.ranks.is_first:
        print(f"epoch {progress.epoch + 1}: {news}", file=sys.stderr)
    progress.skipped, progress.n_reported = skipped.plain(), len(skipped)


def _mean_metrics(sums: dict[str, float], n_batches: int) -> dict[str, Any]:
    metrics = {"loss": sums["loss"] / n_batches}
    for suffix in ("", "_easy", "_hard", "_super_hard"):
        if sums[f"pairs{suffix}"]:
            metrics[f"pair_accuracy{suffix}"] = sums[f"right{suffix}"] / sums[f"pairs{suffix}"]
    for name in ("positive_distance", "negative_distance"):
        metrics[name] = sums[name] / sums["pairs"]
    return metrics


def _save_epoch(run: _Run) -> None:
    folder, done = run.folder, run.progress.epoch
    folder.save_model(run.model, "last")
    keep_every = run.config.run.keep_every
    if done == run.config.run.epochs or (keep_every and done % keep_every == 0):
        folder.save_model(run.model, f"epoch_{done:03}")
    if _is_best(run.progress.history, run.config):
        folder.save_model(run.model, "best")
    folder.save_resume(run.model, run.optimizer, run.schedule, run.progress)


def _is_best(history: list[dict[str, Any]], config: PretrainConfig) -> bool:
    """Whether the last epoch is the best so far, as `PretrainResult.best_path` means it."""
    if config.data.validation_share:
        losses = [metrics["validation_loss"] for metrics in history]
    else:
        curriculum = Curriculum(config.curriculum)
        stage = config.curriculum[curriculum.stage_index(len(history) - 1)]
        losses = [metrics["loss"] for metrics in history[stage.first_epoch :]]
    return losses[-1] <= min(losses)


def _new_model(config: PretrainConfig) -> AVTS:
    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        return AVTS(config.model)


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


def _end_message(result: PretrainResult, config: PretrainConfig) -> str:
    done = len(result.history)
    lines = [f"{'Interrupted' if result.interrupted else 'Finished'} after {done} epochs."]
    if result.history:
        last = result.history[-1]
        lines.append(f"loss {last['loss']:.4f}, pair accuracy {last['pair_accuracy']:.3f}")
        if "warning" in last:
            lines.append(f"warning: {last['warning']}")
    if result.data_shares:
        shares = ", ".join(f"{share:.1%}" for share in result.data_shares[:3])
        more = " ..." if len(result.data_shares) > 3 else ""
        lines.append(f"waiting for data, of the time of each epoch: {shares}{more}")
    lines += [f"model: {result.model_path}", result.skipped.headline]
    if result.interrupted:
        lines.append(f"To go on: the same run with run.resume, out_dir {config.run.out_dir}")
    return "\n".join(lines)
