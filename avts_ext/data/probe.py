"""Facts about a media file, found by walking its packets and decoding its two ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from avts_ext.data.container import time_base_of
from avts_ext.data.extent import packet_spans, sound_span
from avts_ext.data.faults import Fault
from avts_ext.data.media import MediaReader
from avts_ext.data.media_file import Tracks

# A header may promise this much more than the file holds before the file counts as truncated.
_TRUNCATION_S = 0.5


@dataclass(frozen=True)
class VideoInfo:
    """What a video track holds.

    Attributes:
        codec: FFmpeg's name of the codec.
        width, height: frame size in pixels.
        n_frames: number of frames.
        fps: mean frame rate.
        has_variable_rate: True if distances between frames differ by more than the container's
            rounding.
        start_s, end_s: when the first frame appears and the last one vanishes, on the file's clock.
    """

    codec: str
    width: int
    height: int
    n_frames: int
    fps: float
    has_variable_rate: bool
    start_s: float
    end_s: float


@dataclass(frozen=True)
class AudioInfo:
    """What an audio track holds.

    Attributes:
        codec: FFmpeg's name of the codec.
        sample_rate: samples per second.
        n_channels: its channels.
        start_s, end_s: when the first sample begins and the last one ends, on the file's clock.
    """

    codec: str
    sample_rate: int
    n_channels: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Times are seconds of the file's clock, see `avts_ext.data.media_file`.

    Attributes:
        path: the file.
        container: FFmpeg's name of the format.
        video: its picture, or None if it was not asked for.
        audio: its sound, or None if it was not asked for.
    """

    path: str
    container: str
    video: VideoInfo | None
    audio: AudioInfo | None

    @property
    def start_s(self) -> float:
        """From here on there is everything that was asked for."""
        return max(track.start_s for track in (self.video, self.audio) if track)

    @property
    def end_s(self) -> float:
        """Up to here there is everything that was asked for."""
        return min(track.end_s for track in (self.video, self.audio) if track)

    @property
    def duration_s(self) -> float:
        """Length of the stretch with everything that was asked for."""
        return self.end_s - self.start_s


def probe(path: str | os.PathLike[str], tracks: Tracks = "both") -> MediaInfo:
    """Examine a file.

    Reads all packets, decodes the first frame and the first and last few seconds of sound.

    Args:
        path: the file.
        tracks: what the file must have, and all that is examined: "both", "video" or "audio".

    Raises:
        MediaError: the file is unusable; its `fault` says why.
    """
    with MediaReader(path, tracks=tracks) as reader:
        return probe_open(reader)


def probe_open(reader: MediaReader) -> MediaInfo:
    """`probe` of a file that is open already."""
    with reader.decoding(Fraction(0)):
        spans = packet_spans(reader)
        _check_complete(reader, spans)
        info = MediaInfo(
            path=reader.path,
            container=reader.container.format.name,
            video=_video_info(reader, spans[reader.video.index]) if reader.has_video else None,
            audio=_audio_info(reader, spans[reader.audio.index]) if reader.has_audio else None,
        )
    if info.duration_s <= 0:
        raise reader.error(Fault.TOO_SHORT, "its sound and picture do not overlap in time")
    return info


def _check_complete(reader: MediaReader, spans: dict[int, np.ndarray]) -> None:
    """Raise if the file ends well before its header says."""
    container = reader.container
    if container.duration is None:
        return
    # Matroska counts its duration from zero, not from the first track's start.
    counts_from = 0 if "matroska" in container.format.name else container.start_time or 0
    promised = Fraction(counts_from + container.duration, av.time_base)
    promised_s = float(promised - reader.origin)
    ends = {container.streams[index]: int(span[:, 1].max()) for index, span in spans.items()}
    last_s = max(reader.seconds(stream, end) for stream, end in ends.items())
    if last_s < promised_s - _TRUNCATION_S:
        message = f"its header promises {promised_s:.2f} s, its data ends at {last_s:.2f} s"
        raise reader.error(Fault.TRUNCATED, message)


def _video_info(reader: MediaReader, frames: np.ndarray) -> VideoInfo:
    first = next(reader.frames_from(int(frames[0, 0])), None)
    if first is None:
        raise reader.error(Fault.NO_FRAMES, "no frame of its video track can be decoded")
    start_s = reader.seconds(reader.video, first[0])
    end_s = reader.seconds(reader.video, int(frames[:, 1].max()))
    steps = np.diff(frames[:, 0])
    return VideoInfo(
        codec=reader.video.codec_context.name,
        width=first[2].width,
        height=first[2].height,
        n_frames=len(frames),
        fps=len(frames) / (end_s - start_s),
        # Rounding to the container's ticks alone makes steps differ by one.
        has_variable_rate=len(steps) > 0 and int(steps.max() - steps.min()) > 1,
        start_s=start_s,
        end_s=end_s,
    )


def _audio_info(reader: MediaReader, packets: np.ndarray) -> AudioInfo:
    start_s, end_s = _audio_span(reader, packets)
    context = reader.audio.codec_context
    return AudioInfo(
        codec=context.name,
        sample_rate=context.sample_rate,
        n_channels=context.layout.nb_channels,
        start_s=start_s,
        end_s=end_s,
    )


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
    span = sound_span(reader, packets, rate)
    if span is None:
        raise reader.error(Fault.NO_SAMPLES, "no sample of its audio track can be decoded")
    return span[0] / rate, span[1] / rate
