"""Learning from the natural synchrony of sound and picture, for PyTorch."""

__version__ = "0.1.0"

from avts_ext._extension import build_info  # needs __version__ above
from avts_ext.losses import SyncContrastiveLoss
from avts_ext.transforms import LogMelSpectrogram

__all__ = ["LogMelSpectrogram", "SyncContrastiveLoss", "__version__", "build_info"]
