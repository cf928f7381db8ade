"""Sound moved against the picture by rewriting time stamps: every packet is copied as it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Stream

from avts_ext.data.container import frame_ticks, open_container, time_base_of
from avts_ext.data.faults import Fault, MediaError

__all__ = ["delay_sound", "keeps_timestamps"]

_COPIED = ("video", "audio", "subtitle")
# Formats that keep no time stamps of single packets, so that a shift would be lost.
_WITHOUT_TIMESTAMPS = frozenset({".avi"})


def keeps_timestamps(path: str | os.PathLike[str]) -> bool:
    """Whether a file's format, by its suffix, can hold a shift between sound and picture."""
    return Path(path).suffix.lower() not in _WITHOUT_TIMESTAMPS


def delay_sound(path: str | os.PathLike[str], out: str | os.PathLike[str], delay_s: float) -> Path:
    """Copy a file with its sound later against the picture; nothing is decoded or encoded.

    The track that then comes first begins at zero: no packet is lost, no time is negative.

    Args:
        path: a media file.
        out: the copy; its suffix says the format. An existing file is replaced when all is written.
        delay_s: seconds, positive = sound later. To repair a file that is late by x, give -x.

    Returns:
        ``out``.

    Raises:
        ValueError: ``out`` is ``path``, or its format does not keep time stamps.
        MediaError: the file cannot be read, or its tracks do not go into that format.
    """
    path, out = os.fspath(path), Path(out)
    if out.exists() and out.samefile(path):
        raise ValueError(f"out: got {str(out)!r}, the file itself, expected another name")
    if not keeps_timestamps(out):
        raise ValueError(
            f"out: got {str(out)!r}, a format without time stamps, expected for instance .mkv"
        )
    temporary = out.with_name(f".{out.stem}.part{out.suffix}")
    with open_container(path) as source:
        try:
            _copy(source, temporary, Fraction(delay_s))
            temporary.replace(out)
        except av.FFmpegError as error:
            message = f"it cannot be copied to {str(out)!r} ({error.strerror})"
            raise MediaError(path, Fault.UNREADABLE, message) from None
        except ValueError as error:  # from PyAV: a track does not go into the format
            raise ValueError(f"out: got {str(out)!r}: {error}") from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    return out


def _copy(source: av.container.InputContainer, out: Path, delay_s: Fraction) -> None:
    with av.open(str(out), "w") as target:
        copied = [stream for stream in source.streams if stream.type in _COPIED]
        streams = {stream.index: target.add_stream_from_template(stream) for stream in copied}
        shifts = _shifts_s(copied, delay_s)
        for packet in _with_dts(source.demux(copied)):
            ticks = round(shifts[packet.stream_index] / time_base_of(packet.stream))
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.stream = streams[packet.stream_index]
            target.mux(packet)


def _shifts_s(streams: list[Stream], delay_s: Fraction) -> dict[int, Fraction]:
    """By index of the track, what its times change by, so that the first track begins at zero."""
    delays = {s.index: delay_s if s.type == "audio" else Fraction(0) for s in streams}
    starts = [(s.start_time or 0) * time_base_of(s) + delays[s.index] for s in streams]
    return {index: delay - min(starts) for index, delay in delays.items()}


def _with_dts(packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """Packets that hold something, with decoding times.

    Matroska does not store these times, and FFmpeg cannot tell those of a track's first packets
    before it has seen how many frames are held back; muxers want one with every packet.
    """
    waiting: dict[int, list[av.Packet]] = {}
    for packet in packets:
        if packet.size == 0:
            continue  # the end of a track
        held = waiting.setdefault(packet.stream_index, [])
        if packet.dts is None:
            held.append(packet)
            continue
        for back, early in enumerate(reversed(held), 1):
            early.dts = packet.dts - back * _length(packet)
        yield from held
        held.clear()
        yield packet
    for held in waiting.values():
        for index, packet in enumerate(held):
            packet.dts = (held[0].pts or 0) + index * _length(packet)
        yield from held


def _length(packet: av.Packet) -> int:
    """In ticks."""
    if isinstance(packet.stream, av.VideoStream):
        return packet.duration or frame_ticks(packet.stream)
    return max(1, packet.duration or 0)
