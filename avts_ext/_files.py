"""Files written so that an interruption never leaves a part of one, and their content by hash."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

_CHUNK = 2**20  # bytes read at a time for the hash


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


def file_hash(path: str | os.PathLike[str]) -> str:
    """BLAKE2b of a file's bytes, 128 bits in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
