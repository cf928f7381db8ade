import pytest
import torch
import torchvision.models.video
from torch import nn

from avts_ext.models.video import VIDEO_TOWERS, load_torchvision_weights

RESNETS = ["mc3_18", "mc2_18", "r2plus1d_18"]
TORCHVISION = ["mc3_18", "r2plus1d_18"]


def torchvision_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = getattr(torchvision.models.video, name)(weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):  # fresh statistics would hide a swapped buffer
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


def torchvision_features(model: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    x = model.stem(frames)
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
    return x


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("training", [False, True])
def test_equals_torchvision(name: str, training: bool) -> None:
    theirs = torchvision_model(name).train(training)
    ours = VIDEO_TOWERS[name]()
    load_torchvision_weights(ours, theirs.state_dict())
    ours.train(training)
    frames = torch.randn(2, 3, 5, 34, 30)
    with torch.no_grad():
        expected = torchvision_features(theirs, frames)
        torch.testing.assert_close(ours(frames), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_state_dict_has_torchvision_names_in_order(name: str) -> None:
    theirs = torchvision_model(name).state_dict()
    expected = [(key, value.shape) for key, value in theirs.items() if not key.startswith("fc.")]
    ours = VIDEO_TOWERS[name]().state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == expected


def test_torchvision_weights_of_another_network_are_refused() -> None:
    state = VIDEO_TOWERS["r2plus1d_18"]().state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        load_torchvision_weights(VIDEO_TOWERS["mc3_18"](), state)


@pytest.mark.parametrize(
    ("name", "parameters"),
    # The papers count a 400-way classifier of 512 * 400 + 400 weights on top: 11.7 M for MC3.
    [("mc3_18", 11_490_240), ("r2plus1d_18", 31_300_125), ("mc3_small", 40_304)],
)
def test_parameter_count(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in VIDEO_TOWERS[name]().parameters()) == parameters


@pytest.mark.parametrize("name", list(VIDEO_TOWERS))
@pytest.mark.parametrize(("frames", "height", "width"), [(8, 64, 48), (3, 33, 35), (1, 16, 16)])
def test_map_size_follows_the_stated_strides(
    name: str, frames: int, height: int, width: int
) -> None:
    tower = VIDEO_TOWERS[name]().eval()
    with torch.no_grad():
        features = tower(torch.randn(1, 3, frames, height, width))
    assert features.shape == (
        1,
        tower.out_channels,
        -(-frames // tower.temporal_stride),
        -(-height // tower.spatial_stride),
        -(-width // tower.spatial_stride),
    )


def test_mixed_convolution_has_no_temporal_stride_and_is_3d_in_the_right_stages() -> None:
    def temporal_kernels(name: str) -> dict[str, int]:
        tower = VIDEO_TOWERS[name]()
        stages = ("stem", "layer1", "layer2", "layer3", "layer4")
        return {
            stage: max(
                m.kernel_size[0]
                for m in tower.get_submodule(stage).modules()
                if isinstance(m, nn.Conv3d)
            )
            for stage in stages
        }

    flat = {"layer2": 1, "layer3": 1, "layer4": 1}
    assert temporal_kernels("mc3_18") == {"stem": 3, "layer1": 3, **flat}
    assert temporal_kernels("mc2_18") == {"stem": 3, "layer1": 1, **flat}
    assert VIDEO_TOWERS["mc3_18"]().temporal_stride == 1
    assert VIDEO_TOWERS["mc2_18"]().temporal_stride == 1


def test_cells_are_centred_at_their_index_times_the_stride() -> None:
    tower = VIDEO_TOWERS["mc3_small"]().eval()
    torch.manual_seed(0)
    frames = torch.randn(4, 3, 8, 64, 64, requires_grad=True)
    tower(frames)[:, :, 1, 3, 4].sum().backward()
    seen = frames.grad.abs().sum((0, 1, 2))
    rows, columns = seen.sum(1).nonzero().flatten(), seen.sum(0).nonzero().flatten()
    assert ((rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2) == (24, 32)
    assert len(rows) == len(columns) == 21  # the receptive field


@pytest.mark.parametrize("name", list(VIDEO_TOWERS))
def test_every_weight_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    tower = VIDEO_TOWERS[name]()
    tower(torch.randn(2, 3, 4, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in tower.parameters())
