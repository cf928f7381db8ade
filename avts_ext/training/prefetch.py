"""Making the next item while the last one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")


def made_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items in the same order; a thread makes the next one while the last one is used.

    What goes wrong while an item is made is raised where it would have come.
    """
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
