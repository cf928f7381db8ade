"""Media of a folder as they are, for tests that ask for clips and not for what a manifest says."""

from pathlib import Path

from avts_ext.data import MediaEntry, MediaTable, probe
from avts_ext.data.index import media_id


def whole_films(folder: Path) -> MediaTable:
    """The films of a folder in the order of their names, usable from end to end, silent or not."""
    return MediaTable(map(_whole, sorted(folder.iterdir())))


def _whole(path: Path) -> MediaEntry:
    info = probe(path)
    return MediaEntry(str(path), media_id(path.name), ((info.start_s, info.end_s),))
