"""Audio towers: 2D convolutions over the log-mel spectrogram, up to conv5.

Every tower maps a normalised log-mel (B, 1, n_mels, time), float, to its conv5 map
(B, C, m', t') and states ``out_channels`` (C). Layers are submodules (``conv1`` ...); ``conv5``
(convolution, BatchNorm, ReLU) is the one whose features are evaluated. ``pool5`` follows it on
the way to the embedding and is not part of ``forward``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["AUDIO_TOWERS", "VGG", "AudioTower", "VGGSmall"]


class AudioTower(nn.Module):
    """Normalised log-mel (B, 1, n_mels, time) to conv5 features (B, C, m', t')."""

    out_channels: int
    pool5: nn.Module


def _conv_bn_relu(
    in_channels: int, out_channels: int, stride: tuple[int, int] = (1, 1)
) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class VGG(AudioTower):
    """VGG-M style network of SyncNet (Chung and Zisserman, 2016), conv1 to conv5.

    Shapes:
        (B, 1, n_mels, time) -> (B, 256, n_mels / 4, time / 4), sizes rounded up.
    """

    out_channels = 256

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu(1, 64)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _conv_bn_relu(64, 192)
        self.pool2 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv3 = _conv_bn_relu(192, 384)
        self.conv4 = _conv_bn_relu(384, 256)
        self.conv5 = _conv_bn_relu(256, 256)
        self.pool5 = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map a normalised log-mel (B, 1, n_mels, time) to conv5 features (B, 256, m', t')."""
        x = self.pool1(self.conv1(log_mel))
        x = self.pool2(self.conv2(x))
        return self.conv5(self.conv4(self.conv3(x)))


class VGGSmall(AudioTower):
    """The same idea in 60 k parameters; it keeps 80 ms of resolution in time.

    There is no conv4: the last layer is called conv5 so that features go by one name.

    Shapes:
        (B, 1, n_mels, time) -> (B, 64, n_mels / 8, time / 8); 40 x 100 becomes 5 x 12.
    """

    out_channels = 64

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu(1, 16, stride=(2, 2))
        self.conv2 = _conv_bn_relu(16, 32, stride=(1, 2))
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = _conv_bn_relu(32, 64)
        self.pool3 = nn.MaxPool2d((2, 1))
        self.conv5 = _conv_bn_relu(64, 64)
        self.pool5 = nn.Identity()

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map a normalised log-mel (B, 1, n_mels, time) to conv5 features (B, 64, m', t')."""
        x = self.pool2(self.conv2(self.conv1(log_mel)))
        return self.conv5(self.pool3(self.conv3(x)))


AUDIO_TOWERS: dict[str, Callable[[], AudioTower]] = {"vgg": VGG, "vgg_small": VGGSmall}
