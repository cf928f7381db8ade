"""Shared fixtures: one seed, an empty folder to run in, every CPU level."""

import pytest
import torch

from avts_ext._extension import _C


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _away_from_the_sources(tmp_path, monkeypatch) -> None:
    """Python processes that a test starts must import the installed package, not the folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=_C.cpu_levels())
def cpu_level(request):
    """Runs the test once at every instruction-set level this machine has."""
    before = _C.cpu_level()
    _C.set_cpu_level(request.param)
    yield request.param
    _C.set_cpu_level(before)
