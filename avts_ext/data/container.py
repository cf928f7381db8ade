"""Opening media files, and what PyAV leaves unsaid about them."""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.stream import Stream

from avts_ext.data.faults import Fault, MediaError

_AVFMT_TS_DISCONT = 0x0200  # FFmpeg's flag of formats whose time stamps begin anywhere

# PyAV before 19 refuses files whose tags are not UTF-8 unless told otherwise; 19 takes them as is.
_PYAV_MAJOR = int(av.__version__.split(".")[0])
_OPEN_OPTIONS: Any = {"metadata_errors": "replace"} if _PYAV_MAJOR < 19 else {}


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise `MediaError` unless this is a regular file with something in it."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise MediaError(path, Fault.UNREADABLE, str(error.strerror)) from None
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, Fault.UNREADABLE, "it is not a regular file")
    if status.st_size == 0:
        raise MediaError(path, Fault.UNREADABLE, "the file is empty")


def open_container(path: str) -> InputContainer:
    """Open a media file, or say in a `MediaError` why that is impossible."""
    check_file(path)
    try:
        # An absolute path cannot be mistaken for a protocol name followed by a colon.
        return av.open(os.path.abspath(path), **_OPEN_OPTIONS)
    except av.FFmpegError as error:
        message = f"it cannot be opened as a media file ({error.strerror})"
        raise MediaError(path, Fault.UNREADABLE, message) from None


def origin_of(container: InputContainer) -> Fraction:
    """The time stamp, in seconds, at which a file's clock shows zero."""
    starts_anywhere = container.format.flags & _AVFMT_TS_DISCONT
    return Fraction(container.start_time or 0 if starts_anywhere else 0, av.time_base)


def track_list(container: InputContainer) -> str:
    """What a container holds, for messages."""
    return ", ".join(stream.type for stream in container.streams) or "none"


def time_base_of(stream: Stream) -> Fraction:
    """Seconds per tick of a stream's time stamps."""
    return Fraction(stream.time_base or Fraction(1, av.time_base))


def frame_ticks(stream: av.VideoStream) -> int:
    """Nominal time between frames, in ticks: the length of a frame that does not say its own."""
    rate = stream.average_rate or stream.guessed_rate
    return max(1, round(1 / (rate * time_base_of(stream)))) if rate else 1
