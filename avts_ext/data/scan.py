"""Scanning a folder into a manifest: in parallel, and going on where an earlier scan left off."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from avts_ext._files import file_hash
from avts_ext.data.container import check_file
from avts_ext.data.examine import examine
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.files import media_paths
from avts_ext.data.manifest import Manifest, ManifestRow, read_manifest, write_manifest
from avts_ext.data.processes import NoAnswerError, ProcessDiedError, map_unordered

_PATIENCE_S = 3600.0  # with one file; a film of hours takes minutes


def scan_folder(
    root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    listed: Sequence[ManifestRow] | None = None,
    *,
    dataset: str | None = None,
    every_frame: bool = False,
    processes: int = 1,
    progress: bool = False,
) -> Manifest:
    """Examine the media files under a folder and write the manifest.

    Files that an earlier manifest at `output`, or a scan that was interrupted, has examined are not
    examined again unless their size or time of change is another. An interruption leaves the rows
    done so far in `output` + ".rows".

    Args:
        root: the folder.
        output: the manifest to write or bring up to date; its folder is made.
        listed: path, tracks, splits, labels and sources of the files to examine; by default all
            files under `root` that have a media suffix. A listed file that is not there is
            `Fault.MISSING`.
        dataset: name of the data set that they are, for the manifest.
        every_frame: decode all frames, which finds all damage but takes several times as long.
        processes: that examine files at the same time.
        progress: show a progress bar.

    Raises:
        NotADirectoryError: `root` is not a folder.
        ValueError: there is nothing to examine, or `processes` is less than 1.
        OSError: the manifest cannot be written.
    """
    root, output = Path(root), Path(output)
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if not root.is_dir():
        raise NotADirectoryError(f"root must be a folder, got {str(root)!r}")
    if listed is None:
        listed = [ManifestRow(path.relative_to(root).as_posix()) for path in media_paths(root)]
    if not listed:
        raise ValueError(f"root {str(root)!r} holds no media file")
    stubs = [_stub(root, row, every_frame) for row in listed]
    journal = Path(f"{output}.rows")
    done, to_do = _still_known(stubs, [*_manifest_rows(output), *_journal_rows(journal)])
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with journal.open("a", encoding="utf-8") as file:
            for row in tqdm(
                _examined(root, to_do, processes),
                desc="index",
                total=len(stubs),
                initial=len(done),
                unit="file",
                disable=not progress,
            ):
                file.write(json.dumps(row.plain()) + "\n")
                file.flush()
                done.append(row)
    except KeyboardInterrupt:
        message = f"{len(done)} of {len(stubs)} files are done, the same command does the rest"
        raise KeyboardInterrupt(message) from None
    write_manifest(output, root, done, dataset)
    journal.unlink()
    return read_manifest(output)


def manifest_of(source: str | os.PathLike[str], output: Path) -> Path:
    """The manifest to read for what a person named: that file, or what a folder is examined into.

    Args:
        source: a manifest, or a folder of media, which `scan_folder` examines with all cores.
        output: the manifest to write or bring up to date for a folder.
    """
    if not os.path.isdir(source):
        return Path(source)
    scan_folder(source, output, processes=os.cpu_count() or 1, progress=True)
    return output


def _stub(root: Path, listed: ManifestRow, every_frame: bool) -> ManifestRow:
    """A row with no more than what the file system tells."""
    path = root / listed.path
    try:
        status = os.stat(path)
    except OSError as error:
        fault = Fault.UNREADABLE if os.path.lexists(path) else Fault.MISSING
        return listed.with_fault(fault, str(error.strerror))
    return dataclasses.replace(
        listed, every_frame=every_frame, n_bytes=status.st_size, mtime_ns=status.st_mtime_ns
    )


def _still_known(
    stubs: Iterable[ManifestRow], earlier: Iterable[ManifestRow]
) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Rows that need no examination, and stubs of those that do."""
    known = {row.path: row for row in earlier}
    done, to_do = [], []
    for stub in stubs:
        row = known.get(stub.path)
        if stub.fault is not None:
            done.append(stub)
        elif row is not None and _holds(row, stub):
            done.append(row.listed_as(stub))
        else:
            to_do.append(stub)
    return done, to_do


def _holds(row: ManifestRow, stub: ManifestRow) -> bool:
    """Whether an earlier examination was of the same content, and looked as closely."""
    if row.fault is Fault.CRASH:
        return False  # it may have been memory that was short, or an FFmpeg that is replaced now
    same = (row.tracks, row.n_bytes, row.mtime_ns) == (stub.tracks, stub.n_bytes, stub.mtime_ns)
    return same and row.every_frame >= stub.every_frame


def _manifest_rows(output: Path) -> Sequence[ManifestRow]:
    return read_manifest(output).rows if output.exists() else ()


def _journal_rows(journal: Path) -> Iterator[ManifestRow]:
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    for line in lines:
        # Killed in the middle of a line, or by a version with other columns: to be done again.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            yield ManifestRow.from_plain(json.loads(line))


def _examined(root: Path, stubs: Sequence[ManifestRow], processes: int) -> Iterator[ManifestRow]:
    """Rows of the files, in the order in which they get done."""
    n_processes = min(processes, len(stubs))
    examine_one = functools.partial(_examine, root)
    for stub, row in map_unordered(examine_one, stubs, n_processes, _PATIENCE_S):
        if isinstance(row, NoAnswerError):
            yield stub.with_fault(Fault.HANG, str(row))
        elif isinstance(row, ProcessDiedError):
            yield stub.with_fault(Fault.CRASH, str(row))
        else:
            yield row


def _examine(root: Path, stub: ManifestRow) -> ManifestRow:
    path = root / stub.path
    try:
        check_file(path)
        stub = dataclasses.replace(stub, content_hash=_content_hash(path))
        return stub.with_examination(examine(path, stub.tracks, stub.every_frame))
    except MediaError as error:
        return stub.with_fault(error.fault, error.message)


def _content_hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise MediaError(path, Fault.UNREADABLE, str(error.strerror)) from None
