"""Work in processes that may die: a decoder that crashes ends its own process and no other."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ProcessDiedError(RuntimeError):
    """The process that worked on an item ended without an answer."""


def map_unordered(
    function: Callable[[_Item], _Result], items: Iterable[_Item], n_processes: int
) -> Iterator[tuple[_Item, _Result | ProcessDiedError]]:
    """Yield (item, result) as the results come in.

    A process that dies yields a `ProcessDiedError` as the result of its item, and another takes its
    place. An exception in `function` is raised here. Ending the iteration ends the processes.

    Args:
        function: called in the processes; picklable, like items and results.
        items: read as they are needed.
        n_processes: at least 1.
    """
    rest, workers = iter(items), [_Worker(function) for _ in range(n_processes)]
    idle, busy = list(workers), dict[Any, tuple[_Worker, _Item]]()
    try:
        while True:
            for item in itertools.islice(rest, len(idle)):
                worker = idle.pop()
                worker.connection.send(item)
                busy[worker.connection] = worker, item
            if not busy:
                return
            for connection in wait(list(busy)):
                worker, item = busy.pop(connection)
                try:
                    is_error, result = worker.connection.recv()
                except EOFError:
                    result, is_error = worker.obituary(), False
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

    def obituary(self) -> ProcessDiedError:
        self.process.join()
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return ProcessDiedError(f"the process reading it ended with {how}")

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


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
