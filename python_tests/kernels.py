"""Which kernels the operators' tests run: `pytest --kernels cpu`, `cuda-on-host` or `gpu`."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import avts_ext
from avts_ext.ops import _cuda

ROOT = Path(__file__).parents[1]


def build_emulated_module() -> Path:
    """Compile the CUDA module for the host emulator, or bring it up to date."""
    import ninja
    import pybind11

    import cmake

    build = ROOT / "build" / f"cuda-on-host-cp{sys.version_info.major}{sys.version_info.minor}"
    cmake_program = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    configure = [
        cmake_program,
        f"-S{ROOT}",
        f"-B{build}",
        "-GNinja",
        f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DAVTS_VERSION={avts_ext.__version__}",
        "-DAVTS_BUILD_MODULES=OFF",
        "-DAVTS_CUDA_ON_HOST=ON",
    ]
    for command in (configure, [cmake_program, "--build", build, "--target", "_cuda_on_host"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
    (module,) = build.glob("_cuda.*.so")
    return module


def load_emulated_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_cuda", build_emulated_module())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def emulated() -> Iterator[None]:
    """Operators on CPU tensors run the CUDA kernels, compiled for the host emulator."""
    module, load = load_emulated_module(), _cuda.module
    _cuda.module = lambda: module
    override = torch.library.Library("avts", "IMPL")
    for name, kernel in _cuda.KERNELS.items():
        override.impl(name, kernel, "CPU", allow_override=True)
    try:
        yield
    finally:
        override._destroy()
        _cuda.module = load


@contextmanager
def on_gpu() -> Iterator[None]:
    """Tensors are made on the GPU unless a test names another device."""
    before = torch.get_default_device()
    torch.set_default_device("cuda")
    try:
        yield
    finally:
        torch.set_default_device(before)


def captured(call: Callable[[], Any]) -> tuple[Any, Any]:
    """A CUDA graph of what the call queues, and the call's result, which its replay() fills."""
    if torch.get_default_device().type == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = call()
        return graph, result
    graph = _cuda.module().Graph()
    graph.capture_begin()
    try:
        return graph, call()
    finally:
        graph.capture_end()
