"""Sound and picture of a clip belong together, whatever the container does to the time stamps."""

from fractions import Fraction

import numpy as np
import pytest
from flash_beep import FLASH_LEVEL, N_LEVELS, FlashBeep, find_beeps

from avts_ext.data import ClipSpec, MediaReader, probe

VFR = (1, 2, 1, 3, 1)
NTSC = Fraction(30000, 1001)
CUT = {"muxer_options": {"avoid_negative_ts": "disabled"}}
AVI = {
    "video_codec": "mpeg4",
    "b_frames": 0,
    "audio_codec": "pcm_s16le",
    "ticks_per_frame": 1,
}
WEBM = {"video_codec": "libvpx", "audio_codec": "libopus", "b_frames": 0}

# A container stores each time stamp rounded to its tick: sound and picture can be off by half a
# tick each. MP4's ticks are fine enough to add nothing.
FINE, MPEGTS, MATROSKA = 0.0, 1 / 90000, 1 / 1000

CASES = {
    "mp4 b-frames": (".mp4", FINE, {}),
    "mp4 no b-frames": (".mp4", FINE, {"b_frames": 0}),
    "mp4 one key frame": (".mp4", FINE, {"keyframe_interval": 1000, "b_frames": 3}),
    "mp4 audio late": (".mp4", FINE, {"audio_start_s": Fraction(3, 10)}),
    "mp4 audio early": (".mp4", FINE, {"video_start_s": Fraction(3, 10)}),
    "mp4 vfr": (".mp4", FINE, {"frame_steps": VFR}),
    "mp4 vfr audio late": (".mp4", FINE, {"frame_steps": VFR, "audio_start_s": Fraction(1, 2)}),
    "mp4 edit list cuts picture": (".mp4", FINE, {**CUT, "video_start_s": Fraction(-1, 2)}),
    "mp4 edit list cuts sound": (".mp4", FINE, {**CUT, "audio_start_s": Fraction(-3, 10)}),
    "mp4 without edit list": (".mp4", FINE, {"muxer_options": {"use_editlist": "0"}}),
    "mp4 fragmented": (".mp4", FINE, {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "mp4 8 kHz": (".mp4", FINE, {"sample_rate": 8000}),
    "mp4 44.1 kHz stereo": (".mp4", FINE, {"sample_rate": 44100, "layout": "stereo"}),
    "mp4 48 kHz 5.1": (".mp4", FINE, {"sample_rate": 48000, "layout": "5.1"}),
    "mp4 29.97 fps": (".mp4", FINE, {"fps": NTSC, "sample_rate": 44100}),
    "mp4 mp3": (".mp4", FINE, {"audio_codec": "libmp3lame", "sample_rate": 44100}),
    "mp4 opus": (".mp4", FINE, {"audio_codec": "libopus", "sample_rate": 48000}),
    "mov pcm": (".mov", FINE, {"audio_codec": "pcm_s16le", "sample_rate": 22050}),
    "avi pcm": (".avi", FINE, AVI),
    "mkv": (".mkv", MATROSKA, {}),
    "mkv 44.1 kHz vfr": (".mkv", MATROSKA, {"sample_rate": 44100, "frame_steps": VFR}),
    "mkv audio late": (".mkv", MATROSKA, {"audio_start_s": Fraction(3, 10)}),
    "mkv flac": (".mkv", MATROSKA, {"audio_codec": "flac", "sample_rate": 48000}),
    "webm": (".webm", MATROSKA, {**WEBM, "sample_rate": 48000}),
    "webm audio late": (
        ".webm",
        MATROSKA,
        {**WEBM, "sample_rate": 16000, "audio_start_s": Fraction(3, 10)},
    ),
    "mpegts": (".ts", MPEGTS, {}),
    "mpegts audio late": (".ts", MPEGTS, {"audio_start_s": Fraction(3, 10), "sample_rate": 44100}),
    "mpegts audio early": (".ts", MPEGTS, {"video_start_s": Fraction(3, 10)}),
    "mpegts mp2": (".ts", MPEGTS, {"audio_codec": "mp2", "sample_rate": 32000}),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request, tmp_path_factory):
    """(what was written, path, tolerance in seconds beyond one sample)."""
    suffix, tick_s, options = CASES[request.param]
    written = FlashBeep(**options)
    path = written.write(tmp_path_factory.mktemp("media") / f"file{suffix}")
    return written, path, tick_s


def random_clips(path, spec, n_clips=20, seed=0):
    """Clips at random places, all from one open file, none in order."""
    info = probe(path)
    starts = np.random.default_rng(seed).uniform(
        info.start_s, info.end_s - spec.duration_s, n_clips
    )
    with MediaReader(path) as reader:
        return [reader.read_clip(start_s, spec) for start_s in starts]


def levels(clip):
    """Grey level of each frame."""
    return clip.frames.double().mean(dim=(1, 2, 3)).numpy()


def test_beep_comes_with_the_flash(case):
    written, path, tick_s = case
    spec = ClipSpec(n_frames=50, fps=25, height=16, width=16, sample_rate=16000)
    tolerance_s = 1 / min(written.sample_rate, spec.sample_rate) + tick_s
    errors = []
    for clip in random_clips(path, spec):
        beeps = find_beeps(clip.waveform.numpy(), spec.sample_rate, clip.audio_start_s)
        flashes = np.unique(clip.frame_times_s.numpy()[levels(clip) > FLASH_LEVEL - 20])
        for flash in flashes:
            # Beeps cut off at the ends of the clip cannot be found.
            if clip.start_s + 0.05 < flash < clip.start_s + spec.duration_s - 0.05:
                errors.append(min((beep - flash for beep in beeps), key=abs, default=np.inf))
    assert len(errors) >= 20
    assert np.abs(errors).max() <= tolerance_s


def test_frame_is_the_one_on_display(case):
    written, path, tick_s = case
    spec = ClipSpec(n_frames=20, fps=20, height=16, width=16)
    times = np.array([float(t) for t in written.frame_times()])
    first_shown = probe(path).video.start_s
    # The container may shift the whole file (MPEG-TS does), never a part of it, and an edit list
    # cuts off what comes before zero.
    true_times = np.append(times, times[-1] + 1) - times[times >= 0][0] + first_shown
    for clip in random_clips(path, spec, seed=1):
        asked = clip.start_s + np.arange(spec.n_frames) / float(spec.fps)
        expected = np.searchsorted(true_times, asked + tick_s, side="right") - 1
        near_border = np.abs(true_times[:, None] - asked).min(axis=0) <= tick_s + 1e-6
        for k in np.flatnonzero(~near_border):
            number = int(expected[k])
            assert abs(levels(clip)[k] - written.frame_level(number)) < 2.5, (clip.start_s, k)
            assert clip.frame_times_s[k] == pytest.approx(true_times[number], abs=tick_s + 1e-6)


def test_two_requests_at_one_place_agree_whatever_came_between(case):
    _, path, _ = case
    spec = ClipSpec(n_frames=6, fps=12, height=20, width=24, sample_rate=12000)
    start_s = probe(path).start_s + 1.2345
    with MediaReader(path) as fresh:
        expected = fresh.read_clip(start_s, spec)
    with MediaReader(path) as used:
        for other_s in (start_s + 2.5, start_s - 0.7, start_s + 0.01):
            used.read_clip(other_s, spec)
        found = used.read_clip(start_s, spec)
    assert (found.frames == expected.frames).all()
    assert (found.waveform == expected.waveform).all()
    assert found.audio_start_s == expected.audio_start_s


def test_levels_tell_neighbouring_frames_apart():
    written = FlashBeep()
    found = np.array([written.frame_level(i) for i in range(N_LEVELS) if not written.is_flash(i)])
    assert np.diff(found).min() >= 5 and found.max() < FLASH_LEVEL - 20
