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
