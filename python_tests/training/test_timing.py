import time

import pytest

from avts_ext.training import timing


def test_waiting_and_using_are_told_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def items():
        for item in "abc":
            now[0] += 1
            yield item

    clock = timing.DataClock()
    seen = []
    for item in clock.watch(items()):
        seen.append(item)
        now[0] += 3
    assert seen == ["a", "b", "c"]
    assert (clock.waiting_s, clock.using_s) == (3, 9)
    assert clock.waiting_share == pytest.approx(0.25)


def test_nothing_was_watched():
    assert timing.DataClock().waiting_share == 0
    assert list(timing.DataClock().watch([])) == []
