"""What is the CUDA kernels' own: repeatability, and faults that the device finds."""

import pytest
import torch

from avts_ext.ops import sync_contrastive_loss, sync_pair_loss

pytestmark = pytest.mark.kernels("cuda-on-host")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mining": "all"},
        {"objective": "triplet", "k": 3},
        {"objective": "infonce"},
        {"objective": "sigmoid"},
    ],
    ids=str,
)
def test_order_of_threads_and_blocks_changes_no_bit(options, monkeypatch):
    video, audio = torch.randn(140, 70, requires_grad=True), torch.randn(130, 70)
    ids = {"video_ids": torch.arange(140) // 3, "audio_ids": torch.arange(130) // 3}

    def loss_and_gradient():
        loss = sync_contrastive_loss(0.1 * video, 0.1 * audio, **ids, **options)
        return loss, torch.autograd.grad(loss, video)[0]

    expected = loss_and_gradient()
    for seed in ("1", "2"):
        monkeypatch.setenv("CUDA_ON_HOST_SEED", seed)
        assert all(torch.equal(a, b) for a, b in zip(loss_and_gradient(), expected, strict=True))


def test_bad_values_are_found_on_the_device():
    video, audio = torch.zeros(3, 4), torch.zeros(5, 4)
    with pytest.raises(RuntimeError, match=r"block .* temperature is not a positive number"):
        sync_contrastive_loss(video, audio, objective="infonce", temperature=torch.tensor(-1.0))
    for pair, message in (([3, 0], "names no video row"), ([0, -1], "names no audio row")):
        with pytest.raises(RuntimeError, match=f"sync_pair: block .*{message}"):
            sync_pair_loss(video, audio, torch.tensor([pair]), torch.ones(1))
