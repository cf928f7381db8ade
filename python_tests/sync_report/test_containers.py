"""Shift, report, fix, report, in containers of every family, with codecs that they usually hold."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.data import ClipSpec
from avts_ext.sync_report.drift_proof import stretched
from avts_ext.sync_report.proof import read_all
from avts_ext.world import generate

FPS, DELAY_S = 16, {".webm": -0.4, ".avi": 0.55, ".mpg": -0.3}
CODECS = {
    ".mp4": ("libx264", "aac", 16000),
    ".m4v": ("libx264", "aac", 16000),
    ".mov": ("libx264", "pcm_s16le", 16000),
    ".mkv": ("libx264", "libopus", 48000),
    ".webm": ("libvpx-vp9", "libopus", 48000),
    ".ts": ("libx264", "aac", 48000),
    ".flv": ("libx264", "aac", 44100),
    ".avi": ("mpeg4", "pcm_s16le", 16000),
    ".mpg": ("mpeg2video", "mp2", 48000),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    world = generate(tmp_path_factory.mktemp("w") / "w", 1, seed=77, progress=False)
    return read_all(str(world / "videos/000000.mp4"), ClipSpec())


def write(path, frames, waveform):
    """A file whose sound is late by nothing but what the waveform says."""
    video_codec, audio_codec, rate = CODECS[path.suffix]
    fps = 24 if path.suffix == ".mpg" else FPS  # MPEG-2 knows few rates
    frames = frames[(np.arange(len(frames) * fps // FPS) * FPS / fps).astype(int)]
    times = np.arange(int(len(waveform) * rate / 16000)) / rate * 16000
    sound = np.interp(times, np.arange(len(waveform)), waveform).astype(np.float32)
    with av.open(str(path), "w") as container:
        picture = container.add_stream(video_codec, rate=fps)
        picture.height, picture.width, picture.pix_fmt = 64, 64, "yuv420p"
        picture.bit_rate = 2_000_000
        track = container.add_stream(audio_codec, rate=rate, layout="mono")
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode(None))
        for first in range(0, len(sound), 960):
            part = np.ascontiguousarray(sound[None, first : first + 960])
            samples = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = rate, first
            container.mux(track.encode(samples))
        container.mux(track.encode(None))
    return path


def report(path, *options):
    assert main(["sync", str(path), "--out_dir", "reports", *options]) == 0
    return json.loads(Path(f"reports/{path.name}.json").read_text())


@pytest.mark.parametrize("suffix", CODECS)
def test_shift_report_fix_report_gives_zero(video, tmp_path, suffix):
    frames, waveform = video
    delay_s = DELAY_S.get(suffix, 0.4)
    late = write(tmp_path / f"late{suffix}", frames, stretched(waveform, delay_s, 0.0, 16000))
    found = report(late, "--fix")
    assert found["verdict"] == "out of sync"
    assert found["offset_s"] == pytest.approx(delay_s, abs=0.04)
    # AVI keeps no time stamps: its copy is a Matroska file.
    fixed = tmp_path / f"late.in_sync{'.mkv' if suffix == '.avi' else suffix}"
    assert found["fixed"] == str(fixed)
    again = report(fixed)
    assert again["verdict"] == "in sync" and abs(again["offset_s"]) < 0.04
