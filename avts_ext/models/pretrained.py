"""The towers of a trained model, each by itself, with what must be done to its input.

`load_pretrained` is the way in; `export` writes a tower for use without this package.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avts_ext.models.avts import AVTS
from avts_ext.ops.log_mel_spec import OPTION_NAMES

__all__ = ["AudioEncoder", "Pretrained", "VideoEncoder", "load_pretrained", "model_hash"]


class AudioEncoder(nn.Module):
    """Audio tower and head of a model: normalised log-mel to conv5 map and embedding.

    Attributes:
        model: an `AVTS` without its video half.
    """

    def __init__(self, model: AVTS) -> None:
        super().__init__()
        self.model = model

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What `preprocess` does, as JSON types."""
        config, spec = self.model.config, self.model.log_mel.spec
        return {
            "input": "mono waveform (B, S) in [-1, 1]",
            "sample_rate_hz": config.clip.sample_rate,
            "pretrained_on_s": config.clip.duration_s,
            "log_mel": {name: getattr(spec, name) for name in OPTION_NAMES},
            "mean": config.log_mel_mean,
            "std": config.log_mel_std,
        }

    def preprocess(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S) float to normalised log-mel (B, 1, n_mels, time)."""
        return self.model.audio_input(waveform)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised log-mel (B, 1, n_mels, time) to conv5 (B, C, m', t'), embedding (B, D)."""
        features = self.model.audio_features(log_mel)
        return features, self.model.normalize(self.model.project_audio(features))


class VideoEncoder(nn.Module):
    """Video tower and head of a model: normalised frames to the last map and embedding.

    Attributes:
        model: an `AVTS` without its audio half.
    """

    def __init__(self, model: AVTS) -> None:
        super().__init__()
        self.model = model

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What `preprocess` does and how frames are made before, as JSON types."""
        config = self.model.config
        return {
            "input": "RGB frames (B, T, H, W, 3) uint8",
            "fps": str(config.clip.fps),
            "size": "scaled to cover height x width with its proportions kept, then cut centrally",
            "height": config.clip.height,
            "width": config.clip.width,
            "pretrained_on_s": config.clip.duration_s,
            "scale": 1 / 255,
            "mean": list(config.pixel_mean),
            "std": list(config.pixel_std),
        }

    def preprocess(self, frames: Tensor) -> Tensor:
        """Frames (B, T, H, W, 3) uint8 to normalised float (B, 3, T, H, W)."""
        return self.model.video_input(frames)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised frames (B, 3, T, H, W) to the map (B, C, T', h, w), embedding (B, D)."""
        features = self.model.video_features(frames)
        return features, self.model.normalize(self.model.project_video(features))


@dataclass(frozen=True)
class Pretrained:
    """A trained model, tower by tower.

    Attributes:
        audio: of sound.
        video: of picture.
        hash: `model_hash` of the whole model.
    """

    audio: AudioEncoder
    video: VideoEncoder
    hash: str


def load_pretrained(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Pretrained:
    """The towers of a model that pretraining saved, in evaluation mode.

    ``encoder(encoder.preprocess(x))`` of either tower gives its last map and its embedding;
    ``encoder.preprocessing`` tells in words and numbers what ``preprocess`` does.

    Raises:
        OSError: the file is not there or cannot be read.
        ValueError: it is damaged or no such model; the message names the file.
    """
    of_sound, of_picture = AVTS.load(path, device), AVTS.load(path, device)
    model_id = model_hash(of_sound)
    # Each encoder owns its half alone, so that an export of one does not carry the other.
    del of_sound.video, of_sound.video_head
    del of_picture.audio, of_picture.audio_head
    return Pretrained(AudioEncoder(of_sound).eval(), VideoEncoder(of_picture).eval(), model_id)


def model_hash(model: AVTS) -> str:
    """BLAKE2b of configuration and weights, 128 bits in hexadecimal: equal for equal models."""
    digest = hashlib.blake2b(model.config.to_json().encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
