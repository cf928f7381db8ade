"""Subsets of a data set that keep its proportions."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np

from avts_ext.data.draws import hash64
from avts_ext.data.index import media_id
from avts_ext.data.manifest import ManifestRow

_SUBSET = 5  # keeps these draws apart from others


def class_proportional(rows: Sequence[ManifestRow], share: float) -> list[ManifestRow]:
    """The same share of every class, as in the AudioSet subsets of Korbar et al. 2018.

    A file with several labels counts for its rarest one. Which files are taken follows from their
    sources alone, and a smaller share is contained in a larger one.

    Args:
        rows: all files.
        share: more than 0 and at most 1.

    Returns:
        The chosen rows in their order; of each rarest label the share rounded up.

    Raises:
        ValueError: `share` is out of its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be more than 0 and at most 1, got {share}")
    frequency = collections.Counter(label for row in rows for label in row.labels)
    groups = collections.defaultdict(list)
    for index, row in enumerate(rows):
        rarest = min(row.labels, key=lambda label: (frequency[label], label), default="")
        groups[rarest].append(index)
    ids = np.array([media_id(row.source or row.path) for row in rows], np.int64)
    order = hash64(_SUBSET, ids)
    chosen: list[int] = []
    for group in groups.values():
        shuffled = sorted(group, key=lambda index: (order[index], ids[index]))
        chosen += shuffled[: math.ceil(share * len(group))]
    return [rows[index] for index in sorted(chosen)]
