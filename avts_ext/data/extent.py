"""Where a media file has picture and sound, found by walking its packets and decoding its ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from avts_ext.data.audio_blocks import AUDIO_BLOCK_S
from avts_ext.data.container import frame_ticks, time_base_of
from avts_ext.data.faults import Fault
from avts_ext.data.placement import Extent

if TYPE_CHECKING:
    from avts_ext.data.media import MediaReader


def packet_spans(reader: MediaReader) -> dict[int, np.ndarray]:
    """By index of the track, (N, 2) int64 start and end ticks of its packets, by start.

    The file must stand at its beginning.
    """
    streams = [s for s in reader.container.streams if s.type in ("video", "audio")]
    lengths = {s.index: frame_ticks(s) if isinstance(s, av.VideoStream) else 0 for s in streams}
    spans: dict[int, list[tuple[int, int]]] = {stream.index: [] for stream in streams}
    for packet in reader.packets(*streams):
        if packet.pts is not None and packet.size and not packet.is_discard:
            length = packet.duration or lengths[packet.stream_index]
            spans[packet.stream_index].append((packet.pts, packet.pts + length))
    if reader.has_video and not spans[reader.video.index]:
        raise reader.error(Fault.NO_FRAMES, "its video track holds no frame with a time stamp")
    if reader.has_audio and not spans[reader.audio.index]:
        raise reader.error(Fault.NO_SAMPLES, "its audio track holds no sample with a time stamp")
    return {index: np.array(sorted(span), np.int64) for index, span in spans.items() if span}


def sound_span(reader: MediaReader, packets: np.ndarray, rate: int) -> tuple[int, int] | None:
    """First and last + 1 sample of the grid n / rate after decoding, without priming and padding.

    Args:
        reader: the file.
        packets: (N, 2) int64 ticks from `packet_spans`.
        rate: samples per second.
    """
    seconds = packets * float(time_base_of(reader.audio)) - float(reader.origin)
    # Time stamps may lie, so only blocks that packets fall into are looked at.
    blocks = np.unique(np.floor(seconds / AUDIO_BLOCK_S).astype(int)).tolist()
    start = next(filter(None, (_present(reader, block, rate) for block in blocks)), None)
    end = next(filter(None, (_present(reader, block, rate) for block in reversed(blocks))), None)
    return None if start is None or end is None else (start[0], end[1])


def find_extent(reader: MediaReader, rate: int) -> Extent:
    """The `Extent` of a file on the grid n / rate; `MediaError` if it has not both tracks."""
    reader.rewind()
    spans = packet_spans(reader)
    frames, time_base = spans[reader.video.index], time_base_of(reader.video)
    first = next(reader.frames_from(int(frames[0, 0])), None)
    if first is None:
        raise reader.error(Fault.NO_FRAMES, "no frame of its video track can be decoded")
    begin, end = (pts * time_base - reader.origin for pts in (first[0], int(frames[-1, 1])))
    sound = sound_span(reader, spans[reader.audio.index], rate)
    if sound is None:
        raise reader.error(Fault.NO_SAMPLES, "no sample of its audio track can be decoded")
    return Extent((begin, end), end - time_base, (max(sound[0], 0), sound[1]))


def _present(reader: MediaReader, block: int, rate: int) -> tuple[int, int] | None:
    """First and last + 1 sample that a block holds, if any."""
    size = AUDIO_BLOCK_S * rate
    known = np.ones(size, bool)
    for begin, end in reader.audio_block(block, rate).missing.tolist():
        known[begin:end] = False
    indices = block * size + np.flatnonzero(known)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else None
