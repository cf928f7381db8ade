import pytest
import torch

from avts_ext.models.audio import AUDIO_TOWERS


@pytest.mark.parametrize(("name", "shape"), [("vgg", (10, 25)), ("vgg_small", (5, 12))])
def test_conv5_of_one_second(name: str, shape: tuple[int, int]) -> None:
    tower = AUDIO_TOWERS[name]().eval()
    seen: list[torch.Tensor] = []
    tower.get_submodule("conv5").register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.no_grad():
        features = tower(torch.randn(2, 1, 40, 100))
    assert features.shape == (2, tower.out_channels, *shape)
    torch.testing.assert_close(seen[0], features)


@pytest.mark.parametrize("name", list(AUDIO_TOWERS))
@pytest.mark.parametrize("frames", [16, 99, 201])
def test_other_lengths(name: str, frames: int) -> None:
    tower = AUDIO_TOWERS[name]().eval()
    with torch.no_grad():
        features = tower(torch.randn(1, 1, 40, frames))
        assert tower.pool5(features).shape[1] == tower.out_channels
    assert features.shape[3] >= frames // 8


@pytest.mark.parametrize(("name", "parameters"), [("vgg", 2_251_584), ("vgg_small", 60_400)])
def test_parameter_count(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in AUDIO_TOWERS[name]().parameters()) == parameters


@pytest.mark.parametrize("name", list(AUDIO_TOWERS))
def test_every_weight_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    tower = AUDIO_TOWERS[name]()
    tower(torch.randn(2, 1, 40, 50)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in tower.parameters())
