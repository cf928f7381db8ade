"""A short driver of CMake: configure, build, and leave _C (and _cuda) inside the package.

Environment: AVTS_CUDA=AUTO|ON|OFF, AVTS_CUDA_ARCHS="80-real;90", CMAKE_ARGS for anything else.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    def run(self) -> None:
        in_place = self.inplace or self.editable_mode
        package = ROOT / "avts_ext" if in_place else Path(self.build_lib).resolve() / "avts_ext"
        # Developers' and wheels' builds stay apart: they may use another CMake and pybind11.
        tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{'dev' if in_place else 'whl'}"
        build_dir = ROOT / "build" / tag
        subprocess.run(self.configure_command(build_dir, package), check=True)
        subprocess.run(["cmake", "--build", str(build_dir)], check=True)

    def configure_command(self, build_dir: Path, package: Path) -> list[str]:
        import ninja
        import pybind11

        return [
            "cmake",
            f"-S{ROOT}",
            f"-B{build_dir}",
            "-GNinja",
            f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={package}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DAVTS_VERSION={self.distribution.get_version()}",
            f"-DAVTS_CUDA={os.environ.get('AVTS_CUDA', 'AUTO')}",
            f"-DAVTS_CUDA_ARCHS={os.environ.get('AVTS_CUDA_ARCHS', '')}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]


setup(ext_modules=[Extension("avts_ext._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
