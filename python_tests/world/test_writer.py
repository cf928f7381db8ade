"""Sound and picture of a file are on one clock, and its bytes depend on its content alone."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from avts_ext.data import ClipSpec, MediaReader, probe
from avts_ext.data.writer import encode_mp4
from avts_ext.world import generate, load_truth
from avts_ext.world.picture import render_picture
from avts_ext.world.scene import (
    DURATION_S,
    FPS,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    SIZE_PX,
    draw_scene,
)
from avts_ext.world.sound import _draw_notes, render_sound

ALL_FRAMES = ClipSpec(N_FRAMES, Fraction(FPS), SIZE_PX, SIZE_PX, SAMPLE_RATE)
ENCODE = """
import hashlib
import numpy
from avts_ext.world.picture import render_picture
from avts_ext.world.scene import draw_scene
from avts_ext.data.writer import encode_mp4
digest = hashlib.sha256()
for index in (1, 3, 4, 5):
    waveform = numpy.sin(numpy.arange(96000, dtype=numpy.float32) / (1 + index)) / 2
    digest.update(encode_mp4(render_picture(draw_scene(0, index))[0], 16, waveform, 16000))
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """(truth, frames, waveform) of the first videos of a world, as the reader gives them."""
    out = generate(tmp_path_factory.mktemp("world"), 3, workers=1, progress=False)
    videos = []
    for truth in load_truth(out):
        with MediaReader(truth.path) as reader:
            frames, times_s = reader.read_frames(0, ALL_FRAMES)
            waveform, start_s = reader.read_audio(0, DURATION_S, SAMPLE_RATE)
        assert start_s == 0 and np.array_equal(times_s.numpy(), np.arange(N_FRAMES) / FPS)
        videos.append((truth, frames.numpy(), waveform.numpy()))
    return videos


def test_file_is_what_was_promised(decoded):
    info = probe(decoded[0][0].path)
    assert (info.video.codec, info.audio.codec) == ("h264", "aac")
    assert (info.video.width, info.video.height, info.video.fps) == (64, 64, 16.0)
    assert info.video.n_frames == 96 and not info.video.has_variable_rate
    assert (info.audio.sample_rate, info.audio.n_channels) == (16000, 1)
    assert info.start_s == 0 and info.duration_s == DURATION_S


def test_decoded_frames_are_the_rendered_ones(decoded):
    for truth, frames, _ in decoded:
        rendered, *_ = render_picture(draw_scene(0, truth.index))
        # Luma: the colour of single grains is lost to chroma subsampling.
        seen, meant = (pictures @ [0.299, 0.587, 0.114] for pictures in (frames, rendered))
        error = np.abs(seen[:, None] - meant[None]).mean(axis=(2, 3))
        own, best = error.diagonal(), error.min(axis=1)
        # Neighbours may look the same at times, but one frame off would show in nearly all.
        assert own.max() < 4 and np.all(own < best + 0.3) and np.mean(own == best) > 0.8


def test_decoded_sound_is_the_rendered_one_to_the_sample(decoded):
    for truth, _, waveform in decoded:
        rendered = render_sound(draw_scene(0, truth.index))
        spectrum = (
            np.fft.rfft(waveform, 2 * N_SAMPLES) * np.fft.rfft(rendered, 2 * N_SAMPLES).conj()
        )
        correlation = np.fft.irfft(spectrum)
        assert correlation.argmax() == 0
        assert correlation[0] > 0.95 * np.linalg.norm(waveform) * np.linalg.norm(rendered)


def test_flashes_are_first_seen_in_the_frame_on_display_at_the_event(decoded):
    truth, frames, _ = decoded[1]
    brightness = []
    for frame, box in zip(frames, truth.source_box.astype(int), strict=True):
        x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        brightness.append(frame[y - 2 : y + 3, x - 2 : x + 3].min(axis=-1).mean())
    seen = np.flatnonzero(np.diff(brightness) > 80) + 1
    expected = np.floor(truth.event_times_s * FPS).astype(int)
    assert seen.tolist() == expected.tolist()


def test_a_note_is_heard_within_milliseconds_of_the_event_time(tmp_path):
    # Notes alone, without noise and other sounds, but through the encoder and the reader.
    for index in (0, 2, 7):
        scene = draw_scene(0, index)
        notes = (0.3 * _draw_notes(scene)).astype(np.float32)
        path = tmp_path / f"{index}.mp4"
        frames = np.zeros((N_FRAMES, SIZE_PX, SIZE_PX, 3), np.uint8)
        path.write_bytes(encode_mp4(frames, FPS, notes, SAMPLE_RATE))
        with MediaReader(path) as reader:
            waveform = reader.read_audio(0, DURATION_S, SAMPLE_RATE)[0].numpy()
        for time_s in scene.event_times_s:
            first = int((time_s - 0.05) * SAMPLE_RATE)
            stretch = np.abs(waveform[max(first, 0) : first + 3200])
            onset = max(first, 0) + np.flatnonzero(stretch > 0.2 * stretch.max())[0]
            assert 0 <= onset / SAMPLE_RATE - time_s < 0.006


def test_bytes_do_not_depend_on_what_memory_held_before():
    # glibc fills fresh memory with this byte; other systems ignore it.
    command = [sys.executable, "-c", ENCODE]
    digests = set()
    for byte in ("0", "85", "255"):
        environment = os.environ | {"MALLOC_PERTURB_": byte}
        digests.add(subprocess.check_output(command, env=environment, text=True).strip())
    assert len(digests) == 1 and len(digests.pop()) == 64
