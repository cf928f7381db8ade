"""Batches made ahead are the same batches, and made while the last one is used."""

import threading

import pytest

from avts_ext.training.prefetch import made_ahead


def test_items_come_in_order():
    assert list(made_ahead(iter(range(7)))) == list(range(7))
    assert list(made_ahead(iter(()))) == []


def test_the_next_item_is_made_while_the_last_one_is_used():
    second_is_made = threading.Event()

    def items():
        yield 1
        second_is_made.set()
        yield 2

    ahead = made_ahead(items())
    assert next(ahead) == 1
    assert second_is_made.wait(timeout=60)  # without asking for it
    assert list(ahead) == [2]


def test_an_error_is_raised_in_its_place():
    def items():
        yield 1
        raise OSError("the second")

    ahead = made_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the second"):
        next(ahead)


def test_whoever_stops_early_leaves_no_thread():
    before = threading.active_count()
    ahead = made_ahead(iter(range(100)))
    assert next(ahead) == 0
    ahead.close()
    assert threading.active_count() == before
