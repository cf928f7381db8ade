"""Clips that run past an end of the file: what each policy does, and that it says so."""

from fractions import Fraction

import pytest
import torch
from flash_beep import FlashBeep

from avts_ext.data import CachedReader, ClipSpec, Fault, MediaError, MediaReader

SPEC = ClipSpec(n_frames=16, fps=16, height=16, width=16)
VARIANTS = {
    "mp4": (".mp4", {}),
    "mp4 audio late": (".mp4", {"audio_start_s": Fraction(3, 10)}),
    "mkv 44.1 kHz": (".mkv", {"sample_rate": 44100}),
    "ts": (".ts", {"video_start_s": Fraction(3, 10)}),
}


@pytest.fixture(scope="module", params=VARIANTS)
def film(request, tmp_path_factory):
    suffix, options = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp("media")
    return FlashBeep(duration_s=3.0, **options).write(folder / f"film{suffix}"), folder / "cache"


@pytest.fixture(params=["file", "cache"])
def source(request, film):
    path, cache = film
    opened = MediaReader(path) if request.param == "file" else CachedReader(path, cache, SPEC)
    with opened:
        yield opened


@pytest.fixture
def joint_s(source):
    """When sound and picture are both there."""
    extent = source.extent(SPEC.sample_rate)
    begin, end = (n / SPEC.sample_rate for n in extent.audio)
    return max(begin, float(extent.video[0])), min(end, float(extent.video[1]))


def equal(a, b):
    return torch.equal(a.frames, b.frames) and torch.equal(a.waveform, b.waveform)


def test_extents_of_file_and_cache_agree(film):
    path, cache = film
    with MediaReader(path) as reader:
        expected = reader.extent(SPEC.sample_rate)
    assert CachedReader(path, cache, SPEC).extent(SPEC.sample_rate) == expected
    assert float(expected.video[1] - expected.video[0]) == pytest.approx(3, abs=2e-3)


@pytest.mark.parametrize("policy", ["shift", "repeat", "silence"])
def test_a_clip_inside_the_file_is_left_alone(source, joint_s, policy):
    expected, found = (source.read_clip(joint_s[0] + 0.5, SPEC, p) for p in ("error", policy))
    assert equal(expected, found)
    assert found.past_end is None
    assert found.n_filled_frames == found.n_filled_samples == 0


@pytest.mark.parametrize("before", [True, False])
def test_error(source, joint_s, before):
    start_s = joint_s[0] - 0.4 if before else joint_s[1] - 0.6
    with pytest.raises(MediaError) as caught:
        source.read_clip(start_s, SPEC)
    assert caught.value.fault is Fault.OUT_OF_RANGE


@pytest.mark.parametrize("before", [True, False])
def test_shift_moves_by_the_least(source, joint_s, before):
    start_s = joint_s[0] - 0.4 if before else joint_s[1] - 0.6
    clip = source.read_clip(start_s, SPEC, "shift")
    expected_s = joint_s[0] if before else joint_s[1] - 1
    assert clip.start_s == pytest.approx(expected_s, abs=1 / SPEC.sample_rate)
    assert clip.end_s - clip.start_s == 1
    assert abs(clip.audio_residual_s) <= 0.5 / SPEC.sample_rate
    assert clip.past_end == "shift"
    assert clip.n_filled_frames == clip.n_filled_samples == 0
    assert equal(clip, source.read_clip(clip.start_s, SPEC))


@pytest.mark.parametrize("before", [True, False])
def test_repeat_repeats_sound_and_picture_together(source, joint_s, before):
    start_s = joint_s[0] - 0.4 if before else joint_s[1] - 0.6
    clip = source.read_clip(start_s, SPEC, "repeat")
    assert (clip.frames.shape[0], len(clip.waveform)) == (SPEC.n_frames, SPEC.n_samples)
    assert clip.past_end == "repeat"
    assert abs(clip.n_filled_samples - 0.4 * SPEC.sample_rate) <= 1
    assert abs(clip.n_filled_frames - 0.4 * 16) <= 1
    period = SPEC.n_samples - clip.n_filled_samples
    assert torch.equal(clip.waveform[:-period], clip.waveform[period:])
    # Each frame is the one on display when the sound that goes with it was recorded.
    first_s = max(clip.audio_start_s, joint_s[0])
    for k in range(SPEC.n_frames):
        recorded_s = first_s + (clip.start_s + k / 16 - first_s + 1e-6) % (period / 16000)
        assert clip.frame_times_s[k] <= recorded_s + 1e-3
        assert recorded_s <= clip.frame_ends_s[k] + 1e-3


def test_silence_stands_still_and_says_nothing(source, joint_s):
    clip = source.read_clip(joint_s[1] - 0.6, SPEC, "silence")
    assert clip.past_end == "silence"
    assert (clip.frames.shape[0], len(clip.waveform)) == (SPEC.n_frames, SPEC.n_samples)
    extent = source.extent(SPEC.sample_rate)
    n_heard = extent.audio[1] - round(clip.audio_start_s * SPEC.sample_rate)
    assert clip.n_filled_samples == max(0, SPEC.n_samples - n_heard)
    assert (clip.waveform[max(n_heard, 0) :][: clip.n_filled_samples] == 0).all()
    times_s = clip.start_s + torch.arange(SPEC.n_frames) / 16
    n_shown = int((times_s < float(extent.video[1])).sum())
    assert clip.n_filled_frames == SPEC.n_frames - n_shown
    assert (clip.frames[n_shown:] == clip.frames[n_shown - 1]).all()
    inside, _ = source.read_audio(clip.start_s, 0.5, SPEC.sample_rate)
    assert torch.equal(clip.waveform[: len(inside)], inside)


@pytest.mark.parametrize(("policy", "start_s"), [("repeat", 9.0), ("silence", -5.0)])
def test_nothing_to_work_with(source, policy, start_s):
    with pytest.raises(MediaError, match="nothing of it lies within sound and picture") as caught:
        source.read_clip(start_s, SPEC, policy)
    assert caught.value.fault is Fault.OUT_OF_RANGE


def test_a_clip_longer_than_the_file_cannot_be_shifted(source):
    long = ClipSpec(n_frames=80, fps=16, height=16, width=16)
    with pytest.raises(MediaError, match="less than that of sound and picture"):
        source.read_clip(0.5, long, "shift")
    clip = source.read_clip(0.5, long, "repeat")
    assert len(clip.waveform) == 5 * SPEC.sample_rate
    assert clip.n_filled_samples > 2 * SPEC.sample_rate


def test_unknown_policy(source):
    with pytest.raises(ValueError, match=r"past_end must be one of .*, got 'loop'"):
        source.read_clip(0.5, SPEC, "loop")
