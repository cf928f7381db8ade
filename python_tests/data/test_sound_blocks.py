"""Sound read block by block is that of one decoder which ran through the whole file."""

import av
import numpy as np
import pytest
from flash_beep import FlashBeep

from avts_ext.data import MediaReader
from avts_ext.data.audio_blocks import mono
from avts_ext.data.decoded_file import _enough
from avts_ext.data.timeline import place_samples

CASES = {
    # Long frames; at 8 kHz the lead has to be 0.4 s, with MP3's bit reservoir more.
    "aac 8 kHz": (".mp4", {"sample_rate": 8000}),
    "aac 22 kHz in ticks of 1 ms": (".mkv", {"sample_rate": 22050}),
    "mp3 8 kHz": (".mkv", {"audio_codec": "libmp3lame", "sample_rate": 8000}),
    "mp3 22 kHz": (
        ".mp4",
        {"audio_codec": "libmp3lame", "sample_rate": 22050, "audio_bit_rate": 16000},
    ),
    "mp3 48 kHz": (
        ".mkv",
        {"audio_codec": "libmp3lame", "sample_rate": 48000, "audio_bit_rate": 32000},
    ),
    "mp2": (".ts", {"audio_codec": "mp2", "sample_rate": 32000}),
    "opus": (".mkv", {"audio_codec": "libopus", "sample_rate": 48000}),
    "flac": (".mkv", {"audio_codec": "flac", "sample_rate": 44100}),
    "pcm": (".mkv", {"audio_codec": "pcm_s16le", "sample_rate": 44100, "layout": "stereo"}),
}


class NoisyFlashBeep(FlashBeep):
    """Noise, so that no stretch of sound is like another."""

    def waveform(self):
        n_samples = round(self.duration_s * self.sample_rate)
        return np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)


def whole(path):
    """All samples of a file, from one decoder."""
    with av.open(str(path)) as container:
        return np.concatenate([mono(frame) for frame in container.decode(audio=0)])


@pytest.mark.parametrize("name", CASES)
def test_blocks_join_without_a_seam(tmp_path, name):
    suffix, options = CASES[name]
    path = NoisyFlashBeep(duration_s=5.0, size=(32, 32), **options).write(tmp_path / f"f{suffix}")
    rate = options["sample_rate"]
    with MediaReader(path, tracks="audio") as reader:
        found, missing = reader.samples(rate // 2, 4 * rate, rate)
    assert not any(begin < 4 * rate and end > rate // 2 for begin, end in missing.tolist())
    expected = whole(path)
    starts = range(rate // 2 - rate // 5, rate // 2 + rate // 5)
    best = max(starts, key=lambda first: np.dot(expected[first:][:1000], found[:1000]))
    assert np.abs(found - expected[best : best + len(found)]).max() < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_a_block_that_is_cut_short_is_the_beginning_of_the_whole_one(tmp_path, name):
    suffix, options = CASES[name]
    path = NoisyFlashBeep(duration_s=3.0, size=(32, 32), **options).write(tmp_path / f"f{suffix}")
    with MediaReader(path, tracks="audio") as reader:
        whole_block = reader.audio_block(1, 16000)
    for n_needed in (1, 700, 9001, 15999):
        with MediaReader(path, tracks="audio") as reader:
            block = reader.audio_block(1, 16000, n_needed)
            assert n_needed <= len(block.samples) <= len(whole_block.samples)
            np.testing.assert_array_equal(block.samples, whole_block.samples[: len(block.samples)])
            assert (reader.audio_block(1, 16000).samples == whole_block.samples).all()


class _Packet:
    def __init__(self, pts, duration=1024):
        self.pts, self.duration = pts, duration


def test_sound_is_cut_short_only_where_time_stamps_leave_no_doubt():
    unbroken = [1024 * i for i in range(50)]
    taken = list(_enough(map(_Packet, unbroken), needed_pts=5000, end_pts=40000))
    assert [packet.pts for packet in taken] == unbroken[:6]
    late = [*unbroken[:30], *(pts + 1 for pts in unbroken[30:])]
    nameless = [*unbroken[:30], None, *unbroken[30:]]
    for stamps in (late, nameless):
        packets = _enough(map(_Packet, stamps), needed_pts=5000, end_pts=40000)
        assert [packet.pts for packet in packets] == stamps


def test_a_grid_of_packets_decides_between_roundings():
    rate, period = 44100, 4608
    true = 117 + period * np.arange(200)
    stamps = np.round(true / rate * 1000) / 1000 * rate
    counts = np.full(200, period)
    rounding, jitter = rate / 2000, rate / 500
    whole = place_samples(stamps, counts, rounding, jitter)
    for first in range(0, 190, 7):
        part = slice(first, first + 10)
        placed = place_samples(
            stamps[part], counts[part], rounding, jitter, grid=(float(whole[0]), period)
        )
        assert (placed == whole[part]).all()
    # Where packets are missing the grid does not hold, and the time stamps decide.
    later = stamps[:10] + 1000
    placed = place_samples(later, counts[:10], rounding, jitter, grid=(float(whole[0]), period))
    assert np.abs(placed - later).max() <= 2 * rounding


@pytest.mark.parametrize("extra", [0, 64, 1000])
def test_priming_that_ends_within_a_packet(tmp_path, extra):
    """Apple's encoders prime by 2112 samples, two packets and a bit."""
    path = FlashBeep(duration_s=3.0, sample_rate=44100).write(tmp_path / "film.mp4")
    data = bytearray(path.read_bytes())
    # The sound's edit list begins at media time 1024, the priming of FFmpeg's encoder.
    at = [i for i in range(len(data)) if data[i : i + 4] == b"elst"]
    edits = [i + 16 for i in at if int.from_bytes(data[i + 16 : i + 20], "big") == 1024]
    assert len(edits) == 1
    data[edits[0] : edits[0] + 4] = (1024 + extra).to_bytes(4, "big")
    path.write_bytes(data)
    with av.open(str(path)) as container:
        first = next(container.decode(audio=0))
        assert first.pts * first.time_base == 0
    expected = whole(path)
    with MediaReader(path, tracks="audio") as reader:
        found, _ = reader.samples(0, 2 * 44100, 44100)
    assert np.abs(found - expected[: len(found)]).max() < 1e-6
