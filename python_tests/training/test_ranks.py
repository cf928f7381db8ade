"""Two processes under torchrun: the mean of their gradients, and exact resumption."""

import copy
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from avts_ext.models.avts import AVTS
from avts_ext.training import PretrainConfig, loop, pretrain
from avts_ext.training.augment import augment
from avts_ext.training.clips import open_clips
from avts_ext.training.config import LossConfig
from avts_ext.training.objective import make_objective
from avts_ext.training.ranks import Ranks
from avts_ext.training.schedule import Schedule

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start_two(config: PretrainConfig) -> subprocess.Popen:
    config.write_yaml(Path("two.yaml"))
    verb = ["-m", "avts_ext.cli", "pretrain", "--config=two.yaml", "--run.resume=true"]
    return subprocess.Popen([*TORCHRUN, *verb], start_new_session=True, stderr=subprocess.PIPE)


def share(rank: int) -> Ranks:
    ranks = Ranks()
    ranks.rank, ranks.size = rank, 2
    return ranks


def loss_of_whole_batch(config: PretrainConfig, embedded, batches) -> torch.Tensor:
    """The loss that one process with the rows of both halves computes."""
    video, audio = (torch.cat(rows) for rows in zip(*embedded, strict=True))
    windows = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name in ("video_ids", "audio_ids", "video_start_s", "audio_start_s")
    }
    alone = replace(config, loss=replace(config.loss, gather=False))
    return make_objective(alone)(video, audio, SimpleNamespace(**windows))


def train_as_two(config: PretrainConfig) -> AVTS:
    """What two processes are to come to, in one: every step from the mean of two half batches."""
    clips = [open_clips(config, share(rank)) for rank in (0, 1)]
    model = loop._new_model(config)
    optimizer = loop._optimizer(config.optimizer, model)
    schedule = Schedule(config.schedule, config.run.epochs * len(clips[0].training))
    objective, step = make_objective(config), 0
    for epoch in range(config.run.epochs):
        for batches in zip(*(half.training.epoch(epoch) for half in clips), strict=True):
            twins = [copy.deepcopy(model).train() for _ in batches]
            batches = [augment(x, config.data, seed=config.run.seed, epoch=epoch) for x in batches]
            embedded = [
                twin(batch.frames, batch.waveforms)
                for twin, batch in zip(twins, batches, strict=True)
            ]
            if config.loss.gather:  # half of the mean below is made good by the factor
                (2 * loss_of_whole_batch(config, embedded, batches)).backward()
            else:
                for rows, batch in zip(embedded, batches, strict=True):
                    objective(*rows, batch).backward()
            for weight, *theirs in zip(*(m.parameters() for m in (model, *twins)), strict=True):
                weight.grad = (theirs[0].grad + theirs[1].grad) / 2
            for buffer, *theirs in zip(*(m.buffers() for m in (model, *twins)), strict=True):
                mean = (theirs[0] + theirs[1]) / 2 if buffer.is_floating_point() else theirs[0]
                buffer.copy_(mean)
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_grad)
            for group in optimizer.param_groups:
                group["lr"] = config.optimizer.lr * schedule.factor(step)
            optimizer.step()
            step += 1
    return model


def test_two_processes_interrupted_and_resumed_train_one_model(config: PretrainConfig) -> None:
    config = replace(config, run=replace(config.run, epochs=20, keep_every=0))
    out = Path(config.run.out_dir)
    first = start_two(config)
    while first.poll() is None and not (out / "metrics.jsonl").exists():
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGINT)  # torchrun passes it on to both
    _, messages = first.communicate()
    assert first.returncode != 0
    assert b"the same command with --run.resume=true goes on" in messages
    assert (out / "resume.pt").exists() and not (out / "epoch_020.safetensors").exists()
    with pytest.raises(ValueError, match="only with as many processes as before, 2, got 1"):
        pretrain(replace(config, run=replace(config.run, resume=True)))

    second = start_two(config)
    _, messages = second.communicate()
    assert second.returncode == 0, messages
    theirs = train_as_two(config).state_dict()
    ours = load_file(out / "last.safetensors")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 20
    assert len(list(out.glob("events.*"))) == 2  # one writer in each of the two runs


@pytest.mark.parametrize("objective", ["mined", "infonce"])
def test_negatives_of_all_processes_train_as_one_batch(config: PretrainConfig, objective) -> None:
    loss = replace(config.loss, objective=objective, gather=True)
    config = replace(config, loss=loss, run=replace(config.run, epochs=2))
    process = start_two(config)
    _, messages = process.communicate()
    assert process.returncode == 0, messages
    theirs = train_as_two(config).state_dict()
    ours = load_file(Path(config.run.out_dir) / "last.safetensors")
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_drawn_pairs_cannot_be_gathered() -> None:
    with pytest.raises(ValueError, match="gather must be false for objective 'pairs'"):
        LossConfig(gather=True)


@pytest.mark.parametrize("batch_size", [2, 5])
def test_batch_must_part_evenly(config: PretrainConfig, monkeypatch, batch_size: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = replace(config, run=replace(config.run, batch_size=batch_size))
    with pytest.raises(ValueError, match=f"multiple of the 2 processes .* got {batch_size}"):
        pretrain(config)


def test_a_process_alone_changes_nothing() -> None:
    ranks, values = Ranks(), [torch.tensor([1.0, 2.0]), torch.tensor(3.0)]
    assert (ranks.rank, ranks.size, ranks.is_first) == (0, 1, True)
    ranks.average(values)
    assert [value.tolist() for value in values] == [[1.0, 2.0], 3.0]
    assert ranks.gather("x") == ["x"]
    assert ranks.device("cpu") == torch.device("cpu")
