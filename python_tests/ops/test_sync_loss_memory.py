"""What a step takes beyond inputs and gradients grows with the rows, not with the pairs."""

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: this one's memory has been in use, and would be used again.
PROGRAM = """
import sys
from pathlib import Path
import torch
from avts_ext.ops import sync_contrastive_loss

torch.set_num_threads(2)
rows, dim = int(sys.argv[1]), 32
options = eval(sys.argv[2])

def kib(name):
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if name in x)
    return int(line.split()[1])

def step(video, audio):
    torch.autograd.grad(sync_contrastive_loss(video, audio, **options), (video, audio))

video, audio = (torch.randn(2, rows, dim) / 8).requires_grad_().unbind()
step(video[:32], audio[:32])
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = kib("VmRSS")
step(video, audio)
print(kib("VmHWM") - before)
"""


@pytest.mark.kernels("cpu")  # which the process of its own runs
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read as Linux tells it"
)
@pytest.mark.parametrize(
    "options",
    [
        {"mining": "hardest"},
        {"mining": "hardest", "k": 4},
        {"mining": "semi_hard"},
        {"mining": "all"},
        {"objective": "infonce"},
    ],
    ids=str,
)
def test_memory_grows_with_rows(options):
    rows = 8192  # a matrix of pairs would be 256 MiB, one of bytes 64
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(rows), repr(options)],
        capture_output=True,
        text=True,
        check=True,
    )
    # Packed rows and panels, gradients twice (2 MiB each pair), bytes, candidates, places.
    assert int(result.stdout) < 24 * 1024
