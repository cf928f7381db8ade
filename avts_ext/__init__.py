"""Learning from the natural synchrony of sound and picture, for PyTorch."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

from avts_ext._extension import build_info  # needs __version__ above
from avts_ext.losses import SyncContrastiveLoss
from avts_ext.transforms import LogMelSpectrogram

__all__ = [
    "LogMelSpectrogram",
    "SyncContrastiveLoss",
    "__version__",
    "build_info",
    "load_pretrained",
]


def __getattr__(name: str) -> Any:
    """`load_pretrained` on first use: models need PyAV, without which the rest must import."""
    if name != "load_pretrained":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from avts_ext.models.pretrained import load_pretrained

    return load_pretrained
