import pytest
import torch
from torch import nn

from avts_ext.localization.geometry import CellGrid, cell_grid, upsample
from avts_ext.models.video import VIDEO_TOWERS


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 2, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.downsample = nn.Conv3d(2, 2, 1, (1, 2, 2))

    def forward(self, x):
        return self.conv(x) + self.downsample(x)


def tower():
    return nn.Sequential(
        nn.Conv3d(3, 2, (3, 5, 5), (1, 4, 4), (1, 2, 2)),
        nn.Conv3d(2, 2, 3, (2, 1, 1), 1),
        Residual(),
        nn.MaxPool3d((1, 2, 2)),
        nn.Conv3d(2, 2, (1, 4, 3), (1, 1, 2), (0, 1, 0)),
    )


def test_chain_by_hand():
    # Up to the residual block all kernels are odd and padded by half: centres at i * stride.
    assert cell_grid(tower(), last="2") == CellGrid((2, 8, 8), (0, 0, 0))
    # The pooling looks at cells 0 and 1 (+ 4 px) and the last layer, with 16 px between cells,
    # at rows -1..2 (+ 8 px) and columns 0..2 (+ 16 px).
    assert cell_grid(tower()) == CellGrid((2, 16, 32), (0, 12, 20))


@pytest.mark.parametrize("last", [None, "0", "2", "3"])
def test_impulse_response_is_centred_where_the_grid_says(last):
    net = tower()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    frames = torch.ones(1, 3, 24, 224, 224, requires_grad=True)
    n = len(net) if last is None else int(last) + 1
    features = net[:n](frames)
    cell = tuple(size // 2 for size in features.shape[2:])
    # Max-pooling would pass the impulse to one of its equal inputs; averaging passes it to all.
    if n > 3:
        net[3] = nn.AvgPool3d((1, 2, 2))
        features = net[:n](frames)
    (response,) = torch.autograd.grad(features[(0, 0, *cell)], frames)
    grid = cell_grid(net, last)
    for axis in range(3):
        others = tuple(k for k in range(5) if k != axis + 2)
        weight = response.sum(others)
        centre = (weight * torch.arange(len(weight))).sum() / weight.sum()
        assert centre.item() == pytest.approx(grid.first[axis] + grid.stride[axis] * cell[axis])


@pytest.mark.parametrize("name", VIDEO_TOWERS)
def test_towers_are_centred_as_they_say(name):
    net = VIDEO_TOWERS[name]()
    space = net.spatial_stride
    assert cell_grid(net) == CellGrid((net.temporal_stride, space, space), (0, 0, 0))


def test_upsampling_puts_cells_at_their_pixels():
    maps = torch.zeros(2, 3, 3)
    maps[1, 1, 2] = 1
    picture = upsample(maps, CellGrid((1, 4, 2), (0, 1, 2)), (12, 8))
    assert picture.shape == (2, 12, 8) and (picture[0] == 0).all()
    # Row cell 1 is at pixel 1 + 4; column cell 2 at 2 + 2 * 2, and continues to the right.
    assert picture[1, :, 6].tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0, 0, 0]
    assert picture[1, 5].tolist() == [0, 0, 0, 0, 0, 0.5, 1, 1]


def test_rejects():
    with pytest.raises(ValueError, match="last"):
        cell_grid(tower(), "layer9")
    with pytest.raises(ValueError, match="no 3D layer"):
        cell_grid(nn.Linear(2, 2))
