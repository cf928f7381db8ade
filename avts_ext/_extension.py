"""Loads the compiled kernels, and explains what is wrong when they do not load."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from types import ModuleType
from typing import Any


class ExtensionError(ImportError):
    """The compiled kernels are missing or do not belong to this version of the package."""


def _load(name: str) -> ModuleType:
    """Import ``avts_ext._C`` or ``avts_ext._cuda`` and check that it is of this version."""
    from avts_ext import __version__

    try:
        module = importlib.import_module(f"avts_ext.{name}")
    except ImportError as error:
        raise ExtensionError(
            f"avts_ext.{name} could not be loaded: {error}. Likely causes, in order: Python was "
            "started inside the source tree, which hides the installed package (start it "
            "elsewhere, or run `pip install -e . --no-build-isolation`); the package was built "
            "for another Python (run `pip install --force-reinstall .`)."
        ) from error
    if module.version != __version__:
        raise ExtensionError(
            f"avts_ext.{name} is of version {module.version}, the Python package of version "
            f"{__version__}: build again with `pip install .`."
        )
    return module


_C = _load("_C")


def load_cuda() -> ModuleType:
    """Import the CUDA module on first use.

    Raises:
        ExtensionError: the package was built without it, or it does not load.
    """
    return _load("_cuda")


def _package_version(name: str) -> str | None:
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return None


def _cuda_info() -> dict[str, Any]:
    """What is known of CUDA; ``built`` False and a ``problem`` where there is no module."""
    try:
        module = load_cuda()
    except ExtensionError as error:
        # The chained ModuleNotFoundError means "not built"; anything else is worth its full text.
        missing = isinstance(error.__cause__, ModuleNotFoundError)
        return {"built": False, "problem": "not built" if missing else str(error)}
    return {"built": True, "targets": module.targets.split(","), **module.info()}


def build_info() -> dict[str, Any]:
    """Facts about this installation, as ``avts doctor`` prints them.

    Returns:
        A dict with keys ``version``, ``compiler``, ``cpu_level`` (the instruction set in use),
        ``cpu_levels`` (those this machine can run), ``cuda`` (``built``; if built also ``targets``,
        ``runtime_version``, ``driver_version``, ``devices``, ``error``), and ``packages`` (the
        versions of the libraries underneath, None where one is not installed).
    """
    names = ("torch", "numpy", "av", "scikit-learn", "torchaudio", "torchvision")
    return {
        "version": _C.version,
        "compiler": _C.compiler,
        "cpu_level": _C.cpu_level(),
        "cpu_levels": _C.cpu_levels(),
        "cuda": _cuda_info(),
        "packages": {name: _package_version(name) for name in names},
    }
