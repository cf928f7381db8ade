"""The two-tower model: raw frames and raw waveform in, two embeddings of equal width out."""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from avts_ext._files import write_atomically
from avts_ext.data.clips import ClipSpec
from avts_ext.data.fingerprint import clips_hash
from avts_ext.models.audio import AUDIO_TOWERS
from avts_ext.models.video import VIDEO_TOWERS
from avts_ext.ops.log_mel_spec import OPTION_NAMES
from avts_ext.transforms import LogMelSpectrogram

NORMALIZATIONS = ("l2", "half_l2", "batch", "none")
POOLINGS = ("max", "avg")

_METADATA_KEY = "avts_config"
_CLIPS_KEY = "decoded_clips"  # what known clips decode to where the model was saved


@dataclass(frozen=True)
class AVTSConfig:
    """Everything needed to build the model again; stored with its weights.

    A field that a file lacks, because it is older than the field, has its default: the default of
    a new field must be what models did before it.

    Attributes:
        video_tower: key of `VIDEO_TOWERS`.
        audio_tower: key of `AUDIO_TOWERS`.
        embedding_dim: width D of both embeddings.
        hidden_dim: channels of the hidden layer of both heads.
        time_steps: steps kept in time; each makes D / time_steps dimensions of the embedding.
        pooling: "max" or "avg", over space or frequency and within each of those steps. The paper's
            global average is "avg" with one time step.
        normalization: "l2" (length 1), "half_l2" (length 1/2), "batch" (zero mean and variance 1/D
            in each dimension over the batch) or "none". Without any, margin training collapses.
        clip: what a clip is, in frames, pixels and samples.
        log_mel: arguments of `LogMelSpectrogram` that differ from its preset "avts".
        log_mel_mean: subtracted from the log-mel spectrogram; the default fits the generated world.
        log_mel_std: then divided by.
        pixel_mean: of red, green, blue, in [0, 1].
        pixel_std: likewise.
    """

    video_tower: str = "mc3_small"
    audio_tower: str = "vgg_small"
    embedding_dim: int = 128
    hidden_dim: int = 128
    time_steps: int = 4
    pooling: str = "max"
    normalization: str = "l2"
    clip: ClipSpec = field(default_factory=ClipSpec)
    log_mel: dict[str, Any] = field(default_factory=dict)
    log_mel_mean: float = -2.8
    log_mel_std: float = 2.4
    pixel_mean: tuple[float, float, float] = (0.4, 0.4, 0.4)
    pixel_std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        _check_choice("video_tower", self.video_tower, VIDEO_TOWERS)
        _check_choice("audio_tower", self.audio_tower, AUDIO_TOWERS)
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("normalization", self.normalization, NORMALIZATIONS)
        for name in ("embedding_dim", "hidden_dim", "time_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.embedding_dim % self.time_steps:
            raise ValueError(
                f"embedding_dim must be a multiple of time_steps = {self.time_steps}, "
                f"got {self.embedding_dim}"
            )
        if not isinstance(self.log_mel, dict) or set(self.log_mel) - set(OPTION_NAMES):
            raise ValueError(
                f"log_mel must be a dict of arguments among {', '.join(OPTION_NAMES)}, "
                f"got {self.log_mel!r}"
            )
        if self.log_mel.get("sample_rate", self.clip.sample_rate) != self.clip.sample_rate:
            raise ValueError(
                f"log_mel sample_rate must be that of clip, {self.clip.sample_rate} Hz, "
                f"got {self.log_mel['sample_rate']}"
            )
        if min(self.log_mel_std, *self.pixel_std) <= 0:
            raise ValueError(
                "log_mel_std and pixel_std must be positive, "
                f"got {self.log_mel_std} and {self.pixel_std}"
            )

    def to_json(self) -> str:
        """The configuration as a JSON object; `fps` is a string such as "30000/1001"."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> AVTSConfig:
        """The configuration that `to_json` wrote, now or when there were fewer fields.

        Raises:
            ValueError: it is no JSON object, a key is unknown, or a value out of range.
            TypeError: a value has the wrong type.
        """
        values = _json_object("configuration", json.loads(text), cls)
        if "clip" in values:
            values["clip"] = ClipSpec(**_json_object("clip", values["clip"], ClipSpec))
        for name in {"pixel_mean", "pixel_std"} & set(values):
            values[name] = tuple(values[name])
        return cls(**values)


class AVTS(nn.Module):
    """Video tower, audio tower, and a head on each that ends in a joint embedding space.

    The towers' maps are pooled over space (over frequency), but by default keep four time steps:
    pooling all of the time would throw away the timing that the two towers must agree on.
    Dimension d of an embedding belongs to time step d % time_steps. Clips of any length will do.

    `embed_video` and `embed_audio` go all the way; the methods before them are its stages.

    Args:
        config: the architecture and its inputs.
    """

    def __init__(self, config: AVTSConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMelSpectrogram.from_preset(
            "avts", **{"sample_rate": config.clip.sample_rate, **config.log_mel}
        )
        self.log_mel(torch.zeros(1, config.clip.n_samples, device="cpu"))  # refuses bad arguments
        self.video = VIDEO_TOWERS[config.video_tower]()
        self.audio = AUDIO_TOWERS[config.audio_tower]()
        self.video_head = _head(self.video.out_channels, config)
        self.audio_head = _head(self.audio.out_channels, config)
        # Frames arrive with channels last in memory, and convolutions on a CPU are fastest so.
        self.video.to(memory_format=torch.channels_last_3d)
        self.audio.to(memory_format=torch.channels_last)
        self.register_buffer("_pixel_mean", torch.tensor(config.pixel_mean), persistent=False)
        self.register_buffer("_pixel_std", torch.tensor(config.pixel_std), persistent=False)

    def video_input(self, frames: Tensor) -> Tensor:
        """Frames (B, T, H, W, 3) uint8 to normalised float (B, 3, T, H, W), channels last."""
        if frames.dtype != torch.uint8:
            raise TypeError(f"frames must be uint8, got {frames.dtype}")
        if frames.ndim != 5 or frames.shape[4] != 3:
            raise ValueError(f"frames must be (B, T, H, W, 3), got {tuple(frames.shape)}")
        mean, std = 255 * self.get_buffer("_pixel_mean"), 255 * self.get_buffer("_pixel_std")
        width = frames.shape[3]
        # Whole rows at once: arithmetic along an axis of three channels is ten times slower.
        x = frames.flatten(3).float().sub_(mean.repeat(width)).div_(std.repeat(width))
        return x.unflatten(3, (width, 3)).permute(0, 4, 1, 2, 3)

    def audio_input(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S) float to normalised log-mel (B, 1, n_mels, time)."""
        if waveform.ndim != 2:
            raise ValueError(f"waveform must be (B, S), got {tuple(waveform.shape)}")
        log_mel = (self.log_mel(waveform) - self.config.log_mel_mean) / self.config.log_mel_std
        return log_mel.unsqueeze(1)

    def video_features(self, frames: Tensor) -> Tensor:
        """Normalised frames (B, 3, T, H, W) to the last map (B, C, T', h, w)."""
        return self.video(frames)

    def audio_features(self, log_mel: Tensor) -> Tensor:
        """Normalised log-mel (B, 1, n_mels, time) to the conv5 map (B, C, m', t')."""
        return self.audio(log_mel)

    def project_video(self, features: Tensor) -> Tensor:
        """The video map (B, C, T', h, w) to an embedding (B, D) before `normalize`."""
        pool = F.max_pool3d if self.config.pooling == "max" else F.avg_pool3d
        return self.video_head(pool(features, (1, *features.shape[3:])).flatten(2))

    def project_audio(self, features: Tensor) -> Tensor:
        """The conv5 map (B, C, m', t') to an embedding (B, D) before `normalize`."""
        features = self.audio.pool5(features)
        pool = F.max_pool2d if self.config.pooling == "max" else F.avg_pool2d
        return self.audio_head(pool(features, (features.shape[2], 1)).squeeze(2))

    def normalize(self, embedding: Tensor) -> Tensor:
        """The last step, (B, D) to (B, D), which looks at one row at a time.

        With `normalization="batch"` it does nothing: batch statistics differ between the towers,
        so that normalisation belongs to the heads.
        """
        if self.config.normalization in ("batch", "none"):
            return embedding
        length = 1.0 if self.config.normalization == "l2" else 0.5
        return F.normalize(embedding, dim=1) * length

    def embed_video(self, frames: Tensor) -> Tensor:
        """Frames (B, T, H, W, 3) uint8 to embeddings (B, D)."""
        features = self.video_features(self.video_input(frames))
        return self.normalize(self.project_video(features))

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Waveform (B, S) float to embeddings (B, D)."""
        features = self.audio_features(self.audio_input(waveform))
        return self.normalize(self.project_audio(features))

    def forward(self, frames: Tensor, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of frames (B, T, H, W, 3) uint8 and of a waveform (B', S)."""
        return self.embed_video(frames), self.embed_audio(waveform)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and configuration to one safetensors file, whole or not at all."""
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        facts = {_METADATA_KEY: self.config.to_json(), _CLIPS_KEY: clips_hash()}
        write_atomically(Path(path), _with_sorted_facts(save(state, facts)))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> AVTS:
        """The model that `save` wrote, in evaluation mode.

        Warns if media are decoded otherwise here than where it was saved.

        Raises:
            OSError: the file is not there or cannot be read.
            ValueError: it is damaged, was not written by `save`, or its configuration or weights
                are not those of this model; the message names the file and what is wrong.
        """
        path = os.fspath(path)
        facts, state = _read_saved(path)
        if facts.get(_CLIPS_KEY, clips_hash()) != clips_hash():
            message = "was saved where known clips decode to other pictures or sound than here"
            warnings.warn(f"{path} {message}", stacklevel=2)
        try:
            model = cls(AVTSConfig.from_json(facts[_METADATA_KEY]))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} holds an unusable configuration: {error}") from None
        try:
            model.load_state_dict(state)
        except RuntimeError as error:  # PyTorch lists what does not fit, over many lines
            problem = " ".join(str(error).split())
            raise ValueError(f"{path} does not fit its configuration: {problem}") from None
        return model.to(device).eval()


def _with_sorted_facts(saved: bytes) -> bytes:
    """The same file with its metadata sorted: safetensors gives them another order every time."""
    size = int.from_bytes(saved[:8], "little")
    header = json.loads(saved[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + saved[8 + size :]


def _read_saved(path: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Configuration and other facts, and weights, in a file that `AVTS.save` wrote."""
    with open(path, "rb"):
        pass  # Python's errors name the file, those of safetensors do not
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from None
    if _METADATA_KEY not in facts:
        raise ValueError(f"{path} was not written by AVTS.save: it holds no configuration")
    return facts, state


def _json_object(name: str, values: Any, kind: type) -> dict[str, Any]:
    """`values` if it is an object with no other keys than the fields of the dataclass `kind`."""
    known = [field.name for field in fields(kind)]
    if not isinstance(values, dict):
        raise ValueError(f"the {name} must be a JSON object, got {values!r}")
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"the {name} has the unknown key {', '.join(map(repr, unknown))}")
    return values


class _BatchNormalization(nn.BatchNorm1d):
    """Zero mean and variance 1/D in each of D dimensions, so that rows have length about 1."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, affine=False)

    def forward(self, embedding: Tensor) -> Tensor:
        return super().forward(embedding) / math.sqrt(self.num_features)


def _head(in_channels: int, config: AVTSConfig) -> nn.Sequential:
    """Layers from a map pooled to (B, C, t) to an embedding (B, D): the same MLP at every step."""
    pool_time = nn.AdaptiveMaxPool1d if config.pooling == "max" else nn.AdaptiveAvgPool1d
    layers: list[nn.Module] = [
        pool_time(config.time_steps),
        nn.Conv1d(in_channels, config.hidden_dim, 1),
        nn.ReLU(),
        nn.Conv1d(config.hidden_dim, config.embedding_dim // config.time_steps, 1),
        nn.Flatten(),
    ]
    if config.normalization == "batch":
        layers.append(_BatchNormalization(config.embedding_dim))
    return nn.Sequential(*layers)


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
