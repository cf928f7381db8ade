"""Open readers, kept for the next request: opening a file often costs more than decoding a clip."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable

from avts_ext.data.source import ClipSource


class ReaderPool:
    """The most recently used readers of this process.

    A forked or unpickled copy starts empty: an open file shared by two processes has one position.

    Args:
        open_source: opens a path; must be picklable for workers that are spawned.
        capacity: readers kept open.
    """

    def __init__(self, open_source: Callable[[str], ClipSource], capacity: int = 16) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._open_source = open_source
        self._capacity = capacity
        self._forget()

    def get(self, path: str) -> ClipSource:
        """The reader of `path`, opened now if need be."""
        if self._owner != os.getpid():
            self._forget()
        source = self._sources.pop(path, None) or self._open_source(path)
        self._sources[path] = source
        if len(self._sources) > self._capacity:
            self._sources.popitem(last=False)[1].close()
        return source

    def clear(self) -> None:
        """Close all readers, for instance because their files are about to go."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()

    def discard(self, path: str) -> None:
        """Close the reader of `path`, for instance after a fault in it."""
        source = self._sources.pop(path, None)
        if source is not None:
            source.close()

    def _forget(self) -> None:
        self._sources: OrderedDict[str, ClipSource] = OrderedDict()
        self._owner = os.getpid()

    def __getstate__(self) -> tuple[Callable[[str], ClipSource], int]:
        return self._open_source, self._capacity

    def __setstate__(self, state: tuple[Callable[[str], ClipSource], int]) -> None:
        self._open_source, self._capacity = state
        self._forget()
