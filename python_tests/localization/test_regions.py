import numpy as np
import pytest

from avts_ext.localization.regions import Region, regions


def heat():
    values = np.zeros((6, 8))
    values[1, 1], values[2, 2] = 4, 3  # touch at a corner
    values[4, 6:8] = 2.5, 2
    values[0, 7] = 1
    return values


def test_by_hand():
    assert regions(heat()) == [
        Region((1, 1, 3, 3), (1, 1), 4.0),
        Region((6, 4, 7, 5), (6, 4), 2.5),  # 2 does not exceed half of 4
    ]
    assert regions(heat(), 0.7) == [Region((1, 1, 3, 3), (1, 1), 4.0)]
    assert len(regions(heat(), 0.2)) == 3


def test_nothing_found():
    assert regions(np.zeros((3, 3))) == [] and regions(np.full((3, 3), -1.0)) == []


def test_rejects():
    with pytest.raises(ValueError, match="heat"):
        regions(np.zeros(3))
    with pytest.raises(ValueError, match="threshold"):
        regions(heat(), 1.0)
