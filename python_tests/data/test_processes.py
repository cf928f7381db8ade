"""Work goes on when a process dies, and says at which item it did."""

import os
import signal
import time

import pytest

from avts_ext.data.processes import NoAnswerError, ProcessDiedError, map_unordered


def _work(item):
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "bug":
        raise KeyError("a bug")
    return item * 2


@pytest.mark.parametrize("n_processes", [1, 3])
def test_a_crash_costs_one_item(n_processes):
    items = [1, "crash", 2, "exit", "crash", 3]
    results = list(map_unordered(_work, items, n_processes))
    answers = [result for _, result in results if not isinstance(result, ProcessDiedError)]
    assert sorted(answers) == [2, 4, 6]
    deaths = {item: str(result) for item, result in results if item in ("crash", "exit")}
    assert "SIGKILL" in deaths["crash"] and "status 3" in deaths["exit"]
    assert len(results) == len(items)


def _sleep(item):
    time.sleep(item)
    return item


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_item_that_takes_too_long_costs_itself(n_processes):
    results = dict(map_unordered(_sleep, [0, 1000, 0.01, 999, 0.02], n_processes, limit_s=4.0))
    late = {item: result for item, result in results.items() if isinstance(result, NoAnswerError)}
    assert set(late) == {999, 1000} and set(results) - set(late) == {0, 0.01, 0.02}
    assert "did not finish within 4 s" in str(late[999])


def test_an_exception_is_raised_here():
    with pytest.raises(KeyError, match="a bug"):
        list(map_unordered(_work, [1, "bug"], 2))


def test_nothing_to_do():
    assert list(map_unordered(_work, [], 2)) == []


def _pid(_item):
    return os.getpid()


def test_ending_the_iteration_ends_the_processes():
    results = map_unordered(_pid, range(100), 2)
    pids = {next(results)[1] for _ in range(10)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
