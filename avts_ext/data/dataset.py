"""Clips and their negatives for training, each a function of (seed, epoch, item) alone."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avts_ext.data.cache import CachedReader
from avts_ext.data.clips import ClipSpec
from avts_ext.data.draws import hash64
from avts_ext.data.entries import MediaEntry, MediaTable
from avts_ext.data.faults import Fault, MediaError, SkipReport, TooManyBrokenFilesError
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import probe
from avts_ext.data.readers import ReaderPool
from avts_ext.data.source import ClipSource
from avts_ext.data.workers import ReadingBoard
from avts_ext.ops.clip_offset import ClipStarts, PairKind

# Keep these draws apart from others made from the same seed and epoch.
_REPLACEMENT, _EASY_NEGATIVE = 2, 3
_MAX_REPLACEMENTS = 16
_OPEN_FILES, _OPEN_ENTRIES = 16, 1024

Proportions = Mapping[str, float]


def easy_only(epoch: int) -> Proportions:
    """The plainest policy: every negative is the sound of another medium."""
    return {"easy": 1.0}


@dataclass(frozen=True)
class SyncItem:
    """A clip in sync and, if the draw says so, sound from elsewhere in the same medium.

    Attributes:
        frames: (T, H, W, 3) uint8.
        waveform: (S,) float32, in sync with the frames.
        media_id: of the medium.
        start_s: of the clip, on the file's clock.
        kind: EASY, HARD or SUPER_HARD.
        negative_waveform: (S,) float32 for a hard or super-hard negative, else None.
        negative_start_s: its start on the file's clock, else None.
        easy_draw: random integer that picks the negative of an easy item out of its batch.
        skipped: broken files in whose place this item stands.
    """

    frames: Tensor
    waveform: Tensor
    media_id: int
    start_s: float
    kind: PairKind
    negative_waveform: Tensor | None
    negative_start_s: float | None
    easy_draw: int
    skipped: tuple[MediaError, ...]


@dataclass(frozen=True)
class Batch:
    """B clips in sync, and H more stretches of sound as hard negatives.

    Attributes:
        frames: (B, T, H, W, 3) uint8.
        waveforms: (B + H, S) float32; row i < B is in sync with clip i.
        video_ids: (B,) int64 media ids.
        audio_ids: (B + H,) int64 media ids.
        video_start_s: (B,) float64 on the clocks of the files.
        audio_start_s: (B + H,) float64, likewise.
        negative_row: (B,) int64; row of `waveforms` that is the negative of clip i.
        kinds: (B,) int8 `PairKind` of that negative.
        skipped: broken files met while the batch was made.
    """

    frames: Tensor
    waveforms: Tensor
    video_ids: Tensor
    audio_ids: Tensor
    video_start_s: Tensor
    audio_start_s: Tensor
    negative_row: Tensor
    kinds: Tensor
    skipped: tuple[MediaError, ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the data loader calls this."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: function(v) for name, v in values.items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


class SyncClipDataset(Dataset[SyncItem]):
    """Maps a key (epoch, item) to a clip of medium `item` and its negative.

    Video and audio starts come from `avts_ext.ops.ClipStarts`: a function of seed, epoch
    and media id, whatever the number of workers, the order of the keys or the other items.
    A broken file is replaced by another medium, chosen likewise, and reported in the item.

    Attributes:
        entries: the media.
        spec: shape of the clips.
        board: what each worker is reading.

    Args:
        entries: the media, from `open_index`.
        spec: shape of the clips.
        seed: of the whole run.
        negatives: proportions of "easy", "hard" and "super_hard" negatives in an epoch.
        min_gap_s: least distance in seconds, edge to edge, between a clip and its hard negative.
        snap_s: if given, clips start at whole multiples of this after the start of the medium.
        cache_dir: if given, media are decoded once and kept there.
        max_open_readers: media that each worker keeps ready; by default 16 open files, or 1024
            cache entries, which hold no file open.

    Raises:
        ValueError: there are no entries, two share an id, or one has a stretch shorter than a clip.
    """

    def __init__(
        self,
        entries: Sequence[MediaEntry],
        spec: ClipSpec,
        seed: int,
        negatives: Callable[[int], Proportions] = easy_only,
        *,
        min_gap_s: float = 0.5,
        snap_s: float | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        max_open_readers: int | None = None,
    ) -> None:
        entries = entries if isinstance(entries, MediaTable) else MediaTable(entries)
        _check_entries(entries, spec)
        self.entries = entries
        self.spec = spec
        self._seed = seed
        self._negatives = negatives
        self._starts = ClipStarts.in_seconds(
            torch.from_numpy(entries.durations_s()),
            clip_s=spec.duration_s,
            media_ids=torch.from_numpy(entries.media_ids),
            valid_s=list(entries.relative_spans_s()),
            min_gap_s=min_gap_s,
            snap_s=snap_s,
        )
        capacity = max_open_readers or (_OPEN_FILES if cache_dir is None else _OPEN_ENTRIES)
        self.board = ReadingBoard()
        self._excluded: set[int] = set()
        self._readers = ReaderPool(
            functools.partial(open_source, cache_dir=cache_dir, spec=spec), capacity
        )

    def __len__(self) -> int:
        """Media, hence items in an epoch."""
        return len(self.entries)

    def exclude(self, item: int) -> None:
        """Have a medium that killed its worker count as broken, in workers yet to be started."""
        self._excluded.add(item)

    def __getitem__(self, key: tuple[int, int]) -> SyncItem:
        """The item of a key (epoch, item).

        Raises:
            TooManyBrokenFilesError: many media in a row are broken.
            CacheError: the cache cannot be written or read.
        """
        epoch, item = key
        skipped: list[MediaError] = []
        for attempt in range(_MAX_REPLACEMENTS):
            entry = self._entry_at(epoch, item, attempt)
            try:
                return self._read(epoch, entry, attempt, tuple(skipped))
            except MediaError as error:
                path = self.entries[entry].path
                skipped.append(MediaError(path, error.fault, error.message))
        report = SkipReport()
        report.update(skipped)
        raise TooManyBrokenFilesError(f"{_MAX_REPLACEMENTS} media in a row are broken.\n{report}")

    def _file(self, item: int) -> str:
        """Path under which a medium can be opened now."""
        return self.entries[item].path

    def _peers(self, item: int) -> Sequence[int] | np.ndarray:
        """Items that may stand in for a broken one, itself among them."""
        return range(len(self.entries))

    def _entry_at(self, epoch: int, item: int, attempt: int) -> int:
        """Index of the entry to read: the item's own, or its replacement after `attempt` faults."""
        if attempt == 0:
            return item
        media_id, peers = self.entries[item].media_id, self._peers(item)
        draw = int(hash64(_REPLACEMENT, self._seed, epoch, media_id, attempt))
        return int(peers[draw % len(peers)])

    def _read(self, epoch: int, index: int, draw: int, skipped: tuple[MediaError, ...]) -> SyncItem:
        path = self._file(index)
        if index in self._excluded:
            raise MediaError(path, Fault.CRASH, "a data worker died while it was reading this file")
        try:
            with self.board.reading(index):
                return self._cut(self._readers.get(path), epoch, index, draw, skipped)
        except MediaError as error:
            self._readers.discard(path)
            raise _diagnosed(error, path, self.entries[index]) from None

    def _cut(
        self,
        reader: ClipSource,
        epoch: int,
        index: int,
        draw: int,
        skipped: tuple[MediaError, ...],
    ) -> SyncItem:
        entry = self.entries[index]
        # A replacement takes a later draw: its medium may also be met as an item of its own.
        offsets = self._starts.draw(
            torch.tensor([index]),
            seed=self._seed,
            epoch=epoch,
            first_draw=draw,
            proportions=self._negatives(epoch),
        )
        start_s = entry.start_s + offsets.video_start.item()
        kind = PairKind(int(offsets.kind))
        clip = reader.read_clip(start_s, self.spec)
        negative, negative_start_s = None, None
        if kind in (PairKind.HARD, PairKind.SUPER_HARD):
            negative_start_s = entry.start_s + offsets.audio_start.item()
            negative, _ = reader.read_audio(
                negative_start_s, self.spec.duration, self.spec.sample_rate
            )
        easy_draw = int(hash64(_EASY_NEGATIVE, self._seed, epoch, entry.media_id, draw) >> 1)
        return SyncItem(
            clip.frames,
            clip.waveform,
            entry.media_id,
            start_s,
            kind,
            negative,
            negative_start_s,
            easy_draw,
            skipped,
        )


