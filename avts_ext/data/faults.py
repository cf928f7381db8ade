"""What can be wrong with a media file, as types, and the report that counts it."""

from __future__ import annotations

import enum
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Fault(str, enum.Enum):
    """Why a file, or one request to it, cannot be served."""

    UNREADABLE = "unreadable"
    NO_VIDEO = "no video track"
    NO_AUDIO = "no audio track"
    NO_FRAMES = "no frames"
    NO_SAMPLES = "no samples"
    TOO_SHORT = "too short"
    TRUNCATED = "truncated"
    TIMESTAMPS = "broken timestamps"
    NOT_FINITE = "samples not finite"
    DECODE = "decode error"
    OUT_OF_RANGE = "request outside the file"
    SILENT = "silent"
    STATIC = "static picture"
    CRASH = "crashes the decoder"
    HANG = "hangs the decoder"
    MISSING = "missing"

    def __str__(self) -> str:
        return self.value


class MediaError(ValueError):
    """A media file cannot be served.

    Attributes:
        path: the file.
        fault: the kind of fault.
        message: one sentence for a person, without the path.
    """

    def __init__(self, path: str | os.PathLike[str], fault: Fault, message: str) -> None:
        super().__init__(os.fspath(path), fault, message)
        self.path = os.fspath(path)
        self.fault = fault
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}: {self.message}"


class TooManyBrokenFilesError(ValueError):
    """More files are broken than the failure budget allows."""


@dataclass
class SkipReport:
    """Files that were left out and why. Each file is counted once, under its first fault."""

    errors: dict[str, MediaError] = field(default_factory=dict)

    def add(self, error: MediaError) -> None:
        """Note a broken file; a file already noted keeps its first fault."""
        self.errors.setdefault(error.path, error)

    def update(self, errors: Iterable[MediaError]) -> None:
        """Note several, for instance those that came with a batch."""
        for error in errors:
            self.add(error)

    def passing(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """The results of a function for items for which it raises no `MediaError`."""
        for item in items:
            try:
                yield function(item)
            except MediaError as error:
                self.add(error)

    def since(self, n_earlier: int) -> SkipReport:
        """Only what was noted after the first `n_earlier` files."""
        return SkipReport(dict(itertools.islice(self.errors.items(), n_earlier, None)))

    def plain(self) -> list[tuple[str, str, str]]:
        """Path, fault and message of every file; `from_plain` reads it back."""
        return [(e.path, e.fault.value, e.message) for e in self.errors.values()]

    @staticmethod
    def from_plain(plain: Iterable[tuple[str, str, str]]) -> SkipReport:
        """The report that `plain` told."""
        report = SkipReport()
        report.update(MediaError(path, Fault(fault), message) for path, fault, message in plain)
        return report

    def __len__(self) -> int:
        return len(self.errors)

    def counts(self) -> dict[Fault, int]:
        """Number of files per kind of fault, in the order of `Fault`."""
        faults = [error.fault for error in self.errors.values()]
        return {fault: faults.count(fault) for fault in Fault if fault in faults}

    def check_budget(self, max_broken_files: int) -> None:
        """Raise `TooManyBrokenFilesError`, naming the files, if there are more than allowed."""
        if len(self) > max_broken_files:
            raise TooManyBrokenFilesError(
                f"{len(self)} broken files, but max_broken_files is {max_broken_files}.\n{self}"
            )

    @property
    def headline(self) -> str:
        """One line with the counts."""
        if not self.errors:
            return "no file was skipped"
        counts = ", ".join(f"{count} {fault}" for fault, count in self.counts().items())
        return f"{len(self)} files skipped: {counts}"

    def __str__(self) -> str:
        lines = [f"  {error}" for _, error in sorted(self.errors.items())]
        return "\n".join([self.headline, *lines])
