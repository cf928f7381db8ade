import numpy as np
import pytest

from avts_ext.localization.scores import boxes_at, near_event, score_frames, summarize

SOURCE = np.array([[0.0, 0, 2, 2]])
SILENT = np.array([[2.0, 2, 4, 4]])


def one_frame(**heat):
    """(1, 4, 4) map with the given values, named by row and column: y1x2=0.5."""
    image = np.zeros((1, 4, 4))
    for place, value in heat.items():
        image[0, int(place[1]), int(place[3])] = value
    return image


def score(image, event=True, **options):
    return score_frames(image, SOURCE, SILENT, np.array([event]), **options)


def test_peak_and_iou_by_hand():
    # Above half of the maximum: three of the four source pixels, one outside. IoU 3 / 5.
    hit = score(one_frame(y0x0=1.0, y0x1=0.6, y1x0=0.6, y1x1=0.5, y3x0=0.7))
    assert (hit.on_source[0], hit.on_silent[0], hit.iou[0]) == (True, False, 3 / 5)
    # At a threshold of 0.4 the fourth pixel counts as well: 4 / 5.
    image = one_frame(y0x0=1.0, y0x1=0.6, y1x0=0.6, y1x1=0.5, y3x0=0.7)
    assert score(image, threshold=0.4).iou[0] == 4 / 5


def test_peak_on_the_silent_mover_and_on_neither():
    silent = score(one_frame(y3x3=1.0))
    assert (silent.on_source[0], silent.on_silent[0], silent.iou[0]) == (False, True, 0.0)
    neither = score(one_frame(y3x0=1.0))
    assert (neither.on_source[0], neither.on_silent[0]) == (False, False)


def test_boxes_are_half_open():
    assert not score(one_frame(y0x2=1.0)).on_source[0]
    assert score(one_frame(y1x1=1.0)).on_source[0]


def test_a_map_without_a_positive_value_misses():
    empty = score(np.zeros((1, 4, 4)) - 1)
    assert (empty.on_source[0], empty.on_silent[0], empty.iou[0]) == (False, False, 0.0)


def test_frames_with_a_hidden_source_are_left_out():
    hidden = score_frames(np.ones((1, 4, 4)), np.zeros((1, 4)), SILENT, np.array([True]))
    assert len(hidden.on_source) == len(hidden.iou) == len(hidden.event_frame) == 0


def test_summary_of_event_frames_and_of_all_frames():
    hit, miss = one_frame(y0x0=1.0), one_frame(y3x3=1.0)
    boxes = SOURCE.repeat(3, 0), SILENT.repeat(3, 0)
    video = score_frames(np.concatenate([hit, miss, miss]), *boxes, np.array([True, False, False]))
    events = summarize([video, video], event_frames_only=True)
    assert (events.on_source.value, events.on_silent.value, events.n_frames) == (1.0, 0.0, 2)
    assert (events.iou.value, events.n_videos) == (0.25, 2)
    every = summarize([video, video], event_frames_only=False)
    assert every.on_source.value == pytest.approx(1 / 3)
    assert (every.on_source.low, every.on_source.high) == pytest.approx((1 / 3, 1 / 3))
    assert (every.n_frames, every.on_silent.value) == (6, pytest.approx(2 / 3))


def test_near_event():
    times_s = np.array([0.84, 0.86, 1.0, 1.2, 1.21])
    assert near_event(times_s, np.array([1.0])).tolist() == [False, True, True, True, False]
    assert not near_event(times_s, np.zeros(0)).any()


def test_boxes_at_takes_the_nearest_frame():
    boxes = np.arange(8.0).reshape(2, 4)
    assert boxes_at(boxes, 16, np.array([0.0, 0.0625])).tolist() == boxes.tolist()
    with pytest.raises(ValueError, match="times_s"):
        boxes_at(boxes, 16, np.array([0.125]))


def test_rejects():
    with pytest.raises(ValueError, match="finite"):
        score(np.full((1, 4, 4), np.nan))
    with pytest.raises(ValueError, match="maps"):
        score(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="source_boxes"):
        score(np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="threshold"):
        score(np.zeros((1, 4, 4)), threshold=1.0)
