"""Training from tar files: finishes, goes on exactly, and says what it cannot do."""

import dataclasses
from pathlib import Path

import pytest
from test_pretrain import assert_same_weights, elsewhere, interrupt_at

from avts_ext.data import scan_folder
from avts_ext.data.shards import write_shards
from avts_ext.training import PretrainConfig, pretrain


@pytest.fixture(scope="module")
def shards(films, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    scan_folder(films, folder / "films.parquet")
    return write_shards(folder / "films.parquet", folder / "shards", files_per_shard=3)


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


def test_what_shards_cannot_do(sharded):
    for changes, message in [
        ({"validation_share": 0.5}, "data.validation_share must be 0 for shards, got 0.5"),
        ({"cache_dir": "cache"}, "cache_dir must be None for shards"),
        ({"workers": 4}, "3 batches, expected at least one for each of 4 workers"),
    ]:
        data = dataclasses.replace(sharded.data, **changes)
        with pytest.raises(ValueError, match=message):
            pretrain(dataclasses.replace(sharded, data=data))
