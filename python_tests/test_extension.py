import os
import subprocess
import sys

import pytest
import torch

import avts_ext
from avts_ext._extension import _C, ExtensionError
from avts_ext.ops import _cuda, sync_pair_loss


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


@pytest.mark.kernels("cpu")
def test_cuda_module_is_loaded_by_the_first_operator_on_a_gpu(monkeypatch):
    def load():
        raise ExtensionError("was loaded")

    monkeypatch.setattr(_cuda, "load_cuda", load)
    _cuda.module.cache_clear()
    rows, pairs, labels = torch.zeros(2, 4), torch.zeros(1, 2, dtype=torch.int64), torch.ones(1)
    sync_pair_loss(rows, rows, pairs, labels)
    with pytest.raises(ExtensionError, match="was loaded"):
        _cuda.KERNELS["sync_pair"](rows, rows, pairs, labels.double(), 0.99)


def test_module_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(avts_ext, "__version__", "9.9.9")
    with pytest.raises(ImportError, match=r"_C is of version .*9\.9\.9: build again"):
        avts_ext._extension._load("_C")
