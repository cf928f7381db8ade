"""The compiled module on emulated older CPUs: it takes the level they can run, with the same bits.

Without PyTorch, which takes minutes to start there. CPUs older than these are refused by NumPy.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest

from avts_ext._extension import _C
from avts_ext.ops.log_mel_spec import LogMelSpec, kernel_options

EMULATOR = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")

pytestmark = [
    pytest.mark.kernels("cpu"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels are x86-64's"),
    pytest.mark.skipif(EMULATOR is None, reason="qemu-x86_64 (qemu-user) is not installed"),
]

CHILD = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[3])
spec = importlib.util.spec_from_file_location("_C", sys.argv[1])
_C = importlib.util.module_from_spec(spec)
spec.loader.exec_module(_C)
exec(sys.argv[4])
print(json.dumps([_C.cpu_levels(), _C.cpu_level(), digest(_C, json.loads(sys.argv[2]))]))
"""

DIGEST = """
import hashlib
import numpy as np

def digest(_C, options):
    kernel = _C.LogMel(options)
    x = np.random.default_rng(0).standard_normal((2, 5000), dtype=np.float32)
    out = np.empty((2, options["n_mels"], kernel.frames(5000)), np.float32)
    mel, grad = np.empty_like(out), np.empty_like(x)
    kernel.forward(x, None, None, -1, out, mel, 1)
    kernel.backward(x, None, None, -1, mel, np.ones_like(out), grad, 1)
    return hashlib.sha256(out.tobytes() + grad.tobytes()).hexdigest()
"""


@pytest.mark.parametrize("n_fft", [400, 330])  # with codelets and without
@pytest.mark.parametrize(
    "cpu, levels", [("SandyBridge", ["base"]), ("Haswell", ["base", "avx2"])], ids=str
)
def test_older_cpu_runs_what_it_can(cpu, levels, n_fft):
    options = kernel_options(LogMelSpec(n_fft=n_fft).key)
    packages = os.path.dirname(os.path.dirname(np.__file__))
    arguments = [_C.__file__, json.dumps(options), packages, DIGEST]
    unforced = {name: value for name, value in os.environ.items() if name != "AVTS_CPU_ISA"}
    done = subprocess.run(
        [EMULATOR, "-cpu", cpu, os.path.realpath(sys.executable), "-c", CHILD, *arguments],
        capture_output=True,
        text=True,
        env=unforced,
    )
    assert done.returncode == 0, done.stderr
    found_levels, level, digest = json.loads(done.stdout)
    assert (found_levels, level) == (levels, levels[-1])
    if level in _C.cpu_levels():
        assert digest == _digest_here(level, options)


def _digest_here(level, options):
    scope: dict = {"hashlib": hashlib}
    exec(DIGEST, scope)
    before = _C.cpu_level()
    _C.set_cpu_level(level)
    try:
        return scope["digest"](_C, options)
    finally:
        _C.set_cpu_level(before)
