"""Writing files so that an interruption or a full disk never leaves a part of one."""

from __future__ import annotations

import contextlib
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it: it is complete or not there.

    Raises:
        OSError: the file cannot be written; the error names it, and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
