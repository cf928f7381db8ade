"""Writes files in which a white frame and a beep happen at the same, exactly known, times."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BEEP_S = 0.03
FLASH_LEVEL = 235
N_LEVELS = 36


@dataclass(frozen=True)
class FlashBeep:
    """What to write. Times are seconds of the container's clock.

    `frame_steps` are the lengths of the frames, in units of 1 / fps, repeated over the file: (1,)
    is a constant frame rate. Every `flash_every`-th frame is white, all others carry their number
    in their grey level, see `frame_level`. A beep is centred on the start of each white frame.
    """

    duration_s: float = 6.0
    fps: Fraction = Fraction(16)
    frame_steps: tuple[int, ...] = (1,)
    ticks_per_frame: int = 80
    b_frames: int = 2
    keyframe_interval: int = 24
    flash_every: int = 13
    video_codec: str = "libx264"
    video_start_s: Fraction = Fraction(0)
    size: tuple[int, int] = (64, 64)
    audio_codec: str = "aac"
    sample_rate: int = 16000
    audio_bit_rate: int = 0  # 0: the encoder's default
    layout: str = "mono"
    audio_start_s: Fraction = Fraction(0)
    muxer_options: dict[str, str] = field(default_factory=dict)

    def frame_times(self) -> list[Fraction]:
        """When each frame comes on display."""
        times, time, end = [], self.video_start_s, Fraction(self.duration_s) + self.video_start_s
        while time < end:
            times.append(time)
            time += self.frame_steps[(len(times) - 1) % len(self.frame_steps)] / self.fps
        return times

    def is_flash(self, frame: int) -> bool:
        return frame % self.flash_every == self.flash_every // 2

    def event_times(self) -> list[Fraction]:
        return [t for i, t in enumerate(self.frame_times()) if self.is_flash(i)]

    def frame_level(self, frame: int) -> int:
        """Grey level of a frame; the number of an ordinary frame modulo `N_LEVELS` is in it."""
        return FLASH_LEVEL if self.is_flash(frame) else 20 + 5 * (frame % N_LEVELS)

    def waveform(self) -> np.ndarray:
        """(S,) float32 beginning at `audio_start_s`: silence but for the beeps."""
        n_samples = round(self.duration_s * self.sample_rate)
        time_s = float(self.audio_start_s) + np.arange(n_samples) / self.sample_rate
        return sum(beep(time_s - float(event)) for event in self.event_times()).astype(np.float32)

    def write(self, path: Path) -> Path:
        """Write the file; the container follows from the suffix."""
        with av.open(str(path), "w", options=self.muxer_options) as container:
            encoders = [self._video_packets(container), self._audio_packets(container)]
            for batches in itertools.zip_longest(*encoders, fillvalue=[]):
                container.mux([packet for batch in batches for packet in batch])
        return path

    def _video_packets(self, container):
        options = {"bf": str(self.b_frames), "g": str(self.keyframe_interval)}
        if self.video_codec == "libx264":
            # Key frames where they are asked for, not at the flashes.
            options |= {"crf": "10", "preset": "veryfast", "sc_threshold": "0"}
        stream = container.add_stream(self.video_codec, rate=self.fps, options=options)
        stream.height, stream.width = self.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / (self.fps * self.ticks_per_frame)
        if self.video_codec != "libx264":
            stream.bit_rate = 2_000_000

        def packets():
            for i, time in enumerate(self.frame_times()):
                picture = np.full((*self.size, 3), self.frame_level(i), np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.time_base = stream.codec_context.time_base
                ticks = time / frame.time_base
                assert ticks.denominator == 1, "choose times that the tick can express"
                frame.pts = int(ticks)
                yield stream.encode(frame)
            yield stream.encode(None)

        return packets()

    def _audio_packets(self, container):
        stream = container.add_stream(self.audio_codec, rate=self.sample_rate, layout=self.layout)
        if self.audio_bit_rate:
            stream.bit_rate = self.audio_bit_rate
        n_channels = stream.codec_context.layout.nb_channels
        wave = self.waveform()
        # The beep is in one channel alone: the reader has to mix.
        samples = np.zeros((n_channels, len(wave)), np.float32)
        samples[min(2, n_channels - 1)] = wave

        def packets():
            for i in range(0, len(wave), 1024):
                part = np.ascontiguousarray(samples[:, i : i + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=self.layout)
                frame.sample_rate = self.sample_rate
                frame.time_base = Fraction(1, self.sample_rate)
                frame.pts = round(self.audio_start_s * self.sample_rate) + i
                yield stream.encode(frame)
            yield stream.encode(None)

        return packets()


def beep(time_s: np.ndarray) -> np.ndarray:
    """A chirp of 0.8 to 2.8 kHz centred on 0: its autocorrelation has one sharp peak."""
    inside = np.abs(time_s) < BEEP_S / 2
    window = np.where(inside, np.cos(np.pi * time_s / BEEP_S) ** 2, 0.0)
    phase = 2 * np.pi * (1800 * time_s + 1000 / BEEP_S * time_s**2)
    return 0.5 * window * np.cos(phase)


def find_beeps(waveform: np.ndarray, sample_rate: int, start_s: float) -> list[float]:
    """Centres in seconds of the beeps in a stretch of sound, by matched filter, sub-sample."""
    half = round(BEEP_S * sample_rate)
    template = beep(np.arange(-half, half + 1) / sample_rate)
    score = np.abs(np.correlate(waveform, template, mode="same"))
    found, threshold = [], 0.5 * score.max()
    if score.max() < 0.02 * (template**2).sum():
        return []
    while score.max() > threshold:
        peak = int(score.argmax())
        if half < peak < len(score) - 1 - half:
            left, top, right = score[peak - 1 : peak + 2]
            shift = 0.5 * (left - right) / (left - 2 * top + right)
            found.append(start_s + (peak + shift) / sample_rate)
        score[max(peak - half, 0) : peak + half + 1] = 0
    return sorted(found)
