"""Usable media, in columns: a list of millions must not be copied into every worker process."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa

from avts_ext.data.spans import Span


@dataclass(frozen=True)
class MediaEntry:
    """A usable media file.

    Attributes:
        path: the file.
        media_id: 63-bit hash of the path relative to the folder that was indexed. It stays the same
            when other files come and go, and so do the random draws made from it.
        usable_s: (begin, end) of the stretches, on the file's clock, in which clips may lie:
            ascending, apart, and at least one.
        shard: path or URL of the tar file that holds it; `path` is then that and the name in there.
        content: 64 bits of the hash of its bytes, 0 if that is not known.
    """

    path: str
    media_id: int
    usable_s: tuple[Span, ...]
    shard: str | None = None
    content: int = 0

    @property
    def start_s(self) -> float:
        """First usable moment."""
        return self.usable_s[0][0]

    @property
    def duration_s(self) -> float:
        """From the first usable moment to the last."""
        return self.usable_s[-1][1] - self.start_s


class MediaTable(Sequence[MediaEntry]):
    """A sequence of `MediaEntry` that takes little more memory than its text and numbers.

    A Python object that a forked process merely looks at is copied into it, for its count of
    references changes; these columns are not.

    Attributes:
        media_ids: (N,) int64.
        shard_of: (N,) int32, place in `shards`; -1 for a file of its own.
        shards: names of the shards.

    Args:
        entries: read once.
    """

    def __init__(self, entries: Iterable[MediaEntry] = ()) -> None:
        paths, shards = list[str](), dict[str, int]()
        ids, shard_of, contents = array.array("q"), array.array("i"), array.array("Q")
        first, spans = array.array("q", [0]), array.array("d")
        for entry in entries:
            paths.append(entry.path)
            ids.append(entry.media_id)
            contents.append(entry.content)
            shard = entry.shard
            shard_of.append(-1 if shard is None else shards.setdefault(shard, len(shards)))
            for span in entry.usable_s:
                spans.extend(span)
            first.append(len(spans) // 2)
        self._paths = pa.array(paths, pa.large_string())
        self.media_ids = np.array(ids, np.int64)
        self.shard_of = np.array(shard_of, np.int32)
        self.shards = list(shards)
        self._contents = np.array(contents, np.uint64)
        self._first_span = np.array(first, np.int64)
        self._spans = np.array(spans, np.float64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.media_ids)

    @overload
    def __getitem__(self, index: int) -> MediaEntry: ...
    @overload
    def __getitem__(self, index: slice) -> MediaTable: ...
    def __getitem__(self, index: int | slice) -> MediaEntry | MediaTable:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        row = range(len(self))[index]
        shard = int(self.shard_of[row])
        return MediaEntry(
            self._paths[row].as_py(),
            int(self.media_ids[row]),
            tuple((begin, end) for begin, end in self._spans_of(row).tolist()),
            None if shard < 0 else self.shards[shard],
            int(self._contents[row]),
        )

    def take(self, rows: Sequence[int] | np.ndarray) -> MediaTable:
        """The entries in some rows, in that order."""
        rows = np.asarray(rows, np.int64)
        counts = np.diff(self._first_span)[rows]
        table = MediaTable()
        table._first_span = np.concatenate(([0], np.cumsum(counts)))
        own_span = np.arange(counts.sum()) - np.repeat(table._first_span[:-1], counts)
        table._spans = self._spans[np.repeat(self._first_span[rows], counts) + own_span]
        table._paths = self._paths.take(pa.array(rows))
        table.media_ids, table.shard_of = self.media_ids[rows], self.shard_of[rows]
        table.shards, table._contents = self.shards, self._contents[rows]
        return table

    def fingerprint(self) -> str:
        """Hash of what clips depend on: ids, order, usable stretches, and content where known."""
        digest = hashlib.blake2b(digest_size=16)
        columns = (self.media_ids, self._first_span, self._spans, self.shard_of, self._contents)
        for column in columns:
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def starts_s(self) -> np.ndarray:
        """(N,) float64, first usable moment of each."""
        return self._spans[self._first_span[:-1], 0]

    def durations_s(self) -> np.ndarray:
        """(N,) float64, from the first usable moment to the last of each."""
        return self._spans[self._first_span[1:] - 1, 1] - self.starts_s()

    def relative_spans_s(self) -> Iterator[list[Span]]:
        """Usable stretches of each, from its first usable moment on."""
        for row, start_s in enumerate(self.starts_s().tolist()):
            yield [(begin - start_s, end - start_s) for begin, end in self._spans_of(row).tolist()]

    def shortest_s(self) -> np.ndarray:
        """(N,) float64, length of the shortest usable stretch of each."""
        return np.minimum.reduceat(self._spans[:, 1] - self._spans[:, 0], self._first_span[:-1])

    def _spans_of(self, row: int) -> np.ndarray:
        return self._spans[self._first_span[row] : self._first_span[row + 1]]
