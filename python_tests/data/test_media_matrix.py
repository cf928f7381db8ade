"""Flash and beep stay together in every container: all pairs of the matrix's values.

The whole matrix is run by `python python_tests/data/clock_matrix.py`.
"""

import itertools

import numpy as np
import pytest
from clock_matrix import AXES, all_cases, distances_s, pairwise_cases


@pytest.mark.parametrize("case", pairwise_cases(), ids=lambda case: str(case).replace(" ", "-"))
def test_beep_comes_with_the_flash(case, tmp_path):
    distances = np.abs(distances_s(case, tmp_path))
    assert len(distances) >= 3
    assert distances.max() <= case.tolerance_s


def test_every_pair_that_can_be_expressed_is_covered():
    def pairs(cases):
        return {
            (a, getattr(case, a), b, getattr(case, b))
            for case in cases
            for a, b in itertools.combinations(AXES, 2)
        }

    assert pairs(pairwise_cases()) == pairs(all_cases())
    used = {axis: {getattr(case, axis) for case in all_cases()} for axis in AXES}
    assert used == {axis: set(values) for axis, values in AXES.items()}
