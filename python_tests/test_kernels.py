import os
import subprocess
import sys
from pathlib import Path


def test_a_run_promised_a_gpu_fails_where_there_is_none():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--kernels", "gpu", Path(__file__).parent / "ops"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode != 0
    assert "--kernels is gpu, expected a GPU that PyTorch can use" in done.stderr
