"""The examples of the page on the sync loss are right."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "sync_loss.md"


def test_examples():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted >= 15 and result.failed == 0
