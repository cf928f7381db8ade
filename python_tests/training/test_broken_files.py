"""Training goes on among broken files, names each once, and stops when they are too many."""

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest
from broken_media import SHORT, write_broken_folder
from test_pretrain import interrupt_at

from avts_ext.data import Fault, ManifestRow, TooManyBrokenFilesError, scan_folder
from avts_ext.data import dataset as dataset_module
from avts_ext.training import PretrainConfig, loop, pretrain

N_GOOD = 24


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """(manifest, {name: fault}) of films, some of which broke after they were indexed."""
    folder = tmp_path_factory.mktemp("spoiled")
    broken, films, film = folder / "broken", folder / "films", SHORT.write(folder / "film.mkv")
    broken.mkdir(), films.mkdir()
    faults = write_broken_folder(broken)
    for name in [*faults, *(f"good{i:02}.mkv" for i in range(N_GOOD))]:
        shutil.copy(film, films / name)
    listed = [ManifestRow(path.name, splits=("train",)) for path in films.iterdir()]
    scan_folder(films, folder / "manifest.parquet", [*listed, ManifestRow("hole.mp4")])
    for name in faults:
        os.rename(broken / name, films / name)
    return folder / "manifest.parquet", faults


@pytest.fixture
def on_spoiled(config: PretrainConfig, spoiled) -> PretrainConfig:
    """A run that meets every file of the folder in each epoch."""
    data = dataclasses.replace(config.data, root=str(spoiled[0]), split="train")
    return dataclasses.replace(
        config, data=data, run=dataclasses.replace(config.run, batch_size=8, epochs=2)
    )


def names_and_faults(result):
    return {Path(error.path).name: error.fault for error in result.skipped.errors.values()}


def test_training_finishes_and_every_file_is_classified(on_spoiled, spoiled, capsys):
    _, faults = spoiled
    result = pretrain(on_spoiled)
    assert len(result.history) == 2
    assert names_and_faults(result) == faults
    out, err = capsys.readouterr()
    for name in faults:
        assert err.count(name) == 1 and name not in out
    assert "epoch 1: 16 files skipped: 7 unreadable" in err and "16 files skipped" in out
    assert "hole.mp4" not in err


def test_over_the_budget_it_stops_with_the_files(on_spoiled):
    data = dataclasses.replace(on_spoiled.data, max_broken_files=3)
    with pytest.raises(
        TooManyBrokenFilesError, match=r"broken files, but max_broken_files is 3\.\n"
    ):
        pretrain(dataclasses.replace(on_spoiled, data=data))


def test_a_worker_killed_by_a_file_costs_that_file(on_spoiled, spoiled, monkeypatch, capsys):
    def opening(path, **options):
        if path.endswith("good07.mkv"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(path, **options)

    real = dataset_module.open_source
    monkeypatch.setattr(dataset_module, "open_source", opening)
    data = dataclasses.replace(on_spoiled.data, workers=2)
    result = pretrain(dataclasses.replace(on_spoiled, data=data))
    assert names_and_faults(result) == {**spoiled[1], "good07.mkv": Fault.CRASH}
    assert capsys.readouterr().err.count("good07.mkv: crashes the decoder: a data worker died") == 1


def test_a_resumed_run_remembers_and_does_not_repeat_itself(
    on_spoiled, spoiled, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        step, calls = loop.train_step, []

        def interrupted(*args):
            calls.append(args)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return step(*args)

        patch.setattr(loop, "train_step", interrupted)
        first = pretrain(on_spoiled)
    resumed = dataclasses.replace(on_spoiled.run, resume=True)
    second = pretrain(dataclasses.replace(on_spoiled, run=resumed))
    assert first.interrupted and 0 < len(first.skipped) < len(second.skipped)
    assert names_and_faults(second) == spoiled[1]
    err = capsys.readouterr().err
    assert all(err.count(name) == 1 for name in spoiled[1])


def test_a_split_must_be_of_a_manifest(on_spoiled, films):
    def on(**changes):
        data = dataclasses.replace(on_spoiled.data, **changes)
        return dataclasses.replace(on_spoiled, data=data)

    with pytest.raises(ValueError, match="split must be one of train, got 'test'"):
        pretrain(on(split="test"))
    with pytest.raises(ValueError, match="split must be None for the folder"):
        pretrain(on(root=str(films)))


@pytest.mark.parametrize("named", ["folder", "manifest"])
@pytest.mark.parametrize("change", [None, "another file", "another content"])
def test_other_media_on_resuming_are_told(
    config, films, tmp_path, monkeypatch, capsys, change, named
):
    root, manifest = shutil.copytree(films, tmp_path / "films"), tmp_path / "films.parquet"
    scan_folder(root, manifest)
    run = dataclasses.replace(config.run, epochs=2)
    data = dataclasses.replace(config.data, root=str(root if named == "folder" else manifest))
    config = dataclasses.replace(config, data=data, run=run)
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        pretrain(config)
    if change:
        shutil.copy(root / "0.mp4", root / ("new.mp4" if change == "another file" else "1.mp4"))
        scan_folder(root, manifest)
    pretrain(dataclasses.replace(config, run=dataclasses.replace(run, resume=True)))
    told = "no longer holds the media that the run began with" in capsys.readouterr().err
    assert told == bool(change)
