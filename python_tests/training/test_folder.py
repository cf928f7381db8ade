"""Given a folder, a run makes its manifest and reads that."""

import dataclasses
from pathlib import Path

import pytest
from test_pretrain import assert_same_weights, elsewhere, interrupt_at

from avts_ext.cli.__main__ import main
from avts_ext.data import read_manifest
from avts_ext.data import scan as scan_module
from avts_ext.training import PretrainConfig, pretrain


@pytest.fixture
def on_folder(config: PretrainConfig, films: Path) -> PretrainConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, root=str(films)))


def test_a_folder_trains_as_its_manifest(config, on_folder, manifest, tmp_path, capsys) -> None:
    from_manifest = pretrain(config)
    assert not (tmp_path / "run" / "manifest.parquet").exists()
    capsys.readouterr()
    from_folder = pretrain(elsewhere(on_folder, tmp_path / "other"))
    made = tmp_path / "other" / "manifest.parquet"
    assert capsys.readouterr().out.startswith(f"{made}: 9 of 9 files are usable\n")
    assert read_manifest(made).rows == read_manifest(manifest).rows
    assert from_folder.history == from_manifest.history
    assert_same_weights(from_folder.model_path, from_manifest.model_path)


def test_a_resumed_run_reads_the_manifest_it_made(on_folder, tmp_path, monkeypatch) -> None:
    whole = pretrain(elsewhere(on_folder, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        interrupt_at(3, patch)
        pretrain(on_folder)
    made = (tmp_path / "run" / "manifest.parquet").read_bytes()
    monkeypatch.setattr(scan_module, "_examine", lambda *_: pytest.fail("examined again"))
    second = pretrain(elsewhere(on_folder, tmp_path / "run", resume=True))
    assert (tmp_path / "run" / "manifest.parquet").read_bytes() == made
    assert second.history == whole.history
    assert_same_weights(second.model_path, whole.model_path)


def test_an_interrupted_examination_goes_on(on_folder, tmp_path, monkeypatch, capsys) -> None:
    real, examined = scan_module._examined, []

    def interrupted(*arguments):
        yield next(real(*arguments))
        raise KeyboardInterrupt

    def counted(root, stubs, processes):
        examined.extend(stubs)
        return real(root, stubs, processes)

    on_folder.write_yaml(tmp_path / "run.yaml")
    command = ["pretrain", f"--config={tmp_path / 'run.yaml'}"]
    with monkeypatch.context() as patch:
        patch.setattr(scan_module, "_examined", interrupted)
        assert main(command) == 130
    assert "1 of 9 files are done, the same command does the rest" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.parquet.rows"]
    monkeypatch.setattr(scan_module, "_examined", counted)
    assert main(command) == 0
    assert len(examined) == 8


def test_several_processes_need_a_manifest(on_folder, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    root = on_folder.data.root
    command = f"avts index {root} -o {Path(root).name}.parquet makes its manifest"
    with pytest.raises(IsADirectoryError, match=command):
        pretrain(on_folder)
    assert not Path(on_folder.run.out_dir).exists()
