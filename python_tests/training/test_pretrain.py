"""Tiny runs, interrupted and not; and the parts of the loop by themselves."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from avts_ext.data import Batch
from avts_ext.data.fingerprint import decode_fingerprint
from avts_ext.models.avts import AVTS
from avts_ext.ops.clip_offset import PairKind
from avts_ext.training import PretrainConfig, checkpoint, loop, pretrain
from avts_ext.training.augment import augment, random_flips, random_gains
from avts_ext.training.config import DataConfig, LossConfig, ScheduleConfig
from avts_ext.training.objective import explicit_pairs, pair_counts
from avts_ext.training.schedule import Schedule

EPOCHS = 3


def elsewhere(config: PretrainConfig, out_dir: Path, **changes) -> PretrainConfig:
    run = dataclasses.replace(config.run, out_dir=str(out_dir), **changes)
    return dataclasses.replace(config, run=run)


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C during the given step."""
    train_step, calls = loop.train_step, [0]

    def counting(*args):
        calls[0] += 1
        if calls[0] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(*args)

    monkeypatch.setattr(loop, "train_step", counting)


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = load_file(one), load_file(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_leaves_models_metrics_and_configuration(config: PretrainConfig, capsys) -> None:
    result = pretrain(config)
    out = Path(config.run.out_dir)
    names = {path.name for path in out.iterdir() if not path.name.startswith("events.")}
    assert names == {
        *(f"epoch_{epoch:03}.safetensors" for epoch in range(EPOCHS + 1)),
        *("best.safetensors", "last.safetensors", "resume.pt", "config.yaml", "metrics.jsonl"),
    }
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == result.history
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert "pair_accuracy_hard" not in lines[0] and "pair_accuracy_hard" in lines[2]
    assert PretrainConfig.from_yaml(out / "config.yaml") == config
    told = capsys.readouterr().out
    assert "Finished after 3 epochs" in told
    assert len(result.data_shares) == 3 and all(0 < share < 1 for share in result.data_shares)
    assert f"waiting for data, of the time of each epoch: {result.data_shares[0]:.1%}, " in told
    assert AVTS.load(result.model_path).config == config.model
    before, after = load_file(out / "epoch_000.safetensors"), load_file(result.model_path)
    weights = [name for name in before if name.endswith("weight")]
    assert all(not torch.equal(before[name], after[name]) for name in weights)


@pytest.mark.parametrize("step", [1, 2, 3])  # mid-epoch, at the end of an epoch, mid-epoch again
def test_interrupted_and_resumed_equals_uninterrupted(
    config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole = pretrain(config)
    with monkeypatch.context() as patch:
        interrupt_at(step, patch)
        first = pretrain(elsewhere(config, tmp_path / "other"))
    assert first.interrupted and len(first.history) == step // 2
    second = pretrain(elsewhere(config, tmp_path / "other", resume=True))
    assert not second.interrupted
    assert second.history == whole.history
    assert_same_weights(second.model_path, whole.model_path)


def test_resuming_with_another_decoder_warns(
    config: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        pretrain(config)
    other = decode_fingerprint() | {"h264_aac.mp4": "0" * 16}
    monkeypatch.setattr(checkpoint, "decode_fingerprint", lambda: other)
    with pytest.warns(UserWarning, match="the decoder gives other pictures or sound than before"):
        pretrain(elsewhere(config, Path(config.run.out_dir), resume=True))


def test_workers_do_not_change_the_result(config: PretrainConfig, tmp_path: Path) -> None:
    alone = pretrain(config)
    data = dataclasses.replace(config.data, workers=2)
    helped = pretrain(elsewhere(dataclasses.replace(config, data=data), tmp_path / "other"))
    assert_same_weights(helped.model_path, alone.model_path)


@pytest.mark.parametrize("objective", ["mined", "infonce"])
def test_other_objectives(config: PretrainConfig, objective: str) -> None:
    config = dataclasses.replace(config, loss=LossConfig(objective=objective))
    assert len(pretrain(config).history) == EPOCHS


def test_a_finished_run_is_neither_overwritten_nor_changed(config: PretrainConfig) -> None:
    pretrain(config)
    with pytest.raises(FileExistsError, match=r"holds a run: set run\.resume"):
        pretrain(config)
    changed = elsewhere(config, Path(config.run.out_dir), resume=True, seed=1)
    with pytest.raises(ValueError, match="only with its own configuration, but run changed"):
        pretrain(changed)


def test_a_loss_that_is_not_finite_stops_the_run(
    config: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "make_objective", lambda _: lambda v, a, b: v.sum() * float("nan"))
    with pytest.raises(FloatingPointError, match="the loss became nan at step 0"):
        pretrain(config)


def test_explicit_pairs() -> None:
    pairs, labels = explicit_pairs(torch.tensor([1, 2, 0]))
    assert pairs.tolist() == [[0, 0], [1, 1], [2, 2], [0, 1], [1, 2], [2, 0]]
    assert labels.tolist() == [1, 1, 1, 0, 0, 0]


def make_batch(negative_row: list[int], kinds: list[PairKind], n_audio: int) -> Batch:
    ids = torch.arange(n_audio) % len(kinds)
    return Batch(
        frames=torch.arange(len(kinds) * 12, dtype=torch.uint8).view(-1, 1, 1, 4, 3),
        waveforms=torch.ones(n_audio, 5),
        video_ids=ids[: len(kinds)],
        audio_ids=ids,
        video_start_s=torch.zeros(len(kinds), dtype=torch.float64),
        audio_start_s=torch.zeros(n_audio, dtype=torch.float64),
        negative_row=torch.tensor(negative_row),
        kinds=torch.tensor(kinds, dtype=torch.int8),
        skipped=(),
    )


def test_pair_counts() -> None:
    batch = make_batch([1, 3, 0], [PairKind.EASY, PairKind.HARD, PairKind.EASY], n_audio=4)
    video = torch.tensor([[0.0], [5.0], [9.0]])
    audio = torch.tensor([[1.0], [7.0], [2.0], [6.0]])  # own: 1, 2, 7 away; negative: 7, 1, 8 away
    counts = pair_counts(video, audio, batch)
    assert (counts["right"], counts["pairs"]) == (2, 3)
    assert (counts["positive_distance"], counts["negative_distance"]) == (10, 16)
    assert (counts["right_easy"], counts["pairs_easy"]) == (2, 2)
    assert (counts["right_hard"], counts["pairs_hard"]) == (0, 1)


def test_augmentation_mirrors_columns_and_scales_each_sound() -> None:
    kinds = [PairKind.HARD] * 8
    batch = make_batch(list(range(8, 16)), kinds, n_audio=16)
    frames = batch.frames.clone()
    chosen = random_flips(batch.video_ids, seed=0, epoch=3)
    assert 0 < chosen.sum() < 8
    augmented = augment(batch, DataConfig(gain_std_db=1.0), seed=0, epoch=3)
    assert torch.equal(augmented.frames[chosen], frames[chosen].flip(3))
    assert torch.equal(augmented.frames[~chosen], frames[~chosen])
    assert len(augmented.waveforms[:, 0].unique()) == 16
    assert torch.equal(augmented.waveforms[:, 0], augmented.waveforms[:, 4])


def test_best_is_chosen_within_the_last_stage(config: PretrainConfig) -> None:
    result = pretrain(config)
    out = Path(config.run.out_dir)
    losses = [line["loss"] for line in result.history]
    best_epoch = 1 + min((1, 2), key=lambda epoch: losses[epoch])  # the last stage begins at 1
    assert_same_weights(out / "best.safetensors", out / f"epoch_{best_epoch:03}.safetensors")


def test_augmentation_depends_on_seed_epoch_and_medium_only() -> None:
    ids = torch.arange(4000)
    flips = random_flips(ids, seed=0, epoch=1)
    assert abs(flips.float().mean() - 0.5) < 0.05
    assert torch.equal(random_flips(ids.flip(0), seed=0, epoch=1).flip(0), flips)
    assert not torch.equal(random_flips(ids, seed=0, epoch=2), flips)
    assert not torch.equal(random_flips(ids, seed=1, epoch=1), flips)

    own, extra = torch.zeros(4000, dtype=torch.bool), torch.ones(4000, dtype=torch.bool)
    gains = random_gains(ids, own, std_db=2.0, seed=0, epoch=1)
    decibels = 20 * np.log10(gains.numpy())
    assert abs(decibels.mean()) < 0.15 and abs(decibels.std() - 2.0) < 0.15
    assert not torch.equal(random_gains(ids, extra, std_db=2.0, seed=0, epoch=1), gains)


def test_schedules() -> None:
    cosine = Schedule(ScheduleConfig(warmup_steps=4), total_steps=100)
    assert cosine.factor(0) == pytest.approx(0.25)
    assert cosine.factor(50) == pytest.approx(0.5)
    assert cosine.factor(100) == pytest.approx(0)
    plateau = Schedule(ScheduleConfig(name="plateau", warmup_steps=0, patience=2), 100)
    for loss, factor in [(1.0, 1), (1.1, 1), (0.9, 1), (0.9, 1), (0.95, 0.1), (0.8, 0.1)]:
        plateau.end_epoch(loss)
        assert plateau.factor(10) == pytest.approx(factor)
