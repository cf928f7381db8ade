"""Shared fixtures: one seed, every CPU level, and no silently missing GPU."""

import os

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


def pytest_collection_modifyitems(items):
    """Tests marked gpu run where AVTS_TEST_GPU=1 promises one, and then fail if there is none."""
    promised = os.environ.get("AVTS_TEST_GPU") == "1"
    if promised and not torch.cuda.is_available():
        pytest.exit("AVTS_TEST_GPU=1 promises a GPU, but torch finds none", returncode=1)
    if not promised:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU promised (AVTS_TEST_GPU=1)"))
