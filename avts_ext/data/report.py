"""What a manifest says of a whole collection, for people and for scripts."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from avts_ext.data.datasets import DATASETS, DataSet
from avts_ext.data.faults import Fault
from avts_ext.data.manifest import Manifest, ManifestRow

_LATE_S = 0.1  # sound and picture that begin further apart than this are worth a line
_QUIET_SHARE = 0.5
_LINES_SHOWN = 20  # of each kind, for people
_PATHS_SHOWN = 3  # of files with equal content


def summary(manifest: Manifest) -> dict[str, Any]:
    """Counts of a manifest, ready for JSON.

    Returns:
        "root"; numbers of "files", "usable" ones and their "hours", and of these "durations_s", the
        shortest, the median and the longest; "faults", counts by kind;
        "containers", "video_codecs", "audio_codecs" and "sample_rates", counts of the usable
        files; "notes", counts of usable files that are unusual; "duplicates", groups of paths with
        equal content; "problems", one {"path", "fault", "message"} per unusable file.
        "splits", by name, "all splits" and "classes" tell the coverage, each as a dict with
        "listed", what the lists name; of that "there" and "usable"; and "official", what the data
        set's authors publish, None if the manifest is of no known data set. A split also tells
        "copy", the name of another list in circulation that has as many files, or None. "dataset"
        and "official_source" name data set and publication, or are None.
    """
    rows = manifest.rows
    usable = [row for row in rows if row.fault is None]
    durations_s = [row.duration_s or 0.0 for row in usable]
    data_set = DATASETS[manifest.dataset] if manifest.dataset else None
    return {
        "root": str(manifest.root),
        "dataset": manifest.dataset,
        "official_source": data_set.source if data_set else None,
        "files": len(rows),
        "usable": len(usable),
        "hours": sum(durations_s) / 3600,
        "durations_s": np.percentile(durations_s, [0, 50, 100]).tolist() if usable else None,
        "faults": _counts(row.fault.value for row in rows if row.fault is not None),
        "splits": _split_coverage(rows, data_set),
        "all splits": _coverage(rows, data_set.n_files if data_set else None),
        "classes": _class_coverage(rows, data_set),
        "containers": _counts(row.container for row in usable),
        "video_codecs": _counts(row.video_codec for row in usable),
        "audio_codecs": _counts(row.audio_codec for row in usable),
        "sample_rates": _counts(row.audio_sample_rate for row in usable),
        "notes": {name: sum(map(test, usable)) for name, test in _NOTES.items()},
        "duplicates": _duplicates(rows),
        "problems": [
            {"path": row.path, "fault": row.fault.value, "message": row.message}
            for row in rows
            if row.fault is not None
        ],
    }


def table(facts: dict[str, Any]) -> str:
    """The same for people; `facts` from `summary`."""
    lines = [
        f"{facts['root']}: {facts['files']} files, {facts['usable']} usable, "
        f"{facts['hours']:.2f} hours"
    ]
    if facts["durations_s"]:
        shortest, median, longest = facts["durations_s"]
        lines.append(f"from {shortest:.2f} to {longest:.2f} s, median {median:.2f} s")
    for name in ("faults", "containers", "video_codecs", "audio_codecs", "sample_rates", "notes"):
        counts = {what: count for what, count in facts[name].items() if count}
        if counts:
            lines += ["", name.replace("_", " ")]
            lines += [f"  {count:8}  {what}" for what, count in counts.items()]
    if facts["splits"]:
        lines += ["", coverage_table(facts)]
    if facts["duplicates"]:
        lines += ["", "equal content", *_first(_group_line(group) for group in facts["duplicates"])]
    if facts["problems"]:
        lines += ["", "problems"]
    for fault in facts["faults"]:
        rows = (row for row in facts["problems"] if row["fault"] == fault)
        lines += _first(f"{row['path']}: {row['fault']}: {row['message']}" for row in rows)
    return "\n".join(lines)


def _group_line(paths: list[str]) -> str:
    more = len(paths) - _PATHS_SHOWN
    return ", ".join(paths[:_PATHS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _first(lines: Iterable[str]) -> list[str]:
    """The first lines, indented, and how many more there are."""
    lines = list(lines)
    more = len(lines) - _LINES_SHOWN
    return [f"  {line}" for line in lines[:_LINES_SHOWN]] + (
        [f"  and {more} more, which --json tells"] if more > 0 else []
    )


def coverage_table(facts: dict[str, Any]) -> str:
    """How much of each split is there, for people; `facts` from `summary`."""
    columns = ("usable", "there", "listed", "official")
    lines = [" ".join(f"{name:>10}" for name in columns)]
    others = ((name, facts[name]) for name in ("all splits", "classes"))
    for name, found in [*facts["splits"].items(), *others]:
        numbers = ["" if found[column] is None else f"{found[column]:,}" for column in columns]
        line = " ".join(f"{number:>10}" for number in numbers) + f"  {name}"
        if found["official"] not in (None, found["listed"]):
            copy = found.get("copy")
            line += f" (as in the copy of {copy})" if copy else " *"
        lines.append(line)
    if any(line.endswith(" *") for line in lines):
        lines.append("* not as published: the lists are other ones, or not all, or of a share")
    if facts["official_source"]:
        lines.append(f"official: {facts['official_source']}")
    return "\n".join(lines)


def _begins_apart(row: ManifestRow) -> bool:
    if row.video_start_s is None or row.audio_start_s is None:
        return False
    return abs(row.audio_start_s - row.video_start_s) > _LATE_S


_NOTES: dict[str, Callable[[ManifestRow], bool]] = {
    "variable frame rate": lambda row: bool(row.video_has_variable_rate),
    f"sound and picture begin more than {_LATE_S} s apart": _begins_apart,
    f"silent for more than {_QUIET_SHARE:.0%}": lambda row: (row.silence_share or 0) > _QUIET_SHARE,
    "damaged in part": lambda row: row.damaged_from_s is not None,
}


def _counts(values: Iterable[Any]) -> dict[str, int]:
    """By falling count."""
    counter = collections.Counter(str(value) for value in values if value is not None)
    return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


def _split_coverage(
    rows: Iterable[ManifestRow], data_set: DataSet | None
) -> dict[str, dict[str, int | str | None]]:
    official: Mapping[str, int] = data_set.counts if data_set else {}
    groups: dict[str, list[ManifestRow]] = {split: [] for split in official}
    for row in rows:
        for split in row.splits:
            groups.setdefault(split, []).append(row)
    return {
        split: {
            **_coverage(group, official.get(split)),
            "copy": data_set.copy_with(split, len(group)) if data_set else None,
        }
        for split, group in groups.items()
    }


def _coverage(rows: Sequence[ManifestRow], official: int | None) -> dict[str, int | None]:
    return {
        "usable": sum(row.fault is None for row in rows),
        "there": sum(row.fault is not Fault.MISSING for row in rows),
        "listed": len(rows),
        "official": official,
    }


def _class_coverage(rows: Iterable[ManifestRow], data_set: DataSet | None) -> dict[str, int | None]:
    usable, there, listed = set[str](), set[str](), set[str]()
    for row in rows:
        listed.update(row.labels)
        there.update(row.labels if row.fault is not Fault.MISSING else ())
        usable.update(row.labels if row.fault is None else ())
    return {
        "usable": len(usable),
        "there": len(there),
        "listed": len(listed),
        "official": data_set.n_classes if data_set else None,
    }


def _duplicates(rows: Iterable[ManifestRow]) -> list[list[str]]:
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for row in rows:
        if row.content_hash is not None:
            groups[row.content_hash].append(row.path)
    return [paths for paths in groups.values() if len(paths) > 1]
