from pathlib import Path

import pytest

from avts_ext import training
from avts_ext.cli.__main__ import main

CONFIG = Path(__file__).parents[2] / "configs" / "debug.yaml"


def test_file_and_options_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[training.PretrainConfig] = []
    monkeypatch.setattr(training, "pretrain", seen.append)
    assert main(["pretrain", f"--config={CONFIG}", "--run.epochs=5"]) == 0
    assert seen == [training.PretrainConfig.from_yaml(CONFIG, "--run.epochs=5")]


def test_contradictions_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["pretrain", f"--config={CONFIG}", "--run.epochs=1"])
    assert status == 1
    error = capsys.readouterr().err
    assert "curriculum must begin its last stage before run.epochs = 1" in error
    assert "Traceback" not in error
