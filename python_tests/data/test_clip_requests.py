"""Requests to one open file: batches, native frames, exact times, and how much is decoded."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from flash_beep import FlashBeep

from avts_ext.data import CachedReader, ClipSpec, MediaReader

SPEC = ClipSpec(n_frames=16, fps=16, height=16, width=16)
VFR = (1, 2, 1, 3, 1)
MPEG2 = {"video_codec": "mpeg2video", "fps": Fraction(25), "ticks_per_frame": 1}
VARIANTS = {
    "mp4": (".mp4", {}),
    "mp4 one key frame": (".mp4", {"keyframe_interval": 1000, "b_frames": 3}),
    "mp4 vfr": (".mp4", {"frame_steps": VFR}),
    "mp4 edit list": (
        ".mp4",
        {"muxer_options": {"avoid_negative_ts": "disabled"}, "video_start_s": Fraction(-1, 2)},
    ),
    "mkv": (".mkv", {}),
    "mkv vfr": (".mkv", {"frame_steps": VFR}),
    "mkv hevc": (".mkv", {"video_codec": "libx265"}),
    "mkv mpeg2": (".mkv", MPEG2),
    "webm hidden references": (".webm", {"video_codec": "libvpx", "audio_codec": "libopus"}),
    "ts": (".ts", {}),
    "avi": (
        ".avi",
        {"video_codec": "mpeg4", "b_frames": 0, "audio_codec": "pcm_s16le", "ticks_per_frame": 1},
    ),
}


def write(folder, name, **more):
    suffix, options = VARIANTS[name]
    return FlashBeep(**options, **more).write(folder / f"film{suffix}")


@pytest.fixture(scope="module", params=VARIANTS)
def film(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("media"), request.param)


def whole(path, size=16):
    """All frames of a file, decoded from its beginning: pts -> picture."""
    with MediaReader(path) as reader:
        time_base = Fraction(reader.video.time_base)
        return {
            float(pts * time_base - reader.origin): torch.from_numpy(
                np.array(reader.picture(frame, size, size))
            )
            for pts, _, frame in reader.frames_from(reader.video.start_time or 0)
        }


def test_leaving_frames_out_changes_none_that_is_seen(film):
    expected = whole(film)
    with MediaReader(film) as reader:
        for start_s in np.random.default_rng(0).uniform(0.3, 4.5, 12):
            for spec in (SPEC, ClipSpec(n_frames=5, fps=4, height=16, width=16)):
                clip = reader.read_clip(start_s, spec)
                for time_s, frame in zip(clip.frame_times_s.tolist(), clip.frames, strict=True):
                    assert torch.equal(frame, expected[time_s])


def test_a_batch_gives_the_clips_of_single_requests(film):
    starts_s = [4.0, 0.7, 0.9, 3.2, 0.7, 2.0]
    with MediaReader(film) as reader:
        single = [reader.read_clip(start_s, SPEC) for start_s in starts_s]
    with MediaReader(film) as reader:
        batch = reader.read_clips(starts_s, SPEC)
    for one, other in zip(single, batch, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.waveform, other.waveform)
        assert torch.equal(one.frame_times_s, other.frame_times_s)
        assert torch.equal(one.frame_ends_s, other.frame_ends_s)
        assert one.start_s == other.start_s


def test_native_frames(film):
    shown = sorted(whole(film))
    with MediaReader(film) as reader:
        for start_s in np.random.default_rng(1).uniform(0.3, 4.5, 8):
            clip = reader.read_native_clip(start_s, 1.0, 16, 16, 16000)
            first = max(i for i, onset in enumerate(shown) if onset <= start_s + 5e-4)
            expected = [onset for onset in shown[first:] if onset < start_s + 1 - 5e-4]
            assert clip.frame_times_s.tolist() == expected
            assert clip.frame_ends_s.tolist() == [
                *expected[1:],
                shown[shown.index(expected[-1]) + 1],
            ]
            assert len(clip.waveform) == 16000
            assert clip.end_s - clip.start_s == pytest.approx(1)
            assert clip.audio_end_s - clip.audio_start_s == pytest.approx(1)


def test_native_frames_of_the_cache(film, tmp_path):
    cached = CachedReader(film, tmp_path, SPEC)
    with MediaReader(film) as reader:
        for start_s in (0.5, 2.123, 4.4):
            expected, found = (
                source.read_native_clip(start_s, 0.8, 16, 16, 16000) for source in (reader, cached)
            )
            assert torch.equal(expected.frames, found.frames)
            assert torch.equal(expected.frame_times_s, found.frame_times_s)
            assert torch.equal(expected.frame_ends_s, found.frame_ends_s)
            assert torch.equal(expected.waveform, found.waveform)


def n_decoded(path, starts_s, spec=SPEC, **options):
    with MediaReader(path, **options) as reader:
        reader.read_clips(starts_s, spec)
        return reader.n_decoded_frames


def test_nothing_is_decoded_ahead_of_the_key_frame_or_twice(tmp_path):
    path = write(tmp_path, "mp4", b_frames=0)  # 16 fps, a key frame every 24 frames
    assert n_decoded(path, [1.5]) == 16
    assert n_decoded(path, [1.0]) == 16 + 16
    assert n_decoded(path, [1.0, 1.25]) == 16 + 16 + 4
    assert n_decoded(path, [1.25, 1.0, 1.25]) == 16 + 16 + 4
    # The second clip lies in a group of pictures of its own: nothing between is decoded.
    assert n_decoded(path, [0.0, 4.5]) == 16 + 16
    # In one group of pictures, far apart: it is decoded once.
    long = tmp_path / "long"
    long.mkdir()
    path = write(long, "mp4 one key frame", duration_s=8.0)
    both, last = (n_decoded(path, starts_s) for starts_s in ([0.5, 6.0], [6.0]))
    assert both < last + 16


def test_frames_nobody_needs_are_left_out(tmp_path):
    path = write(tmp_path, "mp4 one key frame")
    every = n_decoded(path, [4.0], ClipSpec(n_frames=1, fps=1, height=16, width=16))
    assert every < 0.75 * 65


@pytest.mark.parametrize("threads", [2, 4])
def test_decoder_threads_change_nothing(film, threads):
    with MediaReader(film) as one, MediaReader(film, threads=threads) as many:
        assert many.video.codec_context.thread_count == threads
        for start_s in (3.3, 0.4, 4.1):
            expected, found = one.read_clip(start_s, SPEC), many.read_clip(start_s, SPEC)
            assert torch.equal(expected.frames, found.frames)
            assert torch.equal(expected.waveform, found.waveform)
