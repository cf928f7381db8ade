"""Training items: the same whatever the workers, right in time, and no stop for a broken file."""

import itertools
import pickle
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_media import damage_video
from flash_beep import FlashBeep
from torch.utils.data import DataLoader
from whole_films import whole_films

from avts_ext.data import (
    ClipBatchSampler,
    ClipSpec,
    Fault,
    MediaEntry,
    MediaError,
    MediaReader,
    SkipReport,
    SyncClipDataset,
    TooManyBrokenFilesError,
    collate,
)
from avts_ext.data.readers import ReaderPool
from avts_ext.ops.clip_offset import PairKind

SPEC = ClipSpec(n_frames=4, fps=8, height=16, width=16, sample_rate=8000)
MIXED = {"easy": 0.5, "hard": 0.5}


def mixed(epoch):
    return MIXED


def hard_from_epoch_1(epoch):
    return {"hard": 1.0} if epoch >= 1 else {"easy": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve good films of different lengths."""
    root = tmp_path_factory.mktemp("films")
    for i in range(12):
        written = FlashBeep(duration_s=4.0 + 0.3 * i, flash_every=7 + i, size=(16, 16))
        written.write(root / f"{i:02}.mp4")
    return root


@pytest.fixture(scope="module")
def entries(folder):
    return whole_films(folder)


@pytest.fixture
def damaged_entries(entries, tmp_path):
    """The films with two of them damaged after they were indexed."""
    damaged = list(entries)
    for i in (3, 8):
        path = tmp_path / f"damaged{i}.mp4"
        damage_video(Path(entries[i].path), path, packets=slice(None))
        damaged[i] = replace(entries[i], path=str(path))
    return damaged


def epoch_of(entries, epoch=1, workers=0, **options):
    dataset = SyncClipDataset(entries, SPEC, seed=5, **{"negatives": mixed, **options})
    sampler = ClipBatchSampler([entry.media_id for entry in entries], 4, seed=5)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    return list(loader)


def assert_equal(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for field in fields(batch):
            ours, theirs = getattr(batch, field.name), getattr(other, field.name)
            if isinstance(ours, torch.Tensor):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
            else:
                assert [str(error) for error in ours] == [str(error) for error in theirs]


def test_batch_is_consistent(entries):
    for batch in epoch_of(entries):
        n_extra = int((batch.kinds != PairKind.EASY).sum())
        assert batch.frames.shape == (4, 4, 16, 16, 3) and batch.frames.dtype == torch.uint8
        assert batch.waveforms.shape == (4 + n_extra, SPEC.n_samples)
        assert batch.audio_ids.shape == batch.audio_start_s.shape == (4 + n_extra,)
        assert (batch.audio_ids[:4] == batch.video_ids).all()
        assert (batch.audio_start_s[:4] == batch.video_start_s).all()
        for i, (row, kind) in enumerate(zip(batch.negative_row, batch.kinds, strict=True)):
            same_medium = batch.audio_ids[row] == batch.video_ids[i]
            gap_s = abs(batch.audio_start_s[row] - batch.video_start_s[i]) - SPEC.duration_s
            if kind == PairKind.EASY:
                assert row < 4 and not same_medium
            else:
                assert row >= 4 and same_medium and gap_s >= 0.5 - 1e-9


def test_waveforms_are_those_of_the_media(entries):
    from avts_ext.data import MediaReader

    paths = {entry.media_id: entry.path for entry in entries}
    for batch in epoch_of(entries):
        for row, media_id in enumerate(batch.audio_ids.tolist()):
            with MediaReader(paths[media_id]) as reader:
                start_s = float(batch.audio_start_s[row])
                expected, _ = reader.read_audio(start_s, SPEC.duration, SPEC.sample_rate)
            assert (batch.waveforms[row] == expected).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_anything(entries, workers):
    assert_equal(epoch_of(entries, workers=workers), epoch_of(entries))


def test_cache_does_not_change_anything(entries, tmp_path):
    expected = epoch_of(entries)
    assert_equal(epoch_of(entries, cache_dir=tmp_path / "cache", workers=2), expected)
    assert_equal(epoch_of(entries, cache_dir=tmp_path / "cache"), expected)


def test_a_file_damaged_in_part_is_read_around_the_cache(tmp_path):
    path = FlashBeep(duration_s=9.0, size=(16, 16)).write(tmp_path / "film.mp4")
    damage_video(path, path, packets=slice(40, 44))
    entry = MediaEntry(str(path), 7, ((0.0, 1.5), (3.0, 9.0)))
    items = [
        [SyncClipDataset([entry], SPEC, 5, mixed, cache_dir=cache)[epoch, 0] for epoch in range(4)]
        for cache in (None, tmp_path / "cache")
    ]
    for plain, cached in zip(*items, strict=True):
        assert plain.skipped == cached.skipped == ()
        assert torch.equal(plain.frames, cached.frames)
        assert torch.equal(plain.waveform, cached.waveform)


def test_few_open_files_do_not_change_anything(entries):
    assert_equal(epoch_of(entries, max_open_readers=1), epoch_of(entries))


def test_epochs_differ_and_come_back(entries):
    first, second = epoch_of(entries, epoch=1), epoch_of(entries, epoch=2)
    starts = [torch.cat([batch.video_start_s for batch in epoch]) for epoch in (first, second)]
    assert (starts[0] != starts[1]).all()
    assert_equal(epoch_of(entries, epoch=1), first)


def test_an_item_does_not_depend_on_the_other_media(entries):
    options = {"negatives": hard_from_epoch_1}
    whole = SyncClipDataset(entries, SPEC, 5, **options)[1, 7]
    alone = SyncClipDataset(entries[7:8], SPEC, 5, **options)[1, 0]
    assert whole.start_s == alone.start_s and whole.negative_start_s == alone.negative_start_s
    assert (whole.frames == alone.frames).all()


def test_negatives_follow_the_epoch(entries):
    dataset = SyncClipDataset(entries, SPEC, 5, hard_from_epoch_1)
    assert {dataset[0, i].kind for i in range(12)} == {PairKind.EASY}
    assert {dataset[1, i].kind for i in range(12)} == {PairKind.HARD}


def test_starts_snap_to_the_frame_grid(entries):
    for batch in epoch_of(entries, snap_s=0.125):
        starts = batch.audio_start_s
        by_id = {entry.media_id: entry.start_s for entry in entries}
        relative = starts - torch.tensor([by_id[i] for i in batch.audio_ids.tolist()])
        torch.testing.assert_close(relative * 8, (relative * 8).round())


def test_broken_files_are_replaced_alike_and_reported(damaged_entries):
    batches = epoch_of(damaged_entries)
    assert_equal(epoch_of(damaged_entries, workers=2), batches)
    assert [len(batch.video_ids) for batch in batches] == [4, 4, 4]
    bad = {damaged_entries[i].path for i in (3, 8)}
    report = SkipReport()
    for batch in itertools.chain(batches, batches):
        report.update(batch.skipped)
        assert not {entry.media_id for entry in damaged_entries if entry.path in bad} & set(
            batch.video_ids.tolist()
        )
    assert set(report.errors) == bad
    assert len(str(report).splitlines()) == 3
    with pytest.raises(TooManyBrokenFilesError, match="2 broken files"):
        report.check_budget(1)


def test_only_broken_files_end_with_a_clear_error(damaged_entries):
    dataset = SyncClipDataset([damaged_entries[3]], SPEC, 5)
    with pytest.raises(TooManyBrokenFilesError, match=r"media in a row are broken(.|\n)*no frame"):
        dataset[0, 0]


def test_error_in_a_worker_keeps_its_type(damaged_entries):
    bad = [damaged_entries[3], damaged_entries[8]]
    dataset = SyncClipDataset(bad, SPEC, 5)
    loader = DataLoader(
        dataset, batch_sampler=[[(0, 0), (0, 1)]], collate_fn=collate, num_workers=1
    )
    with pytest.raises(TooManyBrokenFilesError):
        list(loader)


def test_dataset_and_errors_survive_pickling(entries):
    dataset = SyncClipDataset(entries, SPEC, 5, mixed)
    expected = dataset[1, 2]
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy[1, 2].frames == expected.frames).all()
    error = pickle.loads(pickle.dumps(MediaError("a.mp4", Fault.DECODE, "damaged")))
    assert str(error) == "a.mp4: decode error: damaged" and error.fault is Fault.DECODE


def test_batch_moves_to_a_device(entries):
    batch = epoch_of(entries)[0].to("meta")
    devices = [getattr(batch, field.name) for field in fields(batch)]
    assert {t.device.type for t in devices if isinstance(t, torch.Tensor)} == {"meta"}


def test_easy_negative_needs_another_medium(entries):
    item = SyncClipDataset(entries, SPEC, 5)[0, 0]
    with pytest.raises(ValueError, match="at least two media, got 2 clips of one"):
        collate([item, item])


def test_easy_negatives_are_spread_over_the_batch(entries):
    dataset = SyncClipDataset(entries, SPEC, 5)
    items = [dataset[0, i] for i in range(12)]
    rows = np.array([collate(items[i:] + items[:i]).negative_row[0] for i in range(12)])
    assert len(set(rows.tolist())) >= 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: [], "entries must hold at least one medium"),
        (lambda entries: [entries[0], entries[0]], "entries must have different media ids"),
        (lambda entries: [replace(entries[0], usable_s=((0.0, 0.4),))], "must last at least one"),
    ],
)
def test_rejects_entries(entries, change, message):
    with pytest.raises(ValueError, match=message):
        SyncClipDataset(change(entries), SPEC, 5)


class _Source:
    def __init__(self, log, path):
        self.log, self.path = log, path
        log.append(("open", path))

    def close(self):
        self.log.append(("close", self.path))


def test_pool_keeps_the_most_recent_readers():
    log = []
    pool = ReaderPool(partial(_Source, log), capacity=2)
    for path in "abac":
        pool.get(path)
    pool.discard("c")
    pool.discard("unknown")
    assert log == [("open", "a"), ("open", "b"), ("open", "c"), ("close", "b"), ("close", "c")]


def test_clips_and_their_negatives_lie_in_usable_stretches(tmp_path):
    path = FlashBeep(duration_s=9.0, size=(16, 16)).write(tmp_path / "film.mp4")
    usable_s = ((1.0, 2.75), (4.5, 5.5), (6.0, 9.0))
    dataset = SyncClipDataset([MediaEntry(str(path), 7, usable_s)], SPEC, 5, mixed)
    items = [dataset[epoch, 0] for epoch in range(60)]
    starts = [item.start_s for item in items]
    starts += [item.negative_start_s for item in items if item.kind is PairKind.HARD]
    spans = [[a <= t and t + SPEC.duration_s <= b + 1e-9 for a, b in usable_s] for t in starts]
    assert all(map(any, spans)) and all(map(any, zip(*spans, strict=True)))


@pytest.mark.parametrize("audio", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 44100])
def test_the_first_and_the_last_clip_of_a_file_can_be_read(tmp_path, audio, sample_rate):
    spec = replace(SPEC, sample_rate=8000)
    film = FlashBeep(duration_s=2.3, audio_codec=audio, sample_rate=sample_rate, size=(16, 16))
    film.write(tmp_path / "film.mkv")
    (entry,) = whole_films(tmp_path)
    with MediaReader(entry.path) as reader:
        last_s = entry.start_s + entry.duration_s - spec.duration_s
        for start_s in [entry.start_s, *np.linspace(last_s - 2e-4, last_s, 9)]:
            reader.read_clip(float(start_s), spec)
