"""Clips out of tar files are those of the files themselves, batch by batch from one shard."""

import io
import itertools
import pickle
import shutil
import tarfile
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from broken_media import damage_video
from flash_beep import FlashBeep

from avts_ext.data import (
    ClipLoader,
    ClipSpec,
    Fault,
    SyncClipDataset,
    TooManyBrokenFilesError,
    open_index,
    read_manifest,
    scan_folder,
)
from avts_ext.data.draws import validation_draws
from avts_ext.data.index import media_id
from avts_ext.data.shards import ShardBatchSampler, ShardClipDataset, write_shards

SPEC = ClipSpec(n_frames=4, fps=8, height=16, width=16, sample_rate=8000)
N_FILES, PER_SHARD = 23, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Films, among them a broken one, with their manifest, and the shards made of them."""
    root = tmp_path_factory.mktemp("collection")
    for i in range(N_FILES):
        film = FlashBeep(duration_s=2.0 + 0.1 * i, flash_every=5 + i % 9, size=(16, 16))
        (root / "films" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        film.write(root / "films" / str(i % 3) / f"{i:02}.{'mkv' if i % 2 else 'MP4'}")
    (root / "films" / "broken.mp4").write_bytes(b"no film")
    scan_folder(root / "films", root / "films.parquet")
    write_shards(root / "films.parquet", root / "shards", files_per_shard=PER_SHARD)
    return root


@pytest.fixture(scope="module")
def sharded(folder):
    return entries_of(folder / "shards" / "manifest.parquet")


def entries_of(manifest):
    return open_index(manifest, min_duration_s=SPEC.duration_s)[0]


def mixed(epoch):
    return {"easy": 0.5, "hard": 0.5}


def loader_of(entries, workers=0, batch_size=2, rank=0, world_size=1):
    dataset = ShardClipDataset(entries, SPEC, 5, mixed)
    order = ShardBatchSampler(entries, batch_size, 5, rank, world_size, workers)
    return ClipLoader(dataset, order, workers)


def ids_of(batches):
    return [tuple(batch.video_ids.tolist()) for batch in batches]


def test_shards_hold_every_usable_file_once(folder):
    rows = read_manifest(folder / "shards" / "manifest.parquet").rows
    assert sorted(row.shard for row in rows if row.fault is None) == sorted(
        f"{i // PER_SHARD:06}.tar" for i in range(N_FILES)
    )
    assert [(row.path, row.shard) for row in rows if row.fault] == [("broken.mp4", None)]
    names = []
    for path in (folder / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    assert len(names) == len(set(names)) == N_FILES
    before = {path.name: path.read_bytes() for path in (folder / "shards").iterdir()}
    write_shards(folder / "films.parquet", folder / "shards", files_per_shard=PER_SHARD)
    assert {path.name: path.read_bytes() for path in (folder / "shards").iterdir()} == before


def test_items_are_those_of_the_files(folder, sharded):
    from_files = SyncClipDataset(entries_of(folder / "films.parquet"), SPEC, 5, mixed)
    item_of = {entry.media_id: item for item, entry in enumerate(from_files.entries)}
    dataset = ShardClipDataset(sharded, SPEC, 5, mixed)
    for item, entry in enumerate(dataset.entries):
        ours, theirs = dataset[3, item], from_files[3, item_of[entry.media_id]]
        for field in fields(ours):
            mine, other = getattr(ours, field.name), getattr(theirs, field.name)
            equal = torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine == other
            assert equal, field.name


def test_batches_are_the_same_for_any_number_of_workers_and_ranks(sharded):
    whole = ids_of(loader_of(sharded).epoch(1))
    assert len(whole) == 2 * (N_FILES // PER_SHARD) + 1
    shard_of = {entry.media_id: entry.shard for entry in sharded}
    assert all(len({shard_of[i] for i in batch}) == 1 for batch in whole)
    assert len({i for batch in whole for i in batch}) == 2 * len(whole)
    two = ids_of(loader_of(sharded, workers=2).epoch(1))
    assert set(two) < set(whole) and len(two) == len(set(two)) == 8
    ranks = [ids_of(loader_of(sharded, rank=rank, world_size=3).epoch(1)) for rank in range(3)]
    assert [len(batches) for batches in ranks] == [3, 3, 3]
    assert set().union(*ranks) == set(whole)


def test_validation_files_share_as_few_shards_as_can_be(sharded):
    order = validation_draws(sharded.media_ids).argsort()
    shards = [sharded[int(item)].shard for item in order]
    assert len({*shards}) == 5
    assert sum(a != b for a, b in itertools.pairwise(shards)) == 4


def test_a_shard_with_less_than_a_batch_is_left_out(sharded):
    of_shard = {
        n: [i for i, entry in enumerate(sharded) if entry.shard.endswith(f"{n}.tar")]
        for n in (1, 4)
    }
    few = sharded.take([*of_shard[1], of_shard[4][0]])  # and none of the others
    batches = ids_of(loader_of(few).epoch(0))
    assert len(batches) == PER_SHARD // 2
    assert {i for batch in batches for i in batch} <= set(few.media_ids[:PER_SHARD].tolist())


def test_epochs_differ_and_come_back(sharded):
    loader = loader_of(sharded)
    first, second = ids_of(loader.epoch(0)), ids_of(loader.epoch(1))
    assert set(map(frozenset, first)) != set(map(frozenset, second))
    assert ids_of(loader.epoch(0)) == first


def test_moved_shards_come_in_the_same_order(folder, sharded, tmp_path):
    shutil.copytree(folder / "shards", tmp_path / "moved")
    moved = entries_of(tmp_path / "moved" / "manifest.parquet")
    assert list(ShardBatchSampler(moved, 2, 5)) == list(ShardBatchSampler(sharded, 2, 5))


@pytest.mark.parametrize("workers", [0, 2])
def test_resumes_in_the_middle_of_an_epoch(sharded, workers):
    loader = loader_of(sharded, workers)
    assert ids_of(loader.epoch(1, first_batch=3)) == ids_of(loader.epoch(1))[3:]


def test_each_shard_is_unpacked_once_an_epoch(sharded, monkeypatch):
    loader, unpacked, real = loader_of(sharded), [], ShardClipDataset._unpack

    def counted(dataset, shard):
        unpacked.append(shard)
        return real(dataset, shard)

    monkeypatch.setattr(ShardClipDataset, "_unpack", counted)
    list(loader.epoch(0))
    assert len(unpacked) == len(set(unpacked)) == 5


def test_a_broken_file_is_replaced_from_its_shard(folder, tmp_path):
    shutil.copytree(folder / "films", tmp_path / "films")
    scan_folder(tmp_path / "films", tmp_path / "films.parquet")
    broken = tmp_path / "films/0/00.MP4"
    damage_video(broken, broken, packets=slice(None))
    path = write_shards(tmp_path / "films.parquet", tmp_path / "shards", files_per_shard=PER_SHARD)
    entries = entries_of(path)
    (item,) = [i for i, e in enumerate(entries) if e.media_id == media_id("0/00.MP4")]
    found = ShardClipDataset(entries, SPEC, 5)[0, item]
    assert [(e.path, e.fault) for e in found.skipped] == [(entries[item].path, Fault.NO_FRAMES)]
    assert ".tar/" in entries[item].path
    (other,) = [e for e in entries if e.media_id == found.media_id]
    assert other.shard == entries[item].shard and other != entries[item]


def test_damaged_and_missing_shards_are_told(folder, sharded, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for path in (folder / "shards").iterdir():
        (shards / path.name).write_bytes(path.read_bytes())
    whole = (shards / "000001.tar").read_bytes()
    (shards / "000001.tar").write_bytes(whole[: len(whole) * 3 // 4])
    (shards / "000002.tar").unlink()
    entries = entries_of(shards / "manifest.parquet")
    dataset = ShardClipDataset(entries, SPEC, 5)
    in_shard = {
        n: [i for i, e in enumerate(entries) if e.shard.endswith(f"{n}.tar")] for n in (1, 2)
    }
    skipped = [error for item in in_shard[1] for error in dataset[0, item].skipped]
    assert skipped and {error.fault for error in skipped} == {Fault.MISSING}
    assert "cannot be read so far: " in str(skipped[0])
    with pytest.raises(
        TooManyBrokenFilesError, match=r"000002.tar/.*: its shard cannot be read so far: No such"
    ):
        dataset[0, in_shard[2][0]]


def test_nothing_but_the_listed_files_is_unpacked(folder, tmp_path):
    entries = entries_of(folder / "shards" / "manifest.parquet")
    shard = tmp_path / "000000.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("../escaped.mp4", "other.mp4"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    dataset = ShardClipDataset(entries, SPEC, 5)
    dataset._members = {str(shard): [0]}
    assert list(dataset._unpack(str(shard)).folder.iterdir()) == []
    assert [path for path in Path(dataset._folder).rglob("*") if path.is_file()] == []


def test_a_shard_may_come_through_a_pipe(folder, tmp_path):
    url = f"pipe:cat {folder}/piped"
    write_shards(folder / "films.parquet", folder / "piped", files_per_shard=12, url=url)
    entries = entries_of(folder / "piped" / "manifest.parquet")
    assert entries[0].shard.startswith("pipe:cat ")
    files = entries_of(folder / "films.parquet")
    theirs = SyncClipDataset(files, SPEC, 5)[0, 0]
    item = [entry.media_id for entry in entries].index(theirs.media_id)
    assert torch.equal(ShardClipDataset(entries, SPEC, 5)[0, item].frames, theirs.frames)


def test_the_temporary_folder_goes_with_the_data_set(sharded):
    dataset = ShardClipDataset(sharded, SPEC, 5)
    folder = Path(dataset._folder)
    expected = [dataset[0, item].frames for item in range(N_FILES)]
    assert len({path.parent for path in folder.rglob("*.m*")}) == 1
    copy = pickle.loads(pickle.dumps(dataset))
    for item in (0, N_FILES - 1, 0):
        assert torch.equal(copy[0, item].frames, expected[item])
        assert torch.equal(dataset[0, item].frames, expected[item])
    loader = ClipLoader(dataset, ShardBatchSampler(sharded, 2, 5, workers=2), 2)
    assert [error for batch in loader.epoch(0) for error in batch.skipped] == []
    assert folder.exists()
    del dataset, loader
    assert not folder.exists()


def test_rejects(folder, sharded):
    files = entries_of(folder / "films.parquet")
    with pytest.raises(ValueError, match="entries must be of shards, got the file "):
        ShardClipDataset(files, SPEC, 5)
    with pytest.raises(ValueError, match="cache_dir must be None for shards"):
        ShardClipDataset(sharded, SPEC, 5, cache_dir="cache")
    with pytest.raises(ValueError, match="files_per_shard must be at least 2, got 1"):
        write_shards(folder / "films.parquet", folder / "shards", files_per_shard=1)
    with pytest.raises(ValueError, match="batch_size is 6, of which 5 shards hold 0 batches"):
        ShardBatchSampler(sharded, 6, 5)
    with pytest.raises(ValueError, match=r"rank must be in \[0, 2\), got 2"):
        ShardBatchSampler(sharded, 2, 5, rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"first_batch must be in \[0, 9\], got 10"):
        ShardBatchSampler(sharded, 2, 5).set_epoch(0, 10)
    with pytest.raises(ValueError, match="9 batches, expected at least one for each of 10 workers"):
        ShardBatchSampler(sharded, 2, 5, workers=10)
