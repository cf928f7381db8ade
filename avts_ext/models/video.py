"""Video towers: 3D ResNet-18 variants, and a small one that trains on one CPU core.

Every tower maps normalised frames (B, 3, T, H, W), float, to a feature map (B, C, T', h, w) and
says what it did to the axes: ``out_channels`` (C), ``temporal_stride`` (T / T') and
``spatial_stride`` (H / h). All kernels are odd and padded by half, so cell ``i`` of a map is
centred at input pixel ``i * spatial_stride``. Stages are submodules (``stem``, ``layer1``, ...).

Source: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", 2018.
The ResNets have the state_dict of torchvision's ``mc3_18`` and ``r2plus1d_18`` without ``fc``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor, nn

__all__ = ["VIDEO_TOWERS", "MC3Small", "VideoResNet", "VideoTower", "load_torchvision_weights"]

Triple = tuple[int, int, int]


class VideoTower(nn.Module):
    """Normalised frames (B, 3, T, H, W) to features (B, C, T', h, w)."""

    out_channels: int
    temporal_stride: int
    spatial_stride: int


def _conv(in_channels: int, out_channels: int, kernel: Triple, stride: Triple) -> nn.Conv3d:
    """Convolution that keeps cell i over pixel i * stride; the bias is left to the BatchNorm."""
    padding = cast(Triple, tuple(size // 2 for size in kernel))
    conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _conv_bn_relu(
    in_channels: int, out_channels: int, kernel: Triple, stride: Triple = (1, 1, 1)
) -> list[nn.Module]:
    conv = _conv(in_channels, out_channels, kernel, stride)
    return [conv, nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)]


def _full(in_channels: int, out_channels: int, _middle: int, stride: int) -> nn.Module:
    """3x3x3 convolution."""
    return _conv(in_channels, out_channels, (3, 3, 3), (stride, stride, stride))


def _spatial(in_channels: int, out_channels: int, _middle: int, stride: int) -> nn.Module:
    """1x3x3 convolution: each frame by itself, no stride in time."""
    return _conv(in_channels, out_channels, (1, 3, 3), (1, stride, stride))


def _factored(in_channels: int, out_channels: int, middle: int, stride: int) -> nn.Module:
    """(2+1)D convolution: 1x3x3, then 3x1x1."""
    return nn.Sequential(
        *_conv_bn_relu(in_channels, middle, (1, 3, 3), (1, stride, stride)),
        _conv(middle, out_channels, (3, 1, 1), (stride, 1, 1)),
    )


ConvBuilder = Callable[[int, int, int, int], nn.Module]


class _BasicBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, conv: ConvBuilder, stride: int) -> None:
        super().__init__()
        # Width at which a (2+1)D block has as many weights as the 3x3x3 block it replaces.
        middle = in_channels * out_channels * 27 // (in_channels * 9 + out_channels * 3)
        self.conv1 = nn.Sequential(
            conv(in_channels, out_channels, middle, stride),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            conv(out_channels, out_channels, middle, 1), nn.BatchNorm3d(out_channels)
        )
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1:
            time_stride = 1 if conv is _spatial else stride
            self.downsample = nn.Sequential(
                _conv(in_channels, out_channels, (1, 1, 1), (time_stride, stride, stride)),
                nn.BatchNorm3d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.conv1(x)) + shortcut)


class VideoResNet(VideoTower):
    """ResNet-18 over space and time, up to the last feature map.

    Args:
        stem: layers before the first stage, from 3 to 64 channels, spatial stride 2.
        convs: for each of the four stages, how a block builds its convolutions.

    Shapes:
        (B, 3, T, H, W) -> (B, 512, T / temporal_stride, H / 16, W / 16), sizes rounded up.
    """

    out_channels = 512
    spatial_stride = 16

    def __init__(self, stem: list[nn.Module], convs: list[ConvBuilder]) -> None:
        super().__init__()
        self.temporal_stride = 2 ** sum(conv is not _spatial for conv in convs[1:])
        self.stem = nn.Sequential(*stem)
        self.layer1 = self._stage(64, 64, convs[0], stride=1)
        self.layer2 = self._stage(64, 128, convs[1], stride=2)
        self.layer3 = self._stage(128, 256, convs[2], stride=2)
        self.layer4 = self._stage(256, 512, convs[3], stride=2)

    @staticmethod
    def _stage(
        in_channels: int, out_channels: int, conv: ConvBuilder, stride: int
    ) -> nn.Sequential:
        return nn.Sequential(
            _BasicBlock(in_channels, out_channels, conv, stride),
            _BasicBlock(out_channels, out_channels, conv, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map normalised frames (B, 3, T, H, W) to features (B, 512, T', h, w)."""
        x = self.layer1(self.stem(frames))
        return self.layer4(self.layer3(self.layer2(x)))


class MC3Small(VideoTower):
    """Four mixed convolutions for 64-pixel clips; 40 k parameters.

    3D in the first two layers, 2D in the third. The last is 1x1, which widens no receptive
    field: a cell of the 8-pixel grid sees 21 pixels, so maps used for localization stay sharp.

    Shapes:
        (B, 3, T, H, W) -> (B, 64, T / 2, H / 8, W / 8), sizes rounded up.
    """

    out_channels = 64
    temporal_stride = 2
    spatial_stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn_relu(3, 16, (3, 5, 5), (1, 4, 4)))
        self.layer1 = nn.Sequential(*_conv_bn_relu(16, 32, (3, 3, 3), (2, 1, 1)))
        self.layer2 = nn.Sequential(*_conv_bn_relu(32, 64, (1, 3, 3), (1, 2, 2)))
        self.layer3 = nn.Sequential(*_conv_bn_relu(64, 64, (1, 1, 1)))

    def forward(self, frames: Tensor) -> Tensor:
        """Map normalised frames (B, 3, T, H, W) to features (B, 64, T', h, w)."""
        return self.layer3(self.layer2(self.layer1(self.stem(frames))))


def _mc3_18() -> VideoResNet:
    stem = _conv_bn_relu(3, 64, (3, 7, 7), (1, 2, 2))
    return VideoResNet(stem, [_full, _spatial, _spatial, _spatial])


def _mc2_18() -> VideoResNet:
    stem = _conv_bn_relu(3, 64, (3, 7, 7), (1, 2, 2))
    return VideoResNet(stem, [_spatial] * 4)


def _r2plus1d_18() -> VideoResNet:
    stem = [*_conv_bn_relu(3, 45, (1, 7, 7), (1, 2, 2)), *_conv_bn_relu(45, 64, (3, 1, 1))]
    return VideoResNet(stem, [_factored] * 4)


VIDEO_TOWERS: dict[str, Callable[[], VideoTower]] = {
    "mc3_18": _mc3_18,
    "mc2_18": _mc2_18,
    "r2plus1d_18": _r2plus1d_18,
    "mc3_small": MC3Small,
}


def load_torchvision_weights(tower: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a torchvision video ResNet checkpoint into a tower.

    Args:
        tower: ``mc3_18`` or ``r2plus1d_18``.
        state: state_dict of the torchvision model of the same name. Its action classifier
            (``fc.weight``, ``fc.bias``) has no place here and is left out.

    Raises:
        RuntimeError: a weight other than ``fc`` is missing, unknown, or of another shape.
    """
    tower.load_state_dict({k: v for k, v in state.items() if k not in ("fc.weight", "fc.bias")})
