"""Work in processes that may die: a decoder that crashes ends its own process and no other."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ProcessDiedError(RuntimeError):
    """The process that worked on an item ended without an answer."""


class NoAnswerError(ProcessDiedError):
    """The process that worked on an item had to be ended."""


def map_unordered(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    n_processes: int,
    limit_s: float = math.inf,
) -> Iterator[tuple[_Item, _Result | ProcessDiedError]]:
    """Yield (item, result) as the results come in.

    A process that dies yields a `ProcessDiedError` as the result of its item, one that works on it
    for longer than `limit_s` seconds a `NoAnswerError`, and another takes its place. An exception
    in `function` is raised here. Ending the iteration ends the processes.

    Args:
        function: called in the processes; picklable, like items and results.
        items: read as they are needed.
        n_processes: at least 1.
        limit_s: patience with one item.
    """
    rest, workers = iter(items), [_Worker(function) for _ in range(n_processes)]
    idle, busy = list(workers), dict[Any, tuple[_Worker, _Item]]()
    try:
        while True:
            for item in itertools.islice(rest, len(idle)):
                worker = idle.pop()
                worker.begin(item)
                busy[worker.connection] = worker, item
            if not busy:
                return
            for connection in _ready([worker for worker, _ in busy.values()], limit_s):
                worker, item = busy.pop(connection)
                try:
                    is_error, result = worker.answer(limit_s)
                except ProcessDiedError as death:
                    is_error, result = False, death
                    worker.end()
                    workers.remove(worker)
                    worker = _Worker(function)
                    workers.append(worker)
                if is_error:
                    raise result
                idle.append(worker)
                yield item, result
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.connection, far_end = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_serve, args=(far_end, function), daemon=True)
        self.process.start()
        far_end.close()  # or its end would not be noticed

    def begin(self, item: Any) -> None:
        self.begun_s = time.monotonic()
        self.connection.send(item)

    def answer(self, limit_s: float) -> tuple[bool, Any]:
        """Whether the item raised an error, and that or its result."""
        if not self.connection.poll():
            raise NoAnswerError(f"the process reading it did not finish within {limit_s:g} s")
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        raise ProcessDiedError(f"the process reading it ended with {how}")

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _ready(workers: Sequence[_Worker], limit_s: float) -> list[Any]:
    """Connections of workers that have answered, have died, or are out of time."""
    deadline_s = min(worker.begun_s for worker in workers) + limit_s
    patience_s = max(0.0, deadline_s - time.monotonic())
    ready = wait(
        [worker.connection for worker in workers], None if math.isinf(limit_s) else patience_s
    )
    if ready:
        return ready
    now_s = time.monotonic()
    return [worker.connection for worker in workers if worker.begun_s + limit_s <= now_s]


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = False, function(item)
        except Exception as error:
            answer = True, error
        connection.send(answer)
