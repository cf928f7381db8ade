"""The validation split: by file, stable, never trained on, the same clips in every epoch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from avts_ext.data import MediaEntry, MediaTable
from avts_ext.data.index import media_id
from avts_ext.ops.clip_offset import PairKind
from avts_ext.training import PretrainConfig, pretrain
from avts_ext.training.clips import FixedBatches, open_clips, split
from avts_ext.training.ranks import Ranks


def with_validation(config: PretrainConfig, share: float, **run) -> PretrainConfig:
    data = dataclasses.replace(config.data, validation_share=share)
    return dataclasses.replace(config, data=data, run=dataclasses.replace(config.run, **run))


def entries(count: int) -> MediaTable:
    return MediaTable(
        MediaEntry(f"{i}.mp4", media_id(f"{i}.mp4"), ((0.0, 9.0),)) for i in range(count)
    )


def test_a_file_stays_on_its_side_when_others_come() -> None:
    few, many = split(entries(1000), 0.2), split(entries(5000), 0.2)
    for side, larger in zip(few, many, strict=True):
        assert set(side) <= set(larger)
    assert set(many[0]) | set(many[1]) == set(entries(5000))
    assert abs(len(many[1]) - 1000) < 100
    assert set(many[1]) <= set(split(entries(5000), 0.3)[1])
    assert list(map(list, split(entries(50), 0.0))) == [list(entries(50)), []]


@pytest.mark.parametrize("n_items", [2, 3, 7, 8, 9, 100])
def test_fixed_batches_hold_every_item_once(n_items: int) -> None:
    batches = list(FixedBatches(np.arange(n_items), 4))
    assert sorted(key for batch in batches for key in batch) == [(0, i) for i in range(n_items)]
    assert all(min(n_items, 4) <= len(batch) < 8 for batch in batches)


def test_validation_clips_are_fixed_and_not_trained_on(config: PretrainConfig) -> None:
    clips = open_clips(with_validation(config, 0.4), Ranks())
    other = open_clips(with_validation(config, 0.4, seed=5), Ranks())
    assert clips.validation is not None and other.validation is not None
    first, again, seed5 = (list(c.validation.epoch(0)) for c in (clips, clips, other))
    for batches in (again, seed5):
        for ours, theirs in zip(first, batches, strict=True):
            assert torch.equal(ours.frames, theirs.frames)
            assert torch.equal(ours.waveforms, theirs.waveforms)
            assert torch.equal(ours.negative_row, theirs.negative_row)
    aside = {int(i) for batch in first for i in batch.video_ids}
    trained = {int(i) for batch in clips.training.epoch(0) for i in batch.video_ids}
    assert aside and not aside & trained
    # Hard ones too, as in the last stage, although training begins with easy ones.
    assert {PairKind.HARD} <= {int(kind) for batch in first for kind in batch.kinds}
    assert open_clips(config, Ranks()).validation is None


def test_best_is_the_epoch_of_lowest_validation_loss(config: PretrainConfig) -> None:
    result = pretrain(with_validation(config, 0.4))
    losses = [metrics["validation_loss"] for metrics in result.history]
    assert all(0 <= metrics["validation_pair_accuracy"] <= 1 for metrics in result.history)
    best = 1 + losses.index(min(losses))
    out = Path(config.run.out_dir)
    assert (out / "best.safetensors").read_bytes() == (
        out / f"epoch_{best:03}.safetensors"
    ).read_bytes()


def test_validation_does_not_disturb_training(config: PretrainConfig, tmp_path: Path) -> None:
    """The same training files, with and without measuring the others."""
    measured = with_validation(config, 0.4)
    clips = open_clips(measured, Ranks())
    alone = tmp_path / "alone"
    alone.mkdir()
    for entry in clips.training.dataset.entries:
        (alone / Path(entry.path).name).symlink_to(entry.path)
    data = dataclasses.replace(config.data, root=str(alone))
    run = dataclasses.replace(config.run, out_dir=str(tmp_path / "plain"))
    ours, theirs = pretrain(measured), pretrain(dataclasses.replace(config, data=data, run=run))
    assert ours.model_path.read_bytes() == theirs.model_path.read_bytes()


def test_too_few_validation_files_are_refused(config: PretrainConfig) -> None:
    with pytest.raises(
        ValueError, match=r"validation_share must put at least two of 9 .* got 0\.01"
    ):
        pretrain(with_validation(config, 0.01))


def test_max_files_takes_the_first(config: PretrainConfig) -> None:
    everything = open_clips(config, Ranks())
    few = dataclasses.replace(config, data=dataclasses.replace(config.data, max_files=4))
    paths = [entry.path for entry in everything.training.dataset.entries]
    assert [entry.path for entry in open_clips(few, Ranks()).training.dataset.entries] == paths[:4]
