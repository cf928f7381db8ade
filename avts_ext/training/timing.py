"""How the time of a loop is shared between waiting for data and using them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


class DataClock:
    """Measures a loop over data.

    Attributes:
        waiting_s: time spent until the loop had its next item.
        using_s: time spent in the body of the loop.
    """

    def __init__(self) -> None:
        self.waiting_s = self.using_s = 0.0

    @property
    def waiting_share(self) -> float:
        """Part of the time, of 0 to 1, that went into waiting."""
        total_s = self.waiting_s + self.using_s
        return self.waiting_s / total_s if total_s else 0.0

    def watch(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items; the time in which the next one is made counts as waiting."""
        iterator = iter(items)
        while True:
            begin = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            ready = time.perf_counter()
            self.waiting_s += ready - begin
            yield item
            self.using_s += time.perf_counter() - ready
