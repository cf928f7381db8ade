import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest

from avts_ext.models.avts import AVTSConfig
from avts_ext.training.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PretrainConfig,
    RunConfig,
    ScheduleConfig,
)
from avts_ext.training.curriculum import Curriculum, Stage

CONFIGS = Path(__file__).parents[2] / "configs"
VALID = PretrainConfig(data=DataConfig(root="in"), run=RunConfig(out_dir="out"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_survive_writing(path: Path, tmp_path: Path) -> None:
    config = PretrainConfig.from_yaml(path)
    config.write_yaml(tmp_path / "config.yaml")
    assert PretrainConfig.from_yaml(tmp_path / "config.yaml") == config


def test_yaml_values_arrive_and_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "data: {root: in}\nrun: {out_dir: out, epochs: 3}\n"
        'model: {clip: {fps: "30000/1001"}, log_mel: {n_mels: 64}}\n'
        "curriculum: [{first_epoch: 0}, {first_epoch: 2, easy: 0.5, hard: 0.5}]\n"
    )
    config = PretrainConfig.from_yaml(path, "--run.epochs=4")
    assert config.model.clip.fps == Fraction(30000, 1001)
    assert config.model.log_mel == {"n_mels": 64}
    assert config.curriculum == (Stage(), Stage(2, easy=0.5, hard=0.5))
    assert config.run.epochs == 4


def test_unknown_key_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {root: in}\nrun: {out_dir: out, epoch: 3}\n")
    with pytest.raises(SystemExit):
        PretrainConfig.from_yaml(path)
    assert "epoch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataConfig(workers=-1), "workers must be at least 0, got -1"),
        (lambda: LossConfig(objective="triplet"), "objective must be one of pairs, .* got 'trip"),
        (lambda: LossConfig(temperature=0), "temperature must be positive, got 0"),
        (lambda: OptimizerConfig(lr=0), "lr must be positive, got 0"),
        (lambda: ScheduleConfig(factor=1), "factor must be between 0 and 1, got 1"),
        (lambda: RunConfig(batch_size=1), "batch_size must be at least 2, got 1"),
        (lambda: PretrainConfig(run=RunConfig(out_dir="out")), r"data\.root must be given"),
        (lambda: PretrainConfig(data=DataConfig(root="in")), r"run\.out_dir must be given"),
        (lambda: Stage(easy=0.5), "easy, hard and super_hard must be shares of 1 in all"),
        (lambda: Stage(first_epoch=-1), "first_epoch must be at least 0, got -1"),
    ],
)
def test_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curriculum": (Stage(1),)}, r"the first 0, got \[1\]"),
        ({"curriculum": (Stage(), Stage(0))}, r"increasing first_epoch.* got \[0, 0\]"),
        ({"curriculum": (Stage(), Stage(36))}, "last stage before run.epochs = 36, got .* 36"),
        ({"loss": LossConfig(margin=2.0)}, r"loss\.margin must be below 2\.0"),
        ({"model": AVTSConfig(normalization="half_l2")}, r"loss\.margin must be below 1\.0"),
    ],
)
def test_contradictions(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(VALID, **change)


def test_curriculum_changes_at_the_first_epoch_of_a_stage() -> None:
    curriculum = Curriculum((Stage(), Stage(3, easy=0.75, hard=0.25)))
    assert curriculum(0) == curriculum(2) == {"easy": 1.0, "hard": 0.0, "super_hard": 0.0}
    assert curriculum(3) == curriculum(99) == {"easy": 0.75, "hard": 0.25, "super_hard": 0.0}