def collate(items: Sequence[SyncItem]) -> Batch:
    """Stack items into a `Batch`.

    The negative of an easy item is the sound in sync with a clip of another medium of the batch.

    Raises:
        ValueError: an item needs an easy negative and the batch has no other medium.
    """
    ids = [item.media_id for item in items]
    waveforms = [item.waveform for item in items]
    audio_ids, audio_start_s = list(ids), [item.start_s for item in items]
    negative_row = []
    for item in items:
        if item.negative_waveform is None or item.negative_start_s is None:
            negative_row.append(_other_row(item, ids))
        else:
            negative_row.append(len(waveforms))
            waveforms.append(item.negative_waveform)
            audio_ids.append(item.media_id)
            audio_start_s.append(item.negative_start_s)
    return Batch(
        frames=torch.stack([item.frames for item in items]),
        waveforms=torch.stack(waveforms),
        video_ids=torch.tensor(ids, dtype=torch.int64),
        audio_ids=torch.tensor(audio_ids, dtype=torch.int64),
        video_start_s=torch.tensor([item.start_s for item in items], dtype=torch.float64),
        audio_start_s=torch.tensor(audio_start_s, dtype=torch.float64),
        negative_row=torch.tensor(negative_row, dtype=torch.int64),
        kinds=torch.tensor([item.kind for item in items], dtype=torch.int8),
        skipped=tuple(error for item in items for error in item.skipped),
    )


