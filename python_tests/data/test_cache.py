"""The decoded cache gives the clips of the reader, bit by bit, and never a half-written entry."""

import multiprocessing
import os
import resource
from fractions import Fraction

import av
import numpy as np
import pytest
from broken_media import damage_video
from flash_beep import FlashBeep

from avts_ext.data import CachedReader, CacheError, ClipSpec, Fault, MediaError, MediaReader, probe

SPEC = ClipSpec(height=32, width=40)
VARIANTS = {
    "mp4": (".mp4", {}),
    "mp4 audio late": (".mp4", {"audio_start_s": Fraction(3, 10)}),
    # At this bit rate AAC codes noise as noise, which the decoder draws from a running generator:
    # decoding from another place on gives other samples.
    "mp4 noise bands": (".mp4", {"sample_rate": 44100, "audio_bit_rate": 32000}),
    "mp4 early vfr": (".mp4", {"video_start_s": Fraction(3, 10), "frame_steps": (1, 3, 2)}),
    "mkv 48 kHz": (".mkv", {"sample_rate": 48000, "layout": "stereo"}),
    "ts": (".ts", {"sample_rate": 22050}),
}


def entries(cache):
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


class NoisyFlashBeep(FlashBeep):
    """Beeps in noise."""

    def waveform(self):
        wave = super().waveform()
        return wave + 0.05 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)


@pytest.fixture
def film(tmp_path):
    return FlashBeep(duration_s=2.0).write(tmp_path / "film.mp4")


@pytest.mark.parametrize("name", VARIANTS)
def test_clips_equal_those_of_the_reader(tmp_path, name):
    suffix, options = VARIANTS[name]
    path = NoisyFlashBeep(duration_s=11.0, **options).write(tmp_path / f"film{suffix}")
    cached = CachedReader(path, tmp_path / "cache", SPEC)
    n_compared = 0
    with MediaReader(path) as reader:
        for start_s in np.random.default_rng(0).uniform(-0.5, 11.0, 40):
            try:
                expected = reader.read_clip(start_s, SPEC)
            except MediaError as error:
                with pytest.raises(MediaError) as caught:
                    cached.read_clip(start_s, SPEC)
                assert str(caught.value) == str(error)
                continue
            found = cached.read_clip(start_s, SPEC)
            assert (found.frames == expected.frames).all()
            assert (found.waveform == expected.waveform).all()
            assert (found.frame_times_s == expected.frame_times_s).all()
            assert found.audio_start_s == expected.audio_start_s
            n_compared += 1
    assert n_compared >= 20


@pytest.mark.parametrize("duration_s", [3.98, 4.05, 8.0])
def test_sound_is_complete_where_it_ends_near_a_block(tmp_path, duration_s):
    path = NoisyFlashBeep(duration_s=duration_s).write(tmp_path / "film.mp4")
    end_s = probe(path).audio.end_s
    cached = CachedReader(path, tmp_path / "cache", SPEC)
    with MediaReader(path) as reader:
        expected, _ = reader.read_audio(end_s - 0.5, 0.5, SPEC.sample_rate)
    assert (cached.read_audio(end_s - 0.5, 0.5, SPEC.sample_rate)[0] == expected).all()
    with pytest.raises(MediaError, match="there is no audio"):
        cached.read_audio(end_s - 0.4, 0.5, SPEC.sample_rate)


def test_second_opening_does_not_decode(film, tmp_path, monkeypatch):
    first = CachedReader(film, tmp_path / "cache", SPEC).read_clip(0.5, SPEC)

    def no_open(*args, **kwargs):
        raise AssertionError("decoded again")

    monkeypatch.setattr(av, "open", no_open)
    second = CachedReader(film, tmp_path / "cache", SPEC).read_clip(0.5, SPEC)
    assert (first.frames == second.frames).all()
    assert len(entries(tmp_path / "cache")) == 1


def test_frame_rate_and_clip_length_share_an_entry(film, tmp_path):
    CachedReader(film, tmp_path / "cache", SPEC)
    CachedReader(film, tmp_path / "cache", ClipSpec(n_frames=3, fps=5, height=32, width=40))
    assert len(entries(tmp_path / "cache")) == 1


def test_another_size_or_another_content_is_another_entry(film, tmp_path):
    cache = tmp_path / "cache"
    CachedReader(film, cache, SPEC)
    CachedReader(film, cache, ClipSpec(height=16, width=16))
    assert len(entries(cache)) == 2
    os.utime(film, ns=(1, 1))
    CachedReader(film, cache, SPEC)
    assert len(entries(cache)) == 3


def test_request_of_another_shape_is_refused(film, tmp_path):
    cached = CachedReader(film, tmp_path / "cache", SPEC)
    with pytest.raises(ValueError, match=r"spec asks for \(height, width, sample_rate\)"):
        cached.read_clip(0.5, ClipSpec())


def test_broken_media_leave_nothing_behind(film, tmp_path):
    path = tmp_path / "damaged.mp4"
    damage_video(film, path, packets=slice(10, 14))
    with pytest.raises(MediaError) as caught:
        CachedReader(path, tmp_path / "cache", SPEC)
    assert caught.value.fault is Fault.DECODE
    assert entries(tmp_path / "cache") == []
    with pytest.raises(MediaError, match="No such file"):
        CachedReader(tmp_path / "missing.mp4", tmp_path / "cache", SPEC)


def test_full_disk_is_told_and_leaves_nothing_behind(film, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CacheError, match=r"cache .* cannot be written: File too large"):
            CachedReader(film, tmp_path / "cache", SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert entries(tmp_path / "cache") == []
    CachedReader(film, tmp_path / "cache", SPEC)


def test_interruption_leaves_nothing_behind(film, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CachedReader(film, tmp_path / "cache", SPEC)
    assert entries(tmp_path / "cache") == []


def test_cache_directory_that_cannot_be_made(film, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(CacheError, match="cannot be written: Not a directory"):
        CachedReader(film, tmp_path / "cache", SPEC)


def test_damaged_entry_is_told(film, tmp_path):
    CachedReader(film, tmp_path / "cache", SPEC)
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / "frames.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CacheError, match=r"is damaged, delete it"):
        CachedReader(film, tmp_path / "cache", SPEC)


def _write(film, cache, barrier):
    barrier.wait()
    CachedReader(film, cache, SPEC).read_clip(0.5, SPEC)


def test_workers_may_write_the_same_entry_at_once(film, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    workers = [
        context.Process(target=_write, args=(film, tmp_path / "cache", barrier)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(entries(tmp_path / "cache")) == 1
