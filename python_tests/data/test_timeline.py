from fractions import Fraction

import numpy as np
import pytest

from avts_ext.data import ClipSpec
from avts_ext.data.timeline import (
    display_limits,
    exact_seconds,
    frames_on_display,
    missing_spans,
    place_samples,
    present_after_resampling,
    sample_window,
    seen_between,
)


def test_a_start_rounded_to_float_still_shows_the_frame_that_begins_there():
    time_base = Fraction(1, 30)
    for frame in range(300):
        start = Fraction(float(Fraction(frame, 30)))
        assert display_limits([start], time_base, Fraction(0))[0] == frame


def test_half_a_tick_of_rounding_is_forgiven_but_no_more():
    millisecond = Fraction(1, 1000)
    assert display_limits([Fraction("0.0625")], millisecond, Fraction(0))[0] == 63
    assert display_limits([Fraction("0.0624")], millisecond, Fraction(0))[0] == 62


def test_the_origin_shifts_time_stamps():
    assert display_limits([Fraction(1)], Fraction(1, 90000), Fraction(7, 5)) == [216000]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [([0, 5, 10], "aab"), ([9, 9, 9], "aaa"), ([14, 24, 29], "bcc"), ([14, 24, 30], "bc")],
)
def test_each_limit_gets_the_last_frame_not_after_it(limits, expected):
    frames = [(0, 10, "a"), (10, 20, "b"), (20, 30, "c")]
    assert "".join(item for *_, item in frames_on_display(frames, limits)) == expected


def test_a_frame_ends_when_the_next_begins():
    frames = [(0, 5, "a"), (20, 30, "b")]
    assert frames_on_display(frames, [7, 29]) == [(0, 20, "a"), (20, 30, "b")]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 3, [0, 1, 2]), ("1/2", "3/2", [0, 1]), ("9/10", "21/10", [1]), ("19/10", "5/2", [2])],
)
def test_frames_seen_in_a_stretch(start, end, expected):
    onsets = [Fraction(n) for n in range(5)]
    found = seen_between(onsets, Fraction(start), Fraction(end), slack=Fraction(1, 10))
    assert found == expected


def test_nothing_is_on_display_before_the_first_frame_or_without_frames():
    assert frames_on_display([(5, 6, "a")], [4, 5]) == []
    assert frames_on_display([], [0]) == []


def test_frames_are_read_no_further_than_needed():
    def frames():
        yield 0, 10, "a"
        yield 10, 20, "b"
        raise AssertionError("read too far")

    assert frames_on_display(frames(), [3, 7]) == [(0, 10, "a"), (0, 10, "a")]


@pytest.mark.parametrize("rate", [44100, 48000, 22050])
@pytest.mark.parametrize("first", [0, 317, -1024])
def test_rounded_time_stamps_give_back_an_unbroken_signal(rate, first):
    counts = np.full(40, 1024)
    true = first + np.arange(40) * 1024
    rounded = np.round(true / rate * 1000) / 1000 * rate
    placed = place_samples(rounded, counts, rate / 2000, rate / 500)
    assert (np.diff(placed) == 1024).all()
    assert abs(placed[0] - first) <= rate / 2000


def test_a_gap_starts_a_new_run():
    placed = place_samples(np.array([0.0, 100.0, 350.0, 450.0]), np.full(4, 100), 0.25, 20.0)
    assert placed.tolist() == [0, 100, 350, 450]


def test_missing_spans():
    known = np.array([0, 1, 1, 0, 0, 1, 0], bool)
    assert missing_spans(known).tolist() == [[0, 1], [3, 5], [6, 7]]
    assert missing_spans(np.ones(3, bool)).shape == (0, 2)


@pytest.mark.parametrize(("old", "new"), [(16000, 16000), (8000, 16000), (44100, 16000)])
def test_samples_present_span_the_input(old, new):
    known = np.zeros(old + 2, bool)
    known[: old // 2] = True
    assert present_after_resampling(known, old, new, new).nonzero()[0].max() == new // 2 - 1


def test_window_is_the_nearest_on_the_grid():
    assert sample_window(0.5, 1.0, 16000) == (8000, 24000)
    assert sample_window(0.49 / 16000, 1.0, 16000) == (0, 16000)
    assert sample_window(0.51 / 16000, 1.0, 16000) == (1, 16001)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_times_must_be_finite(value):
    with pytest.raises(ValueError, match="start_s must be finite"):
        exact_seconds(value, "start_s")


@pytest.mark.parametrize("value", ["1", None, True])
def test_times_must_be_numbers(value):
    with pytest.raises(TypeError, match="start_s must be a number of seconds"):
        exact_seconds(value, "start_s")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_frames": 0}, ValueError, "n_frames must be at least 1, got 0"),
        ({"height": 2.0}, TypeError, "height must be an int, got 2.0"),
        ({"fps": 29.97}, ValueError, "fps must be exact"),
        ({"fps": -1}, ValueError, "fps must be positive"),
    ],
)
def test_clip_spec_rejects(options, error, message):
    with pytest.raises(error, match=message):
        ClipSpec(**options)


def test_clip_spec_counts():
    spec = ClipSpec(n_frames=25, fps="30000/1001", sample_rate=16000)
    assert spec.n_samples == 13347
    assert spec.duration == Fraction(25 * 1001, 30000)
