"""A folder of short films, and a run on it that takes a second."""

import sys
from pathlib import Path

import pytest

from avts_ext.data import ClipSpec, scan_folder
from avts_ext.models.avts import AVTSConfig
from avts_ext.training import PretrainConfig
from avts_ext.training.config import DataConfig, RunConfig, ScheduleConfig
from avts_ext.training.curriculum import Stage

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from flash_beep import FlashBeep


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for i in range(9):
        FlashBeep(duration_s=4.0, flash_every=7 + i, size=(32, 32)).write(root / f"{i}.mp4")
    return root


@pytest.fixture(scope="session")
def manifest(films: Path) -> Path:
    path = films.with_suffix(".parquet")
    scan_folder(films, path)
    return path


@pytest.fixture
def config(manifest: Path, tmp_path: Path) -> PretrainConfig:
    return PretrainConfig(
        data=DataConfig(root=str(manifest)),
        model=AVTSConfig(clip=ClipSpec(n_frames=4, height=32, width=32)),
        curriculum=(Stage(), Stage(1, easy=0.5, hard=0.5)),
        schedule=ScheduleConfig(warmup_steps=2),
        run=RunConfig(out_dir=str(tmp_path / "run"), epochs=3, batch_size=4, keep_every=1),
    )
