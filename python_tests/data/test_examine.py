"""Silence, still pictures and damage are found where they were put."""

from fractions import Fraction

import av
import numpy as np
import pytest
from broken_media import damage_video, write_tracks
from flash_beep import FlashBeep

from avts_ext.data import ClipSpec, Fault, MediaError, MediaReader
from avts_ext.data.examine import examine
from avts_ext.data.spans import merge, subtract, total_s

FILM = FlashBeep(duration_s=10.0)


class Hummed(FlashBeep):
    """Beeps over a hum that is switched off from 3 to 5.5 s and at 7 s for a short while."""

    def waveform(self):
        wave = super().waveform()
        time_s = np.arange(len(wave)) / self.sample_rate
        on = (time_s < 3) | ((time_s >= 5.5) & (time_s < 7)) | (time_s >= 7.5)
        hum = 0.1 * np.sin(2 * np.pi * 200 * time_s)
        return np.where(on, wave + hum, 0).astype(np.float32)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return FILM.write(tmp_path_factory.mktemp("media") / "film.mp4")


def test_long_silence_is_cut_out_and_a_pause_is_not(tmp_path):
    found = examine(Hummed(duration_s=10.0, audio_codec="pcm_s16le").write(tmp_path / "a.mkv"))
    assert found.silence_share == pytest.approx(0.25, abs=0.03)
    assert len(found.usable_s) == 2 and found.damaged_s == () and found.fault is None
    expected = [(0.0, 3.0), (5.5, 10.0)]
    np.testing.assert_allclose(found.usable_s, expected, atol=0.11)


@pytest.mark.parametrize("every_frame", [False, True])
def test_a_moving_picture_with_sound_is_usable_to_its_ends(tmp_path, every_frame):
    found = examine(Hummed(duration_s=2.9).write(tmp_path / "a.mp4"), every_frame=every_frame)
    assert found.usable_s == ((found.info.start_s, found.info.end_s),)
    assert found.silence_share == 0.0 and found.is_static is False and found.fault is None


def test_every_usable_moment_can_be_read_and_no_other(tmp_path):
    path = Hummed(duration_s=10.0).write(tmp_path / "film.mp4")
    key_times = key_frame_times(path)
    damage_video(path, path, packets=slice(100, 104))
    found, spec = examine(path, every_frame=True), ClipSpec(n_frames=4, fps=16)
    before = max(t for t in key_times if t <= 100 / 16)
    assert found.damaged_s == ((before, min(t for t in key_times if t > 100 / 16)),)
    assert examine(path).damaged_s == ()
    with MediaReader(path) as reader:
        for begin_s, end_s in found.usable_s:
            last_s = end_s - spec.duration_s - 1e-4
            for start_s in np.linspace(begin_s, last_s, 12):
                reader.read_clip(start_s, spec)
        with pytest.raises(MediaError):
            reader.read_clip(101 / 16, spec)


def key_frame_times(path):
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return [float(p.pts * p.time_base) for p in packets if p.is_keyframe]


def test_silent_and_still_files_are_of_no_use(tmp_path):
    path = tmp_path / "silent.mkv"
    write_tracks(path)
    found = examine(path)
    assert found.silence_share == 1.0 and found.is_static and found.fault[0] is Fault.SILENT
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 32000).astype(np.float32)
    write_tracks(tmp_path / "still.mkv", audio=noise)
    found = examine(tmp_path / "still.mkv")
    assert found.silence_share == 0.0 and found.fault[0] is Fault.STATIC


@pytest.mark.parametrize(("video", "n_samples"), [(1, 16000), (32, 1), (1, 16)])
def test_files_that_last_no_time_are_too_short(tmp_path, video, n_samples):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, n_samples).astype(np.float32)
    write_tracks(tmp_path / "film.mkv", video=video, audio=noise)
    fault, message = examine(tmp_path / "film.mkv").fault
    assert fault is Fault.TOO_SHORT and "together" in message


def test_sound_is_missing_in_the_middle(tmp_path):
    path = FlashBeep(duration_s=10.0, audio_start_s=Fraction(2)).write(tmp_path / "a.mp4")
    assert examine(path).usable_s[0][0] == pytest.approx(2.0, abs=0.11)


def test_one_track_alone(tmp_path, film):
    write_tracks(tmp_path / "picture.mp4", audio=None)
    with pytest.raises(MediaError, match="no audio track"):
        examine(tmp_path / "picture.mp4")
    picture = examine(tmp_path / "picture.mp4", "video")
    assert picture.info.audio is None and picture.silence_share is None and picture.is_static
    sound = examine(film, "audio")
    assert sound.info.video is None and sound.is_static is None and sound.info.duration_s > 9.9
    with MediaReader(film, tracks="audio") as reader, pytest.raises(MediaError, match="alone"):
        reader.read_frames(1.0, ClipSpec())


def test_frames_out_of_order_are_told(tmp_path):
    path = FlashBeep(audio_codec="pcm_s16le").write(tmp_path / "film.avi")
    with pytest.raises(MediaError) as caught:
        examine(path)
    assert caught.value.fault is Fault.TIMESTAMPS


def test_unknown_tracks_are_refused(film):
    with pytest.raises(ValueError, match=r"tracks must be one of .*, got 'sound'"):
        MediaReader(film, tracks="sound")


def test_spans():
    assert merge([(3, 4), (0, 1), (1, 2)]) == [(0, 2), (3, 4)]
    assert merge([(0, 1), (1.5, 2)], gap_s=0.5) == [(0, 2)]
    assert subtract([(0, 10)], [(2, 3), (9, 12), (-1, 0)]) == [(0, 2), (3, 9)]
    assert subtract([(0, 1), (2, 3)], [(0, 5)]) == []
    assert subtract([(0, 1)], []) == [(0, 1)]
    assert total_s([(0, 1), (2, 4)]) == 3
