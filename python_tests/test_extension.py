import os
import subprocess
import sys

import pytest

import avts_ext
from avts_ext._extension import _C


def run(code: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}
    )


def test_build_info_names_version_level_and_cuda():
    info = avts_ext.build_info()
    assert info["version"] == avts_ext.__version__
    assert info["cpu_level"] in info["cpu_levels"]
    assert isinstance(info["cuda"]["built"], bool)
    assert info["packages"]["torch"]


@pytest.mark.parametrize("level", _C.cpu_levels())
def test_environment_chooses_the_cpu_level(level):
    done = run("import avts_ext; print(avts_ext.build_info()['cpu_level'])", AVTS_CPU_ISA=level)
    assert done.stdout.strip() == level, done.stderr


def test_unknown_cpu_level_is_refused_by_name():
    done = run("import avts_ext; avts_ext.build_info()", AVTS_CPU_ISA="pentium")
    assert done.returncode != 0
    assert "AVTS_CPU_ISA is 'pentium', expected one of: base" in done.stderr


def test_import_starts_no_thread_and_touches_no_gpu():
    done = run(
        "import sys, avts_ext, torch; from avts_ext._extension import _C;"
        "print(_C.started_worker_threads(), torch.cuda.is_initialized(),"
        "'avts_ext._cuda' in sys.modules)"
    )
    assert done.stdout.split() == ["0", "False", "False"], done.stderr


def test_module_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(avts_ext, "__version__", "9.9.9")
    with pytest.raises(ImportError, match=r"_C is of version .*9\.9\.9: build again"):
        avts_ext._extension._load("_C")
