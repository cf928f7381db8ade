"""The columns of a media table tell the same as the entries they were made of."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from avts_ext.data import MediaEntry, MediaTable

ENTRIES = [
    MediaEntry("a.mp4", 2**62, ((0.5, 2.0),)),
    MediaEntry("ä/b.mkv", 3, ((0.0, 1.0), (1.5, 4.0), (6.0, 6.5)), "s/0.tar"),
    MediaEntry("c.mp4", 0, ((1.0, 2.25), (3.0, 5.0)), "s/1.tar", 2**64 - 1),
    MediaEntry("d.mp4", 7, ((2.0, 3.0),), "s/0.tar"),
]


def test_a_table_is_the_sequence_of_its_entries():
    table = MediaTable(iter(ENTRIES))
    assert list(table) == ENTRIES and len(table) == 4
    assert table[-1] == ENTRIES[-1] and ENTRIES[2] in table
    assert list(table[1:3]) == ENTRIES[1:3] and list(table[:9:2]) == ENTRIES[::2]
    assert list(table.take([3, 0, 0])) == [ENTRIES[i] for i in (3, 0, 0)]
    assert list(pickle.loads(pickle.dumps(table))) == ENTRIES
    assert list(MediaTable()) == list(MediaTable(ENTRIES)[2:2]) == []
    with pytest.raises(IndexError):
        table[4]


def test_columns():
    table = MediaTable(ENTRIES)
    assert table.media_ids.tolist() == [entry.media_id for entry in ENTRIES]
    assert table.starts_s().tolist() == [entry.start_s for entry in ENTRIES]
    assert table.durations_s().tolist() == [entry.duration_s for entry in ENTRIES]
    np.testing.assert_array_equal(table.shortest_s(), [1.5, 0.5, 1.25, 1.0])
    assert list(table.relative_spans_s())[2] == [(0.0, 1.25), (2.0, 4.0)]
    assert table.shards == ["s/0.tar", "s/1.tar"] and table.shard_of.tolist() == [-1, 0, 1, 0]


def test_the_fingerprint_is_of_all_that_clips_depend_on():
    table = MediaTable(ENTRIES)
    assert MediaTable(iter(ENTRIES)).fingerprint() == table.fingerprint()
    moved = [replace(entry, path=f"/elsewhere/{entry.path}") for entry in ENTRIES]
    assert MediaTable(moved).fingerprint() == table.fingerprint()
    others = [
        table[:3],
        table.take([1, 0, 2, 3]),
        MediaTable([replace(ENTRIES[0], media_id=1), *ENTRIES[1:]]),
        MediaTable([replace(ENTRIES[0], usable_s=((0.5, 2.01),)), *ENTRIES[1:]]),
        MediaTable([replace(ENTRIES[0], content=1), *ENTRIES[1:]]),
    ]
    assert len({table.fingerprint(), *(other.fingerprint() for other in others)}) == 6
