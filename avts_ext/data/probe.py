"""Facts about a media file, found by walking its packets and decoding its two ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from avts_ext.data.faults import Fault
from avts_ext.data.media import AUDIO_BLOCK_S, MediaReader, frame_ticks, time_base_of

# A header may promise this much more than the file holds before the file counts as truncated.
_TRUNCATION_S = 0.5


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Times are seconds of the file's clock, see `avts_ext.data.media`.

    Attributes:
        path: the file.
        container: FFmpeg's name of the format.
        video_codec, audio_codec: FFmpeg's names of the codecs.
        width, height: frame size in pixels.
        n_frames: number of frames.
        fps: mean frame rate.
        has_variable_rate: True if distances between frames differ by more than the container's
            rounding.
        sample_rate: samples per second of the audio track.
        n_channels: its channels.
        video_start_s, video_end_s: when the first frame appears and the last one vanishes.
        audio_start_s, audio_end_s: when the first sample begins and the last one ends.
    """

    path: str
    container: str
    video_codec: str
    audio_codec: str
    width: int
    height: int
    n_frames: int
    fps: float
    has_variable_rate: bool
    sample_rate: int
    n_channels: int
    video_start_s: float
    video_end_s: float
    audio_start_s: float
    audio_end_s: float

    @property
    def start_s(self) -> float:
        """From here on there are both sound and picture."""
        return max(self.video_start_s, self.audio_start_s)

    @property
    def end_s(self) -> float:
        """Up to here there are both sound and picture."""
        return min(self.video_end_s, self.audio_end_s)

    @property
    def duration_s(self) -> float:
        """Length of the stretch with both sound and picture."""
        return self.end_s - self.start_s


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """Examine a file.

    Reads all packets, decodes the first frame and the first and last few seconds of sound.

    Raises:
        MediaError: the file is unusable; its `fault` says why.
    """
    with MediaReader(path) as reader, reader.decoding(Fraction(0)):
        frames, packets = _packet_spans(reader)
        video_end_s = reader.seconds(reader.video, int(frames[:, 1].max()))
        last_s = max(video_end_s, reader.seconds(reader.audio, int(packets[:, 1].max())))
        _check_complete(reader, last_s)
        first = next(reader.frames_from(int(frames[0, 0])), None)
        if first is None:
            raise reader.error(Fault.NO_FRAMES, "no frame of its video track can be decoded")
        video_start_s = reader.seconds(reader.video, first[0])
        audio_start_s, audio_end_s = _audio_span(reader, packets)
        steps = np.diff(frames[:, 0])
        info = MediaInfo(
            path=reader.path,
            container=reader.container.format.name,
            video_codec=reader.video.codec_context.name,
            audio_codec=reader.audio.codec_context.name,
            width=first[2].width,
            height=first[2].height,
            n_frames=len(frames),
            fps=len(frames) / (video_end_s - video_start_s),
            # Rounding to the container's ticks alone makes steps differ by one.
            has_variable_rate=len(steps) > 0 and int(steps.max() - steps.min()) > 1,
            sample_rate=reader.audio.codec_context.sample_rate,
            n_channels=reader.audio.codec_context.layout.nb_channels,
            video_start_s=video_start_s,
            video_end_s=video_end_s,
            audio_start_s=audio_start_s,
            audio_end_s=audio_end_s,
        )
        if info.duration_s <= 0:
            raise reader.error(Fault.TOO_SHORT, "its sound and picture do not overlap in time")
        return info


def _packet_spans(reader: MediaReader) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) int64 start and end ticks of the video and of the audio packets, by start."""
    video_index, default = reader.video.index, frame_ticks(reader.video)
    spans: dict[int, list[tuple[int, int]]] = {video_index: [], reader.audio.index: []}
    for packet in reader.packets(reader.video, reader.audio):
        if packet.pts is not None and packet.size and not packet.is_discard:
            length = packet.duration or (default if packet.stream_index == video_index else 0)
            spans[packet.stream_index].append((packet.pts, packet.pts + length))
    if not spans[video_index]:
        raise reader.error(Fault.NO_FRAMES, "its video track holds no frame with a time stamp")
    if not spans[reader.audio.index]:
        raise reader.error(Fault.NO_SAMPLES, "its audio track holds no sample with a time stamp")
    video, audio = (np.array(sorted(span), np.int64) for span in spans.values())
    return video, audio


def _check_complete(reader: MediaReader, last_s: float) -> None:
    """Raise if the file ends well before its header says."""
    container = reader.container
    if container.duration is None:
        return
    promised = Fraction((container.start_time or 0) + container.duration, av.time_base)
    promised_s = float(promised - reader.origin)
    if last_s < promised_s - _TRUNCATION_S:
        message = f"its header promises {promised_s:.2f} s, its data ends at {last_s:.2f} s"
        raise reader.error(Fault.TRUNCATED, message)


def _audio_span(reader: MediaReader, packets: np.ndarray) -> tuple[float, float]:
    """First and last moment of sound after decoding, without priming and padding."""
    rate = reader.audio.codec_context.sample_rate
    seconds = packets * float(time_base_of(reader.audio)) - float(reader.origin)
    span_s = float(seconds.max() - seconds.min())
    sound_s = (
        len(seconds) * float(np.median(np.diff(seconds[:, 0]))) if len(seconds) > 1 else span_s
    )
    if sound_s < span_s / 2:
        message = f"its audio packets hold {sound_s:.1f} s of sound, strewn over {span_s:.1f} s"
        raise reader.error(Fault.TIMESTAMPS, message)
    # Time stamps may lie, so only blocks that packets fall into are looked at.
    blocks = np.unique(np.floor(seconds / AUDIO_BLOCK_S).astype(int)).tolist()
    start = next(filter(None, (_present(reader, block, rate) for block in blocks)), None)
    end = next(filter(None, (_present(reader, block, rate) for block in reversed(blocks))), None)
    if start is None or end is None:
        raise reader.error(Fault.NO_SAMPLES, "no sample of its audio track can be decoded")
    return start[0] / rate, end[1] / rate


def _present(reader: MediaReader, block: int, rate: int) -> tuple[int, int] | None:
    """First and last + 1 sample that a block holds, if any."""
    size = AUDIO_BLOCK_S * rate
    known = np.ones(size, bool)
    for begin, end in reader.audio_block(block, rate).missing.tolist():
        known[begin:end] = False
    indices = block * size + np.flatnonzero(known)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else None
