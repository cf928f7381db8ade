"""Readers of published data sets: their folders, as they are handed out, into manifest rows."""

from __future__ import annotations

from avts_ext.data.datasets.actions import ACTIONS
from avts_ext.data.datasets.listing import DataSet
from avts_ext.data.datasets.recordings import RECORDINGS
from avts_ext.data.datasets.youtube import YOUTUBE

DATASETS: dict[str, DataSet] = {**YOUTUBE, **RECORDINGS, **ACTIONS}


def data_set(name: str) -> DataSet:
    """The data set of a name.

    Raises:
        ValueError: it is unknown.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {name!r}")
    return DATASETS[name]


__all__ = ["DATASETS", "DataSet", "data_set"]
