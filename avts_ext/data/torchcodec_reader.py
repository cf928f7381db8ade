"""Torchcodec as a second decoder behind the same interface.

An optional package: `pip install torchcodec`, which brings no FFmpeg of its own and finds its
libraries by the linker's search path. The clock, the policies and the choice of frames are those of
`MediaReader`; only decoding, scaling and conversion are torchcodec's. Its pixels differ by a level
or two, and its sound where a codec draws noise: see `avts_ext.data.fingerprint`. Files that
torchcodec 0.17 cannot place in time are refused by a `MediaError`:

- MP4 with sound before time zero, by an edit list or its time stamps: it finds no sound at all.
- MPEG-TS with B-frames: it shows other frames than those asked for, or ends too early.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
from torchcodec.decoders import AudioDecoder, VideoDecoder
from torchcodec.transforms import CenterCrop, Resize

from avts_ext.data.audio_blocks import AUDIO_BLOCK_S, AUDIO_TAIL, Waves
from avts_ext.data.container import frame_ticks, time_base_of
from avts_ext.data.faults import Fault
from avts_ext.data.gop import Run
from avts_ext.data.media import MediaReader
from avts_ext.data.media_file import Tracks
from avts_ext.data.picture import covered_window
from avts_ext.data.sound_decoder import lead


class TorchcodecReader(MediaReader):
    """`MediaReader` with torchcodec's decoders.

    Args:
        path: the file.
        threads: decoder threads.
        tracks: what the file must have, and all that is read of it: "both", "video" or "audio".

    Raises:
        MediaError: the file cannot be opened or lacks a track.
    """

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, tracks: Tracks = "both"
    ) -> None:
        super().__init__(path, threads, tracks)
        self._n_threads = threads
        self._pictures: dict[tuple[int, int], VideoDecoder] = {}
        self._sound: AudioDecoder | None = None

    def _show(self, run: Run, out: np.ndarray) -> list[tuple[int, int]]:
        wanted = run.wanted(frame_ticks(self.video))
        if wanted is None:
            message = "torchcodec cannot place frames whose packets have no time stamps"
            raise self.error(Fault.TIMESTAMPS, message)
        if not wanted:
            return []
        time_base = time_base_of(self.video)
        # In the middle of its time on display, where rounding to float64 does not matter.
        asked_s = [float((pts + end) * time_base / 2) for pts, end in wanted]
        with self._errors(run.first_pts * time_base):
            batch = self._video_decoder(*out.shape[1:3]).get_frames_played_at(asked_s)
        late_s = batch.pts_seconds.numpy() - [float(pts * time_base) for pts, _ in wanted]
        if np.abs(late_s).max() > float(time_base):
            raise self.error(Fault.TIMESTAMPS, "torchcodec shows other frames than were asked for")
        out[: len(wanted)] = batch.data.numpy()
        return wanted

    def _decoded_sound(self, index: int, needed: Fraction) -> Waves | None:
        start = self.origin + index * AUDIO_BLOCK_S
        rate = self.audio.codec_context.sample_rate
        begin_s = float(start - lead(self.audio.codec_context.name, rate))
        end_s = float(start + needed + AUDIO_TAIL)
        if self._sound is None:
            self._sound = AudioDecoder(self.path, stream_index=self.audio.index)
        first_s = float((self.audio.start_time or 0) * time_base_of(self.audio))
        container = self.container
        last_s = ((container.start_time or 0) + (container.duration or math.inf)) / av.time_base
        if end_s <= first_s or begin_s >= last_s:
            return None
        with self._errors(start):
            found = self._sound.get_samples_played_in_range(max(begin_s, first_s), end_s)
        wave = found.data.numpy().mean(axis=0, dtype=np.float32)
        starts = np.array([(found.pts_seconds - float(start)) * found.sample_rate])
        return Waves(starts, [wave], found.sample_rate, time_base_of(self.audio))

    def _video_decoder(self, height: int, width: int) -> VideoDecoder:
        if (height, width) not in self._pictures:
            stream = self.video
            aspect = stream.sample_aspect_ratio or Fraction(1)
            window = covered_window(stream.height, stream.width, aspect, height, width)
            self._pictures[height, width] = VideoDecoder(
                self.path,
                stream_index=stream.index,
                dimension_order="NHWC",
                num_ffmpeg_threads=self._n_threads,
                transforms=[CenterCrop(window), Resize((height, width))],
            )
        return self._pictures[height, width]

    @contextmanager
    def _errors(self, at: Fraction) -> Iterator[None]:
        """Turn torchcodec's errors into `MediaError`."""
        try:
            yield
        except (RuntimeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            message = f"torchcodec cannot decode it at {float(at - self.origin):.3f} s ({reason})"
            raise self.error(Fault.DECODE, message) from None
