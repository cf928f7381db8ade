from pathlib import Path
from types import SimpleNamespace

import pytest

from avts_ext import training
from avts_ext.cli.__main__ import main

CONFIG = Path(__file__).parents[2] / "configs" / "debug.yaml"


@pytest.mark.parametrize(("interrupted", "status"), [(False, 0), (True, 130)])
def test_file_and_options_reach_the_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupted, status
) -> None:
    seen: list[training.PretrainConfig] = []

    def pretrain(config: training.PretrainConfig) -> SimpleNamespace:
        seen.append(config)
        return SimpleNamespace(interrupted=interrupted)

    monkeypatch.setattr(training, "pretrain", pretrain)
    assert main(["pretrain", f"--config={CONFIG}", "--run.epochs=5"]) == status
    assert seen == [training.PretrainConfig.from_yaml(CONFIG, "--run.epochs=5")]
    assert ("the same command with --run.resume=true goes on" in capsys.readouterr().err) == (
        interrupted
    )


def test_contradictions_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["pretrain", f"--config={CONFIG}", "--run.epochs=1"])
    assert status == 1
    error = capsys.readouterr().err
    assert "curriculum must begin its last stage before run.epochs = 1" in error
    assert "Traceback" not in error
