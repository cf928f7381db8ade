"""The reader: shapes, pictures, and clear errors for requests and files that are wrong."""

import traceback
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from broken_media import damage_video, write_tracks
from flash_beep import FlashBeep

from avts_ext.data import ClipSpec, Fault, MediaError, MediaReader, probe


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A good file of 6 s."""
    return FlashBeep().write(tmp_path_factory.mktemp("media") / "film.mp4")


@pytest.mark.parametrize(
    "spec",
    [
        ClipSpec(),
        ClipSpec(n_frames=1, fps=1, height=7, width=9, sample_rate=8000),
        ClipSpec(n_frames=25, fps=Fraction(30000, 1001), height=112, width=80, sample_rate=22050),
    ],
)
def test_counts_are_exact(film, spec):
    with MediaReader(film) as reader:
        for start_s in np.random.default_rng(0).uniform(0, 6 - spec.duration_s, 10):
            clip = reader.read_clip(start_s, spec)
            assert clip.frames.shape == (spec.n_frames, spec.height, spec.width, 3)
            assert clip.frames.dtype == torch.uint8
            assert clip.waveform.shape == (spec.n_samples,)
            assert clip.waveform.dtype == torch.float32
            assert abs(clip.audio_residual_s) <= 0.5 / spec.sample_rate + 1e-12


def test_probe_tells_what_was_written(tmp_path):
    written = FlashBeep(
        fps=Fraction(30000, 1001), sample_rate=44100, layout="stereo", audio_start_s=Fraction(1, 2)
    )
    info = probe(written.write(tmp_path / "film.mp4"))
    assert (info.video.codec, info.audio.codec) == ("h264", "aac")
    assert (info.video.width, info.video.height, info.video.n_frames) == (
        64,
        64,
        len(written.frame_times()),
    )
    assert info.video.fps == pytest.approx(30000 / 1001)
    assert not info.video.has_variable_rate
    assert (info.audio.sample_rate, info.audio.n_channels) == (44100, 2)
    assert info.video.start_s == 0.0
    assert info.video.end_s == pytest.approx(6.006, abs=1e-3)
    assert info.audio.start_s == pytest.approx(0.5, abs=0.03)  # AAC counts priming as sound
    assert info.start_s == info.audio.start_s and info.end_s == info.video.end_s


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".ts"])
def test_tracks_that_all_begin_late_are_not_taken_for_a_truncated_file(tmp_path, suffix):
    codecs = {"video_codec": "libvpx", "audio_codec": "libopus", "sample_rate": 48000}
    late_s = Fraction(2)
    film = FlashBeep(
        duration_s=2.0,
        video_start_s=late_s,
        audio_start_s=late_s,
        **(codecs if suffix == ".webm" else {}),
    )
    info = probe(film.write(tmp_path / f"film{suffix}"))
    begins_anywhere = suffix == ".ts"
    assert info.start_s == pytest.approx(0 if begins_anywhere else 2, abs=0.1)
    assert info.duration_s == pytest.approx(2, abs=0.1)


def test_probe_tells_variable_frame_rate(tmp_path):
    assert probe(FlashBeep(frame_steps=(1, 2)).write(tmp_path / "film.mkv")).video.has_variable_rate


def test_pictures_keep_proportions_and_colours(tmp_path):
    path = tmp_path / "film.mp4"
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, 24:72, 0] = 255
    picture[:24, 24:72, 2] = 255  # magenta above red in the central square, black beside it
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=8, options={"crf": "5"})
        video.width, video.height, video.pix_fmt = 96, 48, "yuv444p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(16):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 8)
            container.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), "fltp", "mono")
        sound.sample_rate, sound.pts, sound.time_base = 16000, 0, Fraction(1, 16000)
        container.mux([*video.encode(None), *audio.encode(sound), *audio.encode(None)])
    with MediaReader(path) as reader:
        frames, _ = reader.read_frames(0.5, ClipSpec(n_frames=2, height=24, width=24))
    above, below = frames[0, 2:10, 2:-2].float(), frames[0, 14:-2, 2:-2].float()
    assert (above - torch.tensor([255.0, 0.0, 255.0])).abs().max() < 12
    assert (below - torch.tensor([255.0, 0.0, 0.0])).abs().max() < 12


@pytest.mark.parametrize("start_s", [-0.2, 5.2, 100.0])
def test_request_outside_the_file(film, start_s):
    with MediaReader(film) as reader, pytest.raises(MediaError) as caught:
        reader.read_clip(start_s, ClipSpec())
    assert caught.value.fault is Fault.OUT_OF_RANGE
    assert " s" in caught.value.message
    assert str(film) in str(caught.value)


def test_sound_outside_the_file_and_the_very_last_second(film):
    info = probe(film)
    with MediaReader(film) as reader:
        waveform, _ = reader.read_audio(info.audio.end_s - 1.0, 1.0, 16000)
        assert len(waveform) == 16000
        with pytest.raises(MediaError, match=r"there is no audio from 6\.016 to 6\.\d+ s"):
            reader.read_audio(info.audio.end_s - 0.9, 1.0, 16000)


def test_damage_is_told_with_its_time_and_spares_the_rest(film, tmp_path):
    path = tmp_path / "damaged.mp4"
    damage_video(film, path, packets=slice(40, 44))
    spec = ClipSpec(n_frames=4)
    with MediaReader(path) as reader:
        with pytest.raises(MediaError, match=r"cannot be decoded at 2\.400 s") as caught:
            reader.read_clip(2.4, spec)
        assert caught.value.fault is Fault.DECODE
        with MediaReader(film) as good:
            expected = good.read_clip(4.5, spec)
        assert (reader.read_clip(4.5, spec).frames == expected.frames).all()


def test_nan_is_told(tmp_path):
    samples = np.zeros(32000, np.float32)
    samples[7] = np.inf
    path = tmp_path / "nan.mov"
    write_tracks(path, audio=samples)
    with MediaReader(path) as reader, pytest.raises(MediaError) as caught:
        reader.read_audio(0.25, 0.5, 16000)
    assert caught.value.fault is Fault.NOT_FINITE


def test_frames_out_of_order_are_told(tmp_path):
    # AVI stores no presentation times, so B-frames leave it with times that jump back.
    path = FlashBeep(video_codec="libx264", audio_codec="pcm_s16le").write(tmp_path / "film.avi")
    with MediaReader(path) as reader, pytest.raises(MediaError) as caught:
        reader.read_frames(2.0, ClipSpec())
    assert caught.value.fault is Fault.TIMESTAMPS


def test_no_traceback_from_inside_the_decoder(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(MediaError) as caught:
        MediaReader(path)
    assert "during handling" not in "".join(traceback.format_exception(caught.value)).lower()


@pytest.mark.parametrize("name", ["with:colon.mp4", "späte Fälle #1?.mp4"])
def test_odd_file_names(tmp_path, name):
    with MediaReader(FlashBeep(duration_s=2.0).write(tmp_path / name)) as reader:
        assert reader.read_clip(0.5, ClipSpec()).frames.shape[0] == 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_any_damage_ends_in_a_media_error_or_a_clip(tmp_path, suffix):
    good = FlashBeep(duration_s=2.5, size=(32, 32)).write(tmp_path / f"good{suffix}").read_bytes()
    spec, rng, n_errors = ClipSpec(4, 8, 16, 16, 8000), np.random.default_rng(0), 0
    path = tmp_path / f"bad{suffix}"
    for i in range(60):
        bad, place = bytearray(good), int(rng.integers(len(good)))
        if i % 3 == 0:
            del bad[place:]
        elif i % 3 == 1:
            bad[place : place + 500] = rng.bytes(int(rng.integers(1000)))
        else:
            for place in rng.integers(len(bad), size=20):
                bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            start_s = probe(path).start_s
            with MediaReader(path) as reader:
                reader.read_clip(start_s + 0.5, spec)
        except MediaError:
            n_errors += 1
    assert n_errors > 20


def test_more_channels_than_can_be_read(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=16)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16000, layout="hexadecagonal")
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 160000), np.int16), "s16", "hexadecagonal")
        sound.sample_rate = 16000
        container.mux([*video.encode(picture), *video.encode(None), *audio.encode(sound)])
    with pytest.raises(MediaError, match="16 channels of sound, at most 8 can be read"):
        probe(path)


def test_time_stamps_that_jump_by_hours(film, tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        tracks = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for i, packet in enumerate(source.demux()):
            if packet.size:
                if packet.stream.type == "audio" and i > 150:
                    packet.pts += 16000 * 3600 * 10
                    packet.dts = packet.pts
                packet.stream = tracks[packet.stream_index]
                target.mux(packet)
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.fault is Fault.TIMESTAMPS


def test_tags_that_are_not_utf8(tmp_path):
    path = FlashBeep(duration_s=2.0).write(tmp_path / "film.mkv")
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe9vf"))
    assert probe(path).video.n_frames == 32


def test_threads_must_be_positive(film):
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        MediaReader(film, threads=0)


def test_decoder_threads_do_not_change_the_clip(film):
    with MediaReader(film) as one, MediaReader(film, threads=3) as three:
        expected, found = one.read_clip(2.0, ClipSpec()), three.read_clip(2.0, ClipSpec())
    assert (expected.frames == found.frames).all() and (expected.waveform == found.waveform).all()
