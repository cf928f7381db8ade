"""The page on data leaves no column, fault or data set out."""

from dataclasses import fields
from pathlib import Path

import pytest

from avts_ext.data import Fault, ManifestRow
from avts_ext.data.datasets import DATASETS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
COLUMNS = [field.name for field in fields(ManifestRow)]


@pytest.mark.parametrize("name", [*COLUMNS, *(fault.value for fault in Fault), *DATASETS])
def test_named(name):
    family = name.partition("_")[0] + "_*"  # video_codec is told under `video_*`
    assert f"`{name}`" in PAGE or f"`{family}`" in PAGE
