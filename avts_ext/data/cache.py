"""Decoded media on disk: decode a file once, then read clips at the speed of a memory map.

All frames of a file are kept, scaled, with their time stamps, and its whole waveform. Clips are cut
out by the functions that the reader uses, so they are equal bit by bit to those of `MediaReader`.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch

from avts_ext.data import timeline
from avts_ext.data.audio_blocks import AUDIO_BLOCK_S
from avts_ext.data.clips import ClipSpec, Pictures
from avts_ext.data.container import time_base_of
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.media import MediaReader
from avts_ext.data.placement import Extent
from avts_ext.data.source import ClipSource

_FORMAT = 4
_FOREVER = 2**62  # samples
_MAX_EMPTY_S = 240  # a time stamp that jumps by days must not fill the disk with silence


class CacheError(OSError):
    """The cache directory cannot be written or read."""


class CachedReader(ClipSource):
    """Clips of one media file out of its cache entry, which is made first if it is missing.

    An entry belongs to a path, size and time of change of the media file, to the frame size and
    sample rate of the clips, and to the version of the decoder. It is written under a temporary
    name and renamed, so an interrupted run leaves no entry. Only a file that decodes from
    beginning to end is cached; sound before time zero is left out.

    Args:
        path: the media file.
        cache_dir: where entries are kept; created if missing.
        spec: `height`, `width` and `sample_rate` count, and every request must have the same.

    Raises:
        MediaError: the media file cannot be decoded.
        CacheError: the entry cannot be written or read, for instance because the disk is full.
    """

    def __init__(
        self, path: str | os.PathLike[str], cache_dir: str | os.PathLike[str], spec: ClipSpec
    ) -> None:
        self.path = os.fspath(path)
        self._shape = (spec.height, spec.width, spec.sample_rate)
        entry = Path(cache_dir) / _entry_name(self.path, spec)
        if not entry.exists():
            _write_entry(self.path, entry, spec)
        try:
            clock = json.loads((entry / "clock.json").read_text())
            self._frames = np.load(entry / "frames.npy", mmap_mode="r")
            self._waveform = np.load(entry / "waveform.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise CacheError(f"{entry} is damaged, delete it: {error}") from None
        self._pts: list[int] = clock["pts"]
        self._ends: list[int] = clock["ends"]
        self._time_base = Fraction(clock["time_base"])
        self._origin = Fraction(clock["origin"])
        self._missing = np.array(clock["missing"], np.int64).reshape(-1, 2)

    def close(self) -> None:
        """Nothing to give back: memory maps close with their arrays."""

    def frames_at(self, times: Sequence[Fraction], height: int, width: int) -> Pictures:
        """See `ClipSource.frames_at`."""
        self._check_shape(height, width, self._shape[2])
        limits = timeline.display_limits(times, self._time_base, self._origin)
        first = max(bisect.bisect_right(self._pts, limits[0]) - 1, 0)
        picked = timeline.frames_on_display(self._stamped_rows(first), limits)
        timeline.check_frames_present(self.path, len(picked), times)
        frames = torch.from_numpy(self._frames[[row for _, _, row in picked]])
        return Pictures(
            frames,
            self._seconds([pts for pts, _, _ in picked]),
            self._seconds([end for _, end, _ in picked]),
        )

    def onsets(self, start: Fraction, end: Fraction) -> list[Fraction]:
        """See `ClipSource.onsets`."""
        stamps = [pts * self._time_base - self._origin for pts in self._pts]
        return timeline.seen_between(stamps, start, end, timeline.rounding(self._time_base))

    def samples(self, first: int, last: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """See `ClipSource.samples`."""
        self._check_shape(*self._shape[:2], sample_rate)
        begin, end = (min(max(n, 0), len(self._waveform)) for n in (first, last))
        out = np.zeros(last - first, np.float32)
        out[begin - first : end - first] = self._waveform[begin:end]
        return out, self._missing

    def extent(self, sample_rate: int) -> Extent:
        """See `ClipSource.extent`."""
        self._check_shape(*self._shape[:2], sample_rate)
        holes = [tuple(hole) for hole in self._missing.tolist()]
        begin = max(0, *(end for start, end in holes if start <= 0))
        end = min(start for start, end in holes if end >= len(self._waveform))
        video = tuple(p * self._time_base - self._origin for p in (self._pts[0], self._ends[-1]))
        return Extent((video[0], video[1]), video[1] - self._time_base, (begin, end))

    def _seconds(self, stamps: list[int]) -> torch.Tensor:
        found = timeline.seconds_of(stamps, self._time_base, self._origin)
        return torch.tensor(found, dtype=torch.float64)

    def _stamped_rows(self, first: int) -> Iterator[tuple[int, int, int]]:
        for row in range(first, len(self._pts)):
            yield self._pts[row], self._ends[row], row

    def _check_shape(self, *shape: int) -> None:
        if shape != self._shape:
            raise ValueError(
                f"spec asks for (height, width, sample_rate) = {shape}, "
                f"but the cache of {self.path} was opened for {self._shape}"
            )


def _entry_name(path: str, spec: ClipSpec) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        raise MediaError(path, Fault.UNREADABLE, str(error.strerror)) from None
    stamp = [os.path.abspath(path), status.st_size, status.st_mtime_ns]
    shape = [spec.height, spec.width, spec.sample_rate]
    key = json.dumps([_FORMAT, av.__version__, *stamp, *shape]).encode()
    return hashlib.blake2b(key, digest_size=16).hexdigest()


def _write_entry(path: str, entry: Path, spec: ClipSpec) -> None:
    temporary = entry.with_name(f"{entry.name}.{uuid.uuid4().hex}.tmp")
    try:
        with MediaReader(path) as reader:
            temporary.mkdir(parents=True)
            _write_arrays(reader, temporary, spec)
        _publish(temporary, entry)
    except OSError as error:
        message = f"the decoded cache {entry.parent} cannot be written: {error.strerror}"
        raise CacheError(f"{message} (while decoding {path})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, entry: Path) -> None:
    try:
        temporary.rename(entry)
    except OSError:
        if not entry.exists():  # otherwise another worker was faster, with the same content
            raise


def _write_arrays(reader: MediaReader, directory: Path, spec: ClipSpec) -> None:
    spans = _write_frames(reader, directory / "frames.npy", spec)
    waveform, missing = _whole_waveform(reader, spec.sample_rate)
    np.save(directory / "waveform.npy", waveform)
    clock = {
        "media": os.path.abspath(reader.path),
        "time_base": str(time_base_of(reader.video)),
        "origin": str(reader.origin),
        "pts": [pts for pts, _ in spans],
        "ends": [end for _, end in spans],
        "missing": missing,
    }
    (directory / "clock.json").write_text(json.dumps(clock))


def _write_frames(reader: MediaReader, path: Path, spec: ClipSpec) -> list[tuple[int, int]]:
    """Write all frames as (N, H, W, 3) uint8, one by one; their (pts, end pts)."""
    spans = []
    with path.open("wb") as file, reader.decoding(Fraction(0)):
        _write_header(file, (0, spec.height, spec.width, 3))
        for pts, end, frame in reader.frames_from(reader.video.start_time or 0):
            picture = reader.picture(frame, spec.height, spec.width)
            file.write(np.ascontiguousarray(picture).data)
            spans.append((pts, end))
        _write_header(file, (len(spans), spec.height, spec.width, 3))
    if not spans:
        raise reader.error(Fault.NO_FRAMES, "no frame of its video track can be decoded")
    return spans


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header; NumPy pads it so that its length holds for any first dimension."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _whole_waveform(
    reader: MediaReader, sample_rate: int
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The waveform from time zero on, and the ranges of samples that are missing."""
    missing = [(-_FOREVER, 0)]
    blocks: list[np.ndarray] = []
    is_last, sound_end = False, 0
    while not is_last:
        block = reader.audio_block(len(blocks), sample_rate)
        offset = len(blocks) * AUDIO_BLOCK_S * sample_rate
        missing += [(begin + offset, end + offset) for begin, end in block.missing.tolist()]
        blocks.append(block.samples)
        is_last = block.is_last
        if not block.is_empty:
            sound_end = len(blocks)
        elif (len(blocks) - sound_end) * AUDIO_BLOCK_S > _MAX_EMPTY_S:
            at_s = sound_end * AUDIO_BLOCK_S
            raise reader.error(Fault.TIMESTAMPS, f"the sound leaves off for minutes at {at_s} s")
    waveform = np.concatenate(blocks)
    return waveform, [*missing, (len(waveform), _FOREVER)]