def open_source(
    path: str, *, cache_dir: str | os.PathLike[str] | None, spec: ClipSpec
) -> ClipSource:
    """A medium's cache entry if there is a cache, else the file itself.

    So is a file that cannot be cached, because it is damaged somewhere: clips may lie elsewhere.
    """
    if cache_dir is not None:
        with contextlib.suppress(MediaError):
            return CachedReader(path, cache_dir, spec)
    return MediaReader(path)


def _diagnosed(error: MediaError, path: str, entry: MediaEntry) -> MediaError:
    """What is wrong with the file itself, if it failed a request that it was indexed to serve."""
    if error.fault not in (Fault.OUT_OF_RANGE, Fault.DECODE):
        return error
    try:
        info = probe(path)
    except MediaError as found:
        return found
    if info.start_s > entry.start_s or info.end_s < entry.start_s + entry.duration_s:
        message = f"now has {info.duration_s:.2f} s of sound and picture, less than when indexed"
        return MediaError(path, Fault.TOO_SHORT, message)
    return error


def _other_row(item: SyncItem, ids: Sequence[int]) -> int:
    rows = [row for row, media_id in enumerate(ids) if media_id != item.media_id]
    if not rows:
        raise ValueError(
            "a batch with an easy negative needs clips of at least two media, "
            f"got {len(ids)} clips of one"
        )
    return rows[item.easy_draw % len(rows)]


def _check_entries(entries: MediaTable, spec: ClipSpec) -> None:
    if not entries:
        raise ValueError("entries must hold at least one medium, got none")
    shortest_s = entries.shortest_s()
    worst = int(shortest_s.argmin())
    if shortest_s[worst] < spec.duration_s:
        raise ValueError(
            f"entries must last at least one clip, {spec.duration_s} s, "
            f"got {entries[worst].path} with a stretch of {shortest_s[worst]:.3f} s"
        )
    ids, counts = np.unique(entries.media_ids, return_counts=True)
    if len(ids) < len(entries):
        same = np.flatnonzero(entries.media_ids == ids[counts.argmax()])
        raise ValueError(
            f"entries must have different media ids, got {ids[counts.argmax()]} for both "
            f"{entries[same[0]].path} and {entries[same[1]].path}"
        )
