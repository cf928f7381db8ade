import json

import pytest

from avts_ext.cli.__main__ import main
from avts_ext.world import generate


@pytest.fixture
def world(tmp_path):
    generate(str(tmp_path / "world"), videos=3, seed=1)
    return tmp_path / "world"


def test_index_then_report(world, tmp_path, capsys):
    output = str(tmp_path / "manifest.parquet")
    assert main(["index", str(world), "--output", output]) == 0
    assert capsys.readouterr().out == f"{output}: 3 of 3 files are usable\n"
    assert main(["index", output]) == 0
    assert "3 files, 3 usable" in capsys.readouterr().out
    assert main(["index", output, "--json", "true"]) == 0
    assert json.loads(capsys.readouterr().out)["usable"] == 3


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main(["index", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("avts index: root must be a folder, got ")


def test_data_set_by_its_lists(world, tmp_path, capsys):
    (tmp_path / "train.txt").write_text("000000.mp4\n000001.mp4\nhole.mp4\n")
    output = str(tmp_path / "manifest.parquet")
    assert main(["index", str(tmp_path), "--dataset", "soundnet", "-o", output]) == 0
    out = capsys.readouterr().out
    assert f"{output}: 2 of 3 files are usable" in out and "2,000,000  train" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "mnist"], "dataset must be one of kinetics400, "),
        (["--dataset", "esc50"], "No such file or directory: "),
        (["--share", "0.5"], "share must be 1 without a dataset, got 0.5"),
    ],
)
def test_bad_data_set_is_one_line(tmp_path, options, message, capsys):
    assert main(["index", str(tmp_path), *options]) == 1
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
