"""Counts the log-mel's instructions per frame: the same number on a busy machine as on an idle one.

    python benchmarks/count_log_mel_instructions.py

Valgrind's callgrind counts a process that calls the kernel once and one that calls it three times;
the difference belongs to two calls. At the AVX2 level, since valgrind knows no AVX-512. The kernel
is loaded without PyTorch, which would take minutes under valgrind. Fails if there is no valgrind.
"""

import json
import os
import re
import shutil
import subprocess
import sys

from avts_ext._extension import _C
from avts_ext.ops.log_mel_spec import LogMelSpec, kernel_options

# name: sample rate, n_fft, win_length, hop_length, n_mels
CONFIGS = {
    "400/400, 80 mels": (16000, 400, 400, 160, 80),
    "512/320, 40 mels": (16000, 512, 320, 160, 40),
    "512/400, 64 mels": (16000, 512, 400, 160, 64),
    "320/320, 40 mels": (16000, 320, 320, 160, 40),
    "1024/960, 40 mels, 48 kHz": (48000, 1024, 960, 480, 40),
}
ITEMS, SECONDS = 4, 2
# Valgrind counts the instruction that fills memory twice for every byte: the C library need not
# take it.
NO_REP_STOS = "glibc.cpu.x86_rep_stosb_threshold=0x7fffffff"

CHILD = """
import importlib.util, json, sys
import numpy as np
spec = importlib.util.spec_from_file_location("_C", sys.argv[1])
_C = importlib.util.module_from_spec(spec)
spec.loader.exec_module(_C)
options, items, samples, calls, direction = json.loads(sys.argv[2])
kernel = _C.LogMel(options)
x = np.ones((items, samples), np.float32)
out = np.zeros((items, options["n_mels"], kernel.frames(samples)), np.float32)
mel, grad = np.ones_like(out), np.empty_like(x)
for _ in range(calls):
    if direction == "forward":
        kernel.forward(x, None, None, -1, out, None, 1)
    else:
        kernel.backward(x, None, None, -1, mel, out, grad, 1)
"""


def instructions(valgrind: str, spec: LogMelSpec, samples: int, calls: int, direction: str) -> int:
    task = json.dumps([kernel_options(spec.key), ITEMS, samples, calls, direction])
    callgrind = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*callgrind, sys.executable, "-c", CHILD, _C.__file__, task],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "AVTS_CPU_ISA": "avx2",
            "GLIBC_TUNABLES": NO_REP_STOS,
            "PYTHONHASHSEED": "0",
        },
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def main():
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        sys.exit("valgrind is not installed: nothing was counted")
    if "avx2" not in _C.cpu_levels():
        sys.exit("this machine has no AVX2: nothing was counted")
    print("| instructions a frame, AVX2 | forward | backward |\n| --- | ---: | ---: |")
    for name, (rate, n_fft, win_length, hop_length, n_mels) in CONFIGS.items():
        spec = LogMelSpec(rate, n_fft, win_length, hop_length, n_mels=n_mels, drop_last=False)
        samples = SECONDS * rate
        cells = []
        for direction in ("forward", "backward"):
            once, thrice = (
                instructions(valgrind, spec, samples, calls, direction) for calls in (1, 3)
            )
            cells.append(f"{(thrice - once) / 2 / ITEMS / spec.frames(samples):.0f}")
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
