"""Several threads of an operator are those of PyTorch, except where these would hang."""

import subprocess
import sys

SCRIPT = """
import torch
from avts_ext import LogMelSpectrogram
from avts_ext._extension import _C

transform, waveform = LogMelSpectrogram(), torch.randn(16, 32000)
torch.set_num_threads(1)
expected = transform(waveform)
torch.set_num_threads(2)
torch.randn(1 << 20).exp()  # PyTorch's team exists
"""


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + script], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_operator_works_on_the_threads_of_pytorch():
    count = "len(__import__('os').listdir('/proc/self/task'))"
    script = f"""
before = {count}
assert torch.equal(transform(waveform), expected)
print({count} - before, _C.started_worker_threads())
"""
    assert run(script) == "0 0"


def test_two_threads_in_a_forked_child_do_not_hang():
    script = """
import os, signal
child = os.fork()
if child == 0:
    signal.alarm(60)
    equal = (transform(waveform).numpy() == expected.numpy()).all()  # PyTorch's == would hang
    os._exit(0 if equal and _C.started_worker_threads() == 1 else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(script) == "0"
