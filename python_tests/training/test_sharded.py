"""Training from tar files: finishes, goes on exactly, and says what it cannot do."""

import dataclasses
from pathlib import Path

import pytest
import torch
from test_pretrain import assert_same_weights, elsewhere, interrupt_at

from avts_ext.data.shards import write_shards
from avts_ext.training import PretrainConfig, pretrain
from avts_ext.training.clips import Clips, open_clips
from avts_ext.training.ranks import Ranks


@pytest.fixture(scope="module")
def shards(manifest, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    return write_shards(manifest, folder / "shards", files_per_shard=3)


@pytest.fixture
def sharded(config: PretrainConfig, shards: Path) -> PretrainConfig:
    data = dataclasses.replace(config.data, root=str(shards), workers=2)
    run = dataclasses.replace(config.run, batch_size=3)
    return dataclasses.replace(config, data=data, run=run)


def test_interrupted_and_resumed_equals_uninterrupted(sharded, tmp_path, monkeypatch):
    whole = pretrain(sharded)
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        first = pretrain(elsewhere(sharded, tmp_path / "other"))
    assert first.interrupted and len(first.history) == 1
    resumed = elsewhere(sharded, tmp_path / "other", resume=True)
    other_workers = dataclasses.replace(sharded.data, workers=1)
    with pytest.raises(ValueError, match=r"data\.workers must be 2 to go on within an epoch of"):
        pretrain(dataclasses.replace(resumed, data=other_workers))
    second = pretrain(resumed)
    assert second.history == whole.history
    assert_same_weights(second.model_path, whole.model_path)


def validated(clips: Clips) -> dict[int, torch.Tensor]:
    """Frames and sound of each medium put aside, flattened."""
    assert clips.validation is not None
    return {
        medium: torch.cat([frames.flatten(), waveform])
        for batch in clips.validation.epoch(0)
        for medium, frames, waveform in zip(
            batch.video_ids.tolist(), batch.frames, batch.waveforms, strict=False
        )
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_clips_are_those_of_the_files(config, sharded, workers):
    run = dataclasses.replace(config.run, batch_size=2)
    data = dataclasses.replace(sharded.data, validation_share=0.4, workers=workers)
    clips = open_clips(dataclasses.replace(sharded, data=data, run=run), Ranks())
    ours = validated(clips)
    files = dataclasses.replace(config.data, validation_share=0.4)
    theirs = validated(open_clips(dataclasses.replace(config, data=files, run=run), Ranks()))
    assert len(ours) >= 2 and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[medium], theirs[medium]) for medium in ours)
    trained = {int(i) for batch in clips.training.epoch(0) for i in batch.video_ids}
    assert trained and not trained & ours.keys()


def test_training_is_validated_and_resumed(sharded, tmp_path, monkeypatch):
    data = dataclasses.replace(sharded.data, validation_share=0.4, workers=0)
    run = dataclasses.replace(sharded.run, batch_size=2)
    config = dataclasses.replace(sharded, data=data, run=run)
    whole = pretrain(config)
    assert all(0 <= metrics["validation_pair_accuracy"] <= 1 for metrics in whole.history)
    with monkeypatch.context() as patch:
        interrupt_at(2, patch)
        pretrain(elsewhere(config, tmp_path / "other"))
    resumed = pretrain(elsewhere(config, tmp_path / "other", resume=True))
    assert resumed.history == whole.history


def test_what_shards_cannot_do(sharded):
    for changes, message in [
        ({"cache_dir": "cache"}, "cache_dir must be None for shards"),
        ({"workers": 4}, "3 batches, expected at least one for each of 4 workers"),
    ]:
        data = dataclasses.replace(sharded.data, **changes)
        with pytest.raises(ValueError, match=message):
            pretrain(dataclasses.replace(sharded, data=data))
