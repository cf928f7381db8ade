"""Shared fixtures: one seed, an empty folder to run in, every CPU level or another device."""

import pytest
import torch
from kernels import emulated, on_gpu

from avts_ext._extension import _C

DEVICES = {"cuda-on-host": emulated, "gpu": on_gpu}


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--kernels",
        choices=("cpu", *DEVICES),
        default="cpu",
        help="what the operators' tests run: the CPU kernels, the CUDA kernels on the host "
        "emulator, or the CUDA kernels on a GPU, which must then be there",
    )


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "kernels(*names): of meaning for these --kernels alone")
    if config.getoption("kernels") == "gpu" and not torch.cuda.is_available():
        raise pytest.UsageError("--kernels is gpu, expected a GPU that PyTorch can use")


def pytest_collection_modifyitems(config, items) -> None:
    """Deselects, and so counts, what is of no meaning for the chosen kernels."""
    chosen = config.getoption("kernels")
    marks = [item.get_closest_marker("kernels") for item in items]
    wanted = [mark is None or chosen in mark.args for mark in marks]
    config.hook.pytest_deselected(
        items=[item for item, want in zip(items, wanted, strict=True) if not want]
    )
    items[:] = [item for item, want in zip(items, wanted, strict=True) if want]


def pytest_generate_tests(metafunc) -> None:
    """A test that takes `cpu_level` runs once at each level of this machine, or on the device."""
    if "cpu_level" in metafunc.fixturenames:
        kernels = metafunc.config.getoption("kernels")
        levels = _C.cpu_levels() if kernels == "cpu" else [kernels]
        metafunc.parametrize("cpu_level", levels, indirect=True)


@pytest.fixture
def cpu_level(request):
    if request.config.getoption("kernels") != "cpu":
        yield request.param
        return
    before = _C.cpu_level()
    _C.set_cpu_level(request.param)
    yield request.param
    _C.set_cpu_level(before)


@pytest.fixture(scope="session", autouse=True)
def _device(request):
    kernels = request.config.getoption("kernels")
    if kernels == "cpu":
        yield
        return
    with DEVICES[kernels]():
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _away_from_the_sources(tmp_path, monkeypatch) -> None:
    """Python processes that a test starts must import the installed package, not the folder."""
    monkeypatch.chdir(tmp_path)
