"""The rendered sound holds a note at every event."""

import numpy as np
import pytest

from avts_ext.world.scene import CLASSES, N_SAMPLES, SAMPLE_RATE, Concern, draw_scene
from avts_ext.world.sound import TIMBRES, _draw_pitch_hz, draw_note, render_sound


def test_waveform_fits_full_scale_with_headroom():
    for index in range(10):
        waveform = render_sound(draw_scene(0, index))
        assert waveform.shape == (N_SAMPLES,) and waveform.dtype == np.float32
        peak_db = 20 * np.log10(np.abs(waveform).max())
        assert -16.01 <= peak_db <= -0.99


def test_sound_is_a_function_of_the_scene():
    waveform = render_sound(draw_scene(0, 3))
    assert np.array_equal(waveform, render_sound(draw_scene(0, 3)))
    assert not np.array_equal(waveform, render_sound(draw_scene(0, 13)))
    assert not np.array_equal(waveform, render_sound(draw_scene(1, 3)))


def test_silent_events_of_a_duet_are_not_heard():
    # The silent object's class and events have no say in the sound.
    scene = draw_scene(0, 2, "duet")
    other = draw_scene(0, 2, "duet")
    object.__setattr__(other, "silent_event_times_s", np.array([1.0]))
    object.__setattr__(other, "silent_label", (scene.silent_label + 1) % 10)
    assert np.array_equal(render_sound(scene), render_sound(other))


@pytest.mark.parametrize("timbre", TIMBRES)
@pytest.mark.parametrize("pitch_hz", [180.0, 1300.0])
def test_notes_begin_at_once_and_end_softly(timbre, pitch_hz):
    rng = draw_scene(0, 0).rng(Concern.VOICE)
    note = draw_note(rng, timbre, pitch_hz)
    assert 0.14 * SAMPLE_RATE - 1 <= len(note) <= 0.32 * SAMPLE_RATE
    assert note[0] == 0 and note[-1] == 0 and np.isfinite(note).all()
    loud = np.flatnonzero(np.abs(note) > 0.1 * np.abs(note).max())
    # A gate or flutter of 22 Hz may keep a note low for half its period.
    assert loud[0] <= 0.025 * SAMPLE_RATE
    assert 0.02 < np.sqrt((note**2).mean()) < 2


def test_pitch_says_nothing_about_the_class():
    octaves = np.empty((len(CLASSES), 100))
    for index in range(octaves.size):
        pitch_hz = _draw_pitch_hz(draw_scene(9, index).rng(Concern.VOICE))
        octaves[index % 10, index // 10] = np.log2(pitch_hz / 200)
    # Uniform over 2.5 octaves in every class: means of 100 lie within 4 standard errors.
    assert octaves.min() >= 0 and octaves.max() <= 2.5
    assert np.abs(octaves.mean(axis=1) - 1.25).max() < 4 * 2.5 / np.sqrt(12 * 100)


def test_every_class_has_a_timbre():
    assert {spec.timbre for spec in CLASSES} == set(TIMBRES)
