"""Modules that turn samples into network inputs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from avts_ext.ops.log_mel import log_mel_spectrogram

# "avts" is the front end of Korbar et al. (2018); "torchaudio" are the defaults of
# torchaudio.transforms.MelSpectrogram, which takes no logarithm.
PRESETS: dict[str, dict[str, Any]] = {
    "avts": {},
    "torchaudio": {
        "n_fft": 400,
        "win_length": 400,
        "hop_length": 200,
        "n_mels": 128,
        "log": "none",
        "drop_last": False,
    },
}


class LogMelSpectrogram(nn.Module):
    """:func:`avts_ext.ops.log_mel_spectrogram` as a module, with torchaudio's argument names.

    Args:
        sample_rate, n_fft, win_length, hop_length, f_min, f_max, n_mels, window, power, center,
            pad_mode, mel_scale, norm, log, eps, drop_last: see the function.

    Shape:
        (..., time) -> (..., n_mels, frames).
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        n_fft: int = 512,
        win_length: int = 320,
        hop_length: int = 160,
        f_min: float = 0.0,
        f_max: float | None = None,
        n_mels: int = 40,
        *,
        window: str = "hann",
        power: float = 2.0,
        center: bool = True,
        pad_mode: str = "reflect",
        mel_scale: str = "htk",
        norm: str | None = None,
        log: str = "ln_add",
        eps: float = 1e-6,
        drop_last: bool = True,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "sample_rate": sample_rate,
            "n_fft": n_fft,
            "win_length": win_length,
            "hop_length": hop_length,
            "f_min": f_min,
            "f_max": f_max,
            "n_mels": n_mels,
            "window": window,
            "power": power,
            "center": center,
            "pad_mode": pad_mode,
            "mel_scale": mel_scale,
            "norm": norm,
            "log": log,
            "eps": eps,
            "drop_last": drop_last,
        }

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> LogMelSpectrogram:
        """The transform "avts" or "torchaudio", with some arguments replaced.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in PRESETS:
            raise ValueError(f"name is {name!r}, expected one of: {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **overrides})

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., time) waveform to (..., n_mels, frames)."""
        return log_mel_spectrogram(waveform, **self.options)

    def extra_repr(self) -> str:
        """The arguments, as they are shown when the module is printed."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
