"""Features of any audio or video files, read off a frozen tower and kept on disk.

Each file gives the features of `n_clips` clips, evenly spread from its beginning to its end; they
overlap where the file is shorter than all of them together. A clip's map is reduced in two ways:

- *pooled*: mean, then maximum. Sound: over time, each frequency band by itself, 2 C m' numbers.
  Picture: over time and space, 2 C numbers.
- *flattened*: max-pooled to a coarse grid, then flattened. Sound: 4 cells in time, frequency kept,
  C m' 4 numbers. Picture: 4 in time, 2 x 2 in space, 16 C numbers.

What was computed once is found again by the content of the file, the weights of the model, the
settings, and the decode fingerprint; names and dates of files do not count.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from avts_ext._files import file_hash, write_atomically
from avts_ext.data import ClipSpec, Fault, MediaError, MediaReader, SkipReport
from avts_ext.data.fingerprint import decode_fingerprint
from avts_ext.data.probe import probe_open
from avts_ext.evaluation.inference import inference
from avts_ext.models.avts import AVTS
from avts_ext.models.pretrained import model_hash

__all__ = [
    "POOLINGS",
    "FeatureSettings",
    "Features",
    "extract_features",
    "feature_card",
    "read_clips",
    "reduce_map",
]

Tower = Literal["audio", "video"]
Pooling = Literal["pooled", "flattened"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

_FORMAT = 1
_TIME_CELLS, _SPACE_CELLS = 4, 2


@dataclass(frozen=True)
class FeatureSettings:
    """What is computed of a file.

    Attributes:
        tower: "audio" or "video".
        clip_s: length of a clip; the towers take any.
        n_clips: clips of a file.
    """

    tower: Tower = "audio"
    clip_s: float = 2.0
    n_clips: int = 10

    def __post_init__(self) -> None:
        if self.tower not in get_args(Tower):
            raise ValueError(f"tower must be one of {get_args(Tower)}, got {self.tower!r}")
        if not 0 < self.clip_s < float("inf"):
            raise ValueError(f"clip_s must be positive, got {self.clip_s}")
        if self.n_clips < 1:
            raise ValueError(f"n_clips must be at least 1, got {self.n_clips}")

    def starts_s(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """(n_clips,) starts of the clips between two moments of a file."""
        return np.linspace(start_s, end_s - self.clip_s, self.n_clips)


@dataclass(frozen=True)
class Features:
    """Features of N files with K clips each.

    Attributes:
        rows: (N,) int64, which of the paths asked for; broken files are left out.
        start_s: (N, K) float64, starts of the clips on the clocks of their files.
        pooled: (N, K, D) float32.
        flattened: (N, K, D') float32.
        skipped: the broken files.
    """

    rows: NDArray[np.int64]
    start_s: NDArray[np.float64]
    pooled: NDArray[np.float32]
    flattened: NDArray[np.float32]
    skipped: SkipReport

    def of(self, pooling: Pooling) -> NDArray[np.float32]:
        """Those of one way to reduce the maps."""
        return self.pooled if pooling == "pooled" else self.flattened

    @property
    def hash(self) -> str:
        """BLAKE2b of all features, 128 bits in hexadecimal."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.pooled, self.flattened):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def extract_features(
    model: AVTS,
    paths: Sequence[str | os.PathLike[str]],
    settings: FeatureSettings,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Features:
    """Features of files, from the cache where they were computed before.

    Args:
        model: trained or not; runs in evaluation mode on its device.
        paths: audio or video files.
        settings: what is computed.
        cache_dir: folder for what was computed; None keeps nothing.
        workers: processes that decode; 0 decodes in this one.
        progress: show a progress bar.

    Raises:
        ValueError: none of the files is usable.
        OSError: the cache cannot be written.
    """
    store = _Store(model, settings, None if cache_dir is None else Path(cache_dir))
    found: dict[int, dict[str, NDArray]] = {}
    skipped = SkipReport()
    names: dict[int, str] = {}
    for row, path in enumerate(paths):
        try:
            names[row] = store.name(path)
        except MediaError as error:
            skipped.add(error)
            continue
        if (entry := store.read(names[row])) is not None:
            found[row] = entry
    missing = [row for row in names if row not in found]
    loader = DataLoader(
        _RawClips([os.fspath(paths[row]) for row in missing], settings, model.config.clip),
        batch_size=None,
        num_workers=workers,
    )
    bar = tqdm(loader, "features", len(missing), unit="file", disable=not progress or not missing)
    with inference(model):
        for row, (start_s, clips) in zip(missing, bar, strict=True):
            if isinstance(clips, MediaError):
                skipped.add(clips)
                continue
            found[row] = {"start_s": start_s, **_features_of(model, clips, settings.tower)}
            store.write(names[row], found[row])
    if not found:
        raise ValueError(f"paths: got no usable file: {skipped}")
    rows = sorted(found)
    stacked = {name: np.stack([found[row][name] for row in rows]) for name in found[rows[0]]}
    return Features(np.array(rows), skipped=skipped, **stacked)


def reduce_map(features: Tensor, pooling: Pooling) -> Tensor:
    """The map of a tower, (B, C, m', t') or (B, C, T', h, w), to one row (B, D) per clip."""
    if features.ndim == 4:
        if pooling == "pooled":
            return torch.cat([features.mean(3).flatten(1), features.amax(3).flatten(1)], 1)
        return F.adaptive_max_pool2d(features, (features.shape[2], _TIME_CELLS)).flatten(1)
    if pooling == "pooled":
        return torch.cat([features.mean((2, 3, 4)), features.amax((2, 3, 4))], 1)
    cells = (_TIME_CELLS, _SPACE_CELLS, _SPACE_CELLS)
    return F.adaptive_max_pool3d(features, cells).flatten(1)


def _features_of(model: AVTS, clips: Tensor, tower: Tower) -> dict[str, NDArray[np.float32]]:
    clips = clips.to(next(model.parameters()).device)
    if tower == "audio":
        features = model.audio_features(model.audio_input(clips))
    else:
        features = model.video_features(model.video_input(clips))
    return {pooling: reduce_map(features, pooling).cpu().numpy() for pooling in POOLINGS}


def feature_card(model: AVTS, settings: FeatureSettings) -> dict[str, Any]:
    """All that features depend on besides the files, as JSON types."""
    return {
        "format": _FORMAT,
        "model_hash": model_hash(model),
        "settings": asdict(settings),
        "decoder": decode_fingerprint(),
    }


def read_clips(
    path: str | os.PathLike[str], settings: FeatureSettings, spec: ClipSpec
) -> tuple[NDArray[np.float64], Tensor]:
    """Starts (K,) and clips of a file, (K, S) float32 sound or (K, T, H, W, 3) uint8 picture.

    Args:
        path: the file.
        settings: which tower's input, how long, how many.
        spec: sample rate, or size of the frames and their rate.

    Raises:
        MediaError: the file is unusable, or shorter than a clip.
    """
    with MediaReader(path, tracks=settings.tower) as reader:
        info = probe_open(reader)
        # A clip fits whichever way its samples are rounded.
        sample_s = 1 / spec.sample_rate
        end_s = max(info.end_s - sample_s, info.start_s + settings.clip_s)
        if end_s > info.end_s + sample_s:
            message = f"{info.duration_s:.2f} s, clips of {settings.clip_s} s are asked for"
            raise reader.error(Fault.TOO_SHORT, message)
        starts_s = settings.starts_s(info.start_s, end_s)
        read: Callable[..., tuple[Tensor, Any]]
        if settings.tower == "audio":
            read = functools.partial(
                reader.read_audio, duration_s=settings.clip_s, sample_rate=spec.sample_rate
            )
        else:
            n_frames = max(1, round(settings.clip_s * spec.fps))
            read = functools.partial(reader.read_frames, spec=replace(spec, n_frames=n_frames))
        return starts_s, torch.stack([read(start_s)[0] for start_s in starts_s.tolist()])


class _RawClips(Dataset[tuple[NDArray, Tensor | MediaError]]):
    """What `read_clips` gives for each path, or the fault of the file in place of its clips."""

    def __init__(self, paths: Sequence[str], settings: FeatureSettings, spec: ClipSpec) -> None:
        self._paths, self._settings, self._spec = paths, settings, spec

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, item: int) -> tuple[NDArray, Tensor | MediaError]:
        try:
            return read_clips(self._paths[item], self._settings, self._spec)
        except MediaError as error:
            return np.empty(0), error


class _Store:
    """Files of features by what they were made from."""

    def __init__(self, model: AVTS, settings: FeatureSettings, folder: Path | None) -> None:
        self._folder = folder
        self._made_with = json.dumps(feature_card(model, settings), sort_keys=True)

    def name(self, path: str | os.PathLike[str]) -> str:
        """Name of the entry of a media file."""
        if self._folder is None:
            return ""
        try:
            content = file_hash(path)
        except OSError as error:
            raise MediaError(path, Fault.UNREADABLE, str(error.strerror)) from None
        key = f"{content} {self._made_with}".encode()
        return hashlib.blake2b(key, digest_size=16).hexdigest()

    def read(self, name: str) -> dict[str, NDArray] | None:
        """What was stored; None if nothing was, or if it is damaged and must be made again."""
        if self._folder is None:
            return None
        try:
            with np.load(self._path(name)) as file:
                return dict(file)
        except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, name: str, entry: dict[str, Any]) -> None:
        """Store an entry, whole or not at all."""
        if self._folder is None:
            return
        buffer = io.BytesIO()
        np.savez(buffer, **entry)
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name[:2] / f"{name}.npz"
