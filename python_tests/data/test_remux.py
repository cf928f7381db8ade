from fractions import Fraction

import av
import numpy as np
import pytest
from flash_beep import FlashBeep, find_beeps

from avts_ext.data import MediaError, MediaReader, probe
from avts_ext.data.clips import ClipSpec
from avts_ext.sync_report.remux import delay_sound, keeps_timestamps

FORMATS = {
    ".mp4": {},
    ".mov": {"b_frames": 0},
    ".mkv": {},
    ".webm": {"video_codec": "libvpx-vp9", "audio_codec": "libopus", "sample_rate": 48000},
    ".ts": {},
    ".flv": {},
}


def lateness_s(path):
    """By how much beeps come after flashes."""
    info = probe(path)
    spec = ClipSpec(n_frames=int((info.duration_s - 0.01) * 16), fps=16)
    with MediaReader(path) as reader:
        frames, times_s = reader.read_frames(info.start_s, spec)
        waveform, start_s = reader.read_audio(info.start_s, info.duration_s - 0.01, 16000)
    flashes_s = np.unique(times_s[frames.float().mean((1, 2, 3)) > 220])
    beeps_s = np.array(find_beeps(waveform.numpy(), 16000, start_s))
    assert len(flashes_s) >= 2 and len(beeps_s) >= 2
    gaps_s = beeps_s[None, :] - flashes_s[:, None]
    return float(np.median([row[abs(row).argmin()] for row in gaps_s]))


def contents(path, kind):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(**{kind: 0}) if p.size]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("delay_s", [0.3, -0.3, 0.1234])
def test_moves_the_sound_and_back(tmp_path, suffix, delay_s):
    source = FlashBeep(flash_every=40, **FORMATS[suffix]).write(tmp_path / f"a{suffix}")
    moved = delay_sound(source, tmp_path / f"b{suffix}", delay_s)
    back = delay_sound(moved, tmp_path / f"c{suffix}", -delay_s)
    before_s = lateness_s(source)
    assert lateness_s(moved) == pytest.approx(before_s + delay_s, abs=1.1e-3)
    assert lateness_s(back) == pytest.approx(before_s, abs=1.1e-3)
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_nothing_is_encoded_again_or_lost(tmp_path, suffix):
    source = FlashBeep().write(tmp_path / f"a{suffix}")
    for delay_s in (0.3, -0.3):
        copy = delay_sound(source, tmp_path / f"b{suffix}", delay_s)
        for kind in ("video", "audio"):
            assert contents(copy, kind) == contents(source, kind)


def test_from_a_format_without_time_stamps_into_one_with(tmp_path):
    options = {"video_codec": "mpeg4", "audio_codec": "pcm_s16le", "ticks_per_frame": 1}
    source = FlashBeep(flash_every=40, b_frames=0, **options).write(tmp_path / "a.avi")
    assert not keeps_timestamps(source)
    with pytest.raises(ValueError, match=r"out: got '.*b.avi', a format without time stamps"):
        delay_sound(source, tmp_path / "b.avi", 0.1)
    copy = delay_sound(source, tmp_path / "b.mkv", 0.1)
    assert lateness_s(copy) == pytest.approx(lateness_s(source) + 0.1, abs=1.1e-3)


def test_refuses_and_leaves_nothing_behind(tmp_path):
    source = FlashBeep(duration_s=1, fps=Fraction(16)).write(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="the file itself"):
        delay_sound(source, source, 0.1)
    with pytest.raises(MediaError, match="unreadable"):
        delay_sound(tmp_path / "none.mp4", tmp_path / "b.mp4", 0.1)
    with pytest.raises(ValueError, match=r"out: got '.*b.webm': .*does not support"):
        delay_sound(source, tmp_path / "b.webm", 0.1)  # H.264 does not go into WebM
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
