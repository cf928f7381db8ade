"""Modules that turn samples into network inputs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.log_mel_spec import OPTION_NAMES, PRESETS, LogMelSpec

__all__ = ["PRESETS", "LogMelSpectrogram"]

# torchaudio.transforms.MelSpectrogram takes these by position.
_POSITIONAL = ("sample_rate", "n_fft", "win_length", "hop_length", "f_min", "f_max", "n_mels")


class LogMelSpectrogram(nn.Module):
    """:func:`avts_ext.ops.log_mel_spectrogram` as a module, with torchaudio's argument names.

    Args:
        positional: sample_rate, n_fft, win_length, hop_length, f_min, f_max, n_mels.
        options: these and all others of :class:`avts_ext.ops.log_mel_spec.LogMelSpec`.

    Shape:
        (..., time) -> (..., n_mels, frames).
    """

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__()
        if len(positional) > len(_POSITIONAL):
            raise TypeError(
                f"{len(positional)} positional arguments, expected at most {len(_POSITIONAL)}: "
                f"{', '.join(_POSITIONAL)}"
            )
        named = dict(zip(_POSITIONAL, positional, strict=False))
        if twice := named.keys() & options.keys():
            raise TypeError(f"{', '.join(sorted(twice))} given twice, by position and by name")
        self.spec = LogMelSpec(**named, **options)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> LogMelSpectrogram:
        """The transform of a preset, one of :data:`PRESETS`, with some options replaced.

        Raises:
            ValueError: there is no such preset, or an option is out of its range.
        """
        spec = LogMelSpec.from_preset(name, **overrides)
        return cls(**{name: getattr(spec, name) for name in OPTION_NAMES})

    def forward(
        self,
        waveform: Tensor,
        *,
        starts: Tensor | None = None,
        lengths: Tensor | None = None,
        clip_length: int | None = None,
    ) -> Tensor:
        """(..., time) waveform to (..., n_mels, frames); see the function for the others."""
        return log_mel_spectrogram(
            waveform, self.spec, starts=starts, lengths=lengths, clip_length=clip_length
        )

    def extra_repr(self) -> str:
        """The options that differ from their defaults, as shown when the module is printed."""
        ours, default = self.spec, LogMelSpec()
        changed = [name for name in OPTION_NAMES if getattr(ours, name) != getattr(default, name)]
        return ", ".join(f"{name}={getattr(ours, name)!r}" for name in changed)
