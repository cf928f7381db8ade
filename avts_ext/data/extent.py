"""Where a media file has picture and sound, found by walking its packets and decoding its ends."""

from __future__ import annotations

import av
import numpy as np

from avts_ext.data.audio_blocks import AUDIO_BLOCK_S
from avts_ext.data.container import frame_ticks, time_base_of
from avts_ext.data.decoded_file import DecodedFile
from avts_ext.data.faults import Fault
from avts_ext.data.placement import Extent


def packet_spans(file: DecodedFile) -> dict[int, np.ndarray]:
    """By index of the track, (N, 2) int64 start and end ticks of its packets, by start.

    The file must stand at its beginning.
    """
    streams = [s for s in file.container.streams if s.type in ("video", "audio")]
    lengths = {s.index: frame_ticks(s) if isinstance(s, av.VideoStream) else 0 for s in streams}
    spans: dict[int, list[tuple[int, int]]] = {stream.index: [] for stream in streams}
    for packet in file.packets(*streams):
        if packet.pts is not None and packet.size and not packet.is_discard:
            length = packet.duration or lengths[packet.stream_index]
            spans[packet.stream_index].append((packet.pts, packet.pts + length))
    if file.has_video and not spans[file.video.index]:
        raise file.error(Fault.NO_FRAMES, "its video track holds no frame with a time stamp")
    if file.has_audio and not spans[file.audio.index]:
        raise file.error(Fault.NO_SAMPLES, "its audio track holds no sample with a time stamp")
    return {index: np.array(sorted(span), np.int64) for index, span in spans.items() if span}


def sound_span(file: DecodedFile, packets: np.ndarray, rate: int) -> tuple[int, int] | None:
    """First and last + 1 sample of the grid n / rate after decoding, without priming and padding.

    Args:
        file: the file.
        packets: (N, 2) int64 ticks from `packet_spans`.
        rate: samples per second.
    """
    seconds = packets * float(time_base_of(file.audio)) - float(file.origin)
    # Time stamps may lie, so only blocks that packets fall into are looked at.
    blocks = np.unique(np.floor(seconds / AUDIO_BLOCK_S).astype(int)).tolist()
    start = next(filter(None, (_present(file, block, rate) for block in blocks)), None)
    end = next(filter(None, (_present(file, block, rate) for block in reversed(blocks))), None)
    return None if start is None or end is None else (start[0], end[1])


def find_extent(file: DecodedFile, rate: int) -> Extent:
    """The `Extent` of a file on the grid n / rate; `MediaError` if it has not both tracks."""
    file.rewind()
    spans = packet_spans(file)
    frames, time_base = spans[file.video.index], time_base_of(file.video)
    first = next(file.frames_from(int(frames[0, 0])), None)
    if first is None:
        raise file.error(Fault.NO_FRAMES, "no frame of its video track can be decoded")
    begin, end = (pts * time_base - file.origin for pts in (first[0], int(frames[-1, 1])))
    sound = sound_span(file, spans[file.audio.index], rate)
    if sound is None:
        raise file.error(Fault.NO_SAMPLES, "no sample of its audio track can be decoded")
    return Extent((begin, end), end - time_base, (max(sound[0], 0), sound[1]))


def _present(file: DecodedFile, block: int, rate: int) -> tuple[int, int] | None:
    """First and last + 1 sample that a block holds, if any."""
    size = AUDIO_BLOCK_S * rate
    known = np.ones(size, bool)
    for begin, end in file.audio_block(block, rate).missing.tolist():
        known[begin:end] = False
    indices = block * size + np.flatnonzero(known)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else None
