"""What is the CUDA kernels' own: where they work, faults that the device finds, repeatability."""

import pytest
import torch

from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.reference.log_mel import log_mel_spectrogram as reference

pytestmark = pytest.mark.kernels("cuda-on-host", "gpu")
emulated_only = pytest.mark.kernels("cuda-on-host")


def value_and_gradient(function, x, **options):
    x = x.detach().requires_grad_()
    values = function(x, **options)
    return values, torch.autograd.grad((values * values.cos()).sum(), x)[0]


# Lengths whose working memory is too large for the shared memory of any GPU, a prime among them.
@pytest.mark.parametrize("n_fft", [2**15, 8191])
def test_transforms_too_long_for_shared_memory(n_fft):
    options = {"n_fft": n_fft, "win_length": n_fft - 5, "hop_length": n_fft // 2, "eps": 1e-2}
    x = torch.randn(1, 3 * n_fft, dtype=torch.float64)
    expected = value_and_gradient(reference, x, **options)
    for found, wanted in zip(
        value_and_gradient(log_mel_spectrogram, x, **options), expected, strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"n_fft": 400, "remove_dc": True, "hop_length": 500}])
@emulated_only
def test_order_of_threads_and_place_of_memory_change_no_bit(options, monkeypatch):
    x = torch.randn(2, 5000)
    expected = value_and_gradient(log_mel_spectrogram, x, **options)
    for name, value in (("SEED", "1"), ("SEED", "2"), ("SHARED_KB", "1")):
        monkeypatch.setenv(f"CUDA_ON_HOST_{name}", value)
        found = value_and_gradient(log_mel_spectrogram, x, **options)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"lengths": [16000, 256]}, "lengths has an item that is too short for a frame"),
        ({"lengths": [16001, 256]}, "or longer than clip_length"),
        ({"starts": [0, -1], "clip_length": 900}, "starts has an item that does not lie within"),
        ({"starts": [15101, 0], "clip_length": 900}, "starts has an item that does not lie within"),
    ],
)
@emulated_only  # after a trap a GPU is of no more use to the process
def test_bad_values_are_found_on_the_device(items, message):
    items = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in items.items()}
    with pytest.raises(RuntimeError, match=f"log_mel: block .*{message}"):
        log_mel_spectrogram(torch.zeros(2, 16000), **items)
