"""How exact float32 is, against float64, beside PyTorch's own float32; what memory a call takes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchaudio

from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.reference.log_mel import log_mel_spectrogram as reference

# n_fft, win_length, n_mels
SIZES = [(400, 400, 80), (512, 320, 40), (512, 400, 64), (320, 320, 40)]


def options_of(n_fft, win_length, n_mels):
    return {"n_fft": n_fft, "win_length": win_length, "n_mels": n_mels, "drop_last": False}


def relative_errors(values, exact):
    return ((values.double() - exact).abs() / exact).flatten()


def test_values_are_more_exact_than_torchaudio(cpu_level):
    """Before the logarithm, where an error is not hidden by eps."""
    x = torch.randn(16, 32000, dtype=torch.float64) * 0.1
    ours, theirs = [], []
    for size in SIZES:
        exact = reference(x, **options_of(*size), log="none")
        mel = log_mel_spectrogram(x.float(), **options_of(*size), log="none")
        n_fft, win_length, n_mels = size
        transform = torchaudio.transforms.MelSpectrogram(
            16000, n_fft, win_length, 160, n_mels=n_mels
        )
        ours.append(relative_errors(mel, exact))
        theirs.append(relative_errors(transform(x.float()), exact))
        assert ours[-1].mean() <= 3e-7
        assert ours[-1].mean() <= theirs[-1].mean()
    assert torch.cat(ours).max() <= torch.cat(theirs).max()


def gradient_errors(size):
    """By value, ours and torch's, of float32 gradients: the median and what nine in ten stay below.

    The largest errors, hence the mean, are of no use: they come from the few filters that hold
    almost no energy, where whose rounding is the luckier one changes from clip to clip.
    """
    x = torch.randn(16, 16000, dtype=torch.float64) * 0.1
    weight = torch.randn(16, size[2], 101, dtype=torch.float64)

    def gradient(function, x):
        x = x.clone().requires_grad_()
        values = function(x, **options_of(*size))
        return torch.autograd.grad((values * weight.to(x.dtype)).sum(), x)[0].double()

    exact = gradient(reference, x)
    quantiles = torch.tensor([0.5, 0.9], dtype=torch.float64)
    for function in (log_mel_spectrogram, reference):
        yield (gradient(function, x.float()) - exact).abs().flatten().quantile(quantiles)


@pytest.mark.kernels("cpu")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradient_is_as_exact_as_that_of_torch(cpu_level, size):
    ours, theirs = gradient_errors(size)
    assert (ours <= theirs).all()


@pytest.mark.kernels("cuda-on-host")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradient_of_the_cuda_kernel_is_nearly_as_exact_as_that_of_torch(size):
    """docs/cuda.md tells why it is less exact than the CPU's."""
    ours, theirs = gradient_errors(size)
    assert (ours <= 1.1 * theirs).all()


EXTRA_MEMORY = """
import re, sys
from pathlib import Path
import torch
from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.log_mel_spec import LogMelSpec

def kib(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

torch.set_num_threads(int(sys.argv[1]))
x = torch.randint(-9999, 9999, (8, 480000), dtype=torch.int16)
for name in ("avts", "whisper", "kaldi", "librosa"):
    spec = LogMelSpec.from_preset(name)
    log_mel_spectrogram(x[:, :60000], spec)  # threads, plans, their working memory
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kib("VmRSS")
    result = log_mel_spectrogram(x, spec)
    print(name, kib("VmHWM") - before - result.numel() * 4 // 1024)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is read as Linux tells it"
)
@pytest.mark.kernels("cpu")
@pytest.mark.parametrize("threads", [1, 2])
def test_little_memory_beside_the_result(threads):
    command = [sys.executable, "-c", EXTRA_MEMORY, str(threads)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    extra_kib = {name: int(kib) for name, kib in re.findall(r"(\w+) (-?\d+)", printed)}
    assert len(extra_kib) == 4
    assert max(extra_kib.values()) < 1024 * threads, extra_kib
