"""A worker that a file kills costs that file, is told with its name, and stops nothing."""

import os
import signal

import pytest
import torch
from flash_beep import FlashBeep
from whole_films import whole_films

from avts_ext.data import (
    ClipBatchSampler,
    ClipLoader,
    ClipSpec,
    Fault,
    SyncClipDataset,
    TooManyBrokenFilesError,
)
from avts_ext.data import dataset as dataset_module

SPEC = ClipSpec(n_frames=4, fps=8, height=16, width=16, sample_rate=8000)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    for i in range(12):
        FlashBeep(duration_s=2.0, flash_every=7 + i, size=(16, 16)).write(root / f"{i:02}.mp4")
    return whole_films(root)


def loader_of(entries, workers, seed=5):
    order = ClipBatchSampler([entry.media_id for entry in entries], 4, seed)
    return ClipLoader(SyncClipDataset(entries, SPEC, seed), order, workers)


@pytest.fixture
def deadly(monkeypatch):
    """Have chosen files kill the worker that opens them; where is up to the test."""

    def plant(paths, how=signal.SIGSEGV):
        def opening(path, **options):
            if path in paths and torch.utils.data.get_worker_info() is not None:
                os.kill(os.getpid(), how)
            return real(path, **options)

        real = dataset_module.open_source
        monkeypatch.setattr(dataset_module, "open_source", opening)

    return plant


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_deadly_file_is_replaced_and_named(entries, deadly, how):
    deadly({entries[3].path, entries[7].path}, how)
    batches = list(loader_of(entries, workers=2).epoch(1))
    errors = [error for batch in batches for error in batch.skipped]
    assert {error.path for error in errors} == {entries[3].path, entries[7].path}
    assert {error.fault for error in errors} == {Fault.CRASH}
    assert "a data worker died" in str(errors[0])
    assert [len(batch.video_ids) for batch in batches] == [4, 4, 4]
    killed = {entries[3].media_id, entries[7].media_id}
    assert not killed & {int(i) for batch in batches for i in batch.video_ids}


def test_the_other_clips_do_not_change(entries, deadly):
    expected = {int(i): s for b in loader_of(entries, 0).epoch(1) for i, s in starts(b)}
    deadly({entries[3].path})
    found = [(int(i), s) for b in loader_of(entries, 2).epoch(1) for i, s in starts(b)]
    same = [(i, s) for i, s in found if expected[i] == s]
    assert len(found) == 12 and len(same) == 11


def starts(batch):
    return list(zip(batch.video_ids.tolist(), batch.video_start_s.tolist(), strict=True))


def test_only_deadly_files_end_with_a_clear_error(entries, deadly):
    deadly({entry.path for entry in entries[:1]})
    loader = ClipLoader(
        SyncClipDataset(entries[:1], SPEC, 5), ClipBatchSampler([entries[0].media_id], 1, 5), 1
    )
    with pytest.raises(TooManyBrokenFilesError, match="crashes the decoder: a data worker died"):
        list(loader.epoch(0))


def test_the_death_of_a_worker_that_reads_nothing_is_told(entries, monkeypatch):
    monkeypatch.setattr(dataset_module.SyncClipDataset, "__getitem__", _die)
    with pytest.raises(ChildProcessError, match="while it was reading no file; is memory short"):
        list(loader_of(entries, workers=1).epoch(0))


def _die(dataset, key):
    with dataset.board.reading(0):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_fault_of_the_program_keeps_its_own_error(entries, monkeypatch):
    def fail(dataset, key):
        raise RuntimeError("a bug")

    monkeypatch.setattr(dataset_module.SyncClipDataset, "__getitem__", fail)
    for workers in (0, 1):
        with pytest.raises(RuntimeError, match="a bug"):
            list(loader_of(entries, workers).epoch(0))


def test_epochs_resume_at_a_batch(entries):
    loader = loader_of(entries, workers=0)
    whole = [starts(batch) for batch in loader.epoch(2)]
    assert [starts(batch) for batch in loader.epoch(2, first_batch=1)] == whole[1:]
    assert len(loader) == len(whole) == 3


def test_the_handler_of_child_signals_is_put_back(entries):
    before = signal.getsignal(signal.SIGCHLD)
    list(loader_of(entries, workers=1).epoch(0))
    assert signal.getsignal(signal.SIGCHLD) == before
