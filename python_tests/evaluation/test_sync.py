import numpy as np
import pytest

from avts_ext.evaluation.sync import (
    KINDS,
    offset_curve,
    pair_auc,
    parabolic_minimum,
    score_pairs,
    sync_questions,
)

DURATIONS = [6.0, 4.0, 2.5]


@pytest.mark.parametrize("kind", KINDS)
def test_questions_obey_their_kind(kind):
    asked = sync_questions(DURATIONS, kind, 300, clip_s=1, min_gap_s=0.5, min_offset_s=0.25)
    durations = np.array(DURATIONS)
    assert (asked.media == np.arange(300) % 3).all()
    for media, start_s in ((asked.media, asked.start_s), (asked.wrong_media, asked.wrong_start_s)):
        assert (start_s >= 0).all() and (start_s + 1 <= durations[media] + 1e-9).all()
    distance = np.abs(asked.start_s - asked.wrong_start_s)
    if kind == "easy":
        assert (asked.media != asked.wrong_media).all() and (distance == 0).all()
    else:
        assert (asked.media == asked.wrong_media).all()
        low, high = {"hard": (1.5, np.inf), "super_hard": (0.25, 1.0)}[kind]
        assert distance.min() >= low - 1e-9 and distance.max() <= high
        late = (asked.wrong_start_s > asked.start_s).mean()
        assert late == pytest.approx(0.5, abs=0.1)


def test_questions_are_a_function_of_the_seed_and_prefixes():
    few, many = (sync_questions(DURATIONS, "hard", n, seed=3) for n in (5, 50))
    assert (few.start_s == many.start_s[:5]).all()
    assert (few.wrong_start_s == many.wrong_start_s[:5]).all()
    other = sync_questions(DURATIONS, "hard", 5, seed=4)
    assert (few.start_s != other.start_s).any()


def test_questions_reject():
    with pytest.raises(ValueError, match=r"recording 1 lasts 2\.0 s, hard pairs need 2\.5"):
        sync_questions([3.0, 2.0], "hard", 1)
    with pytest.raises(ValueError, match="kind"):
        sync_questions([3.0, 3.0], "tricky", 1)
    with pytest.raises(ValueError, match="too few"):
        sync_questions([3.0], "easy", 1)
    with pytest.raises(ValueError, match="min_offset_s"):
        sync_questions([3.0], "super_hard", 1, min_offset_s=1.0)


def test_score_by_hand():
    score = score_pairs(np.array([1.0, 2, 2, 0]), np.array([2.0, 0, 1, 3]))
    assert (score.accuracy, score.n) == (2 / 4, 4)
    # Each right distance against all wrong ones: wins, and one half for its tie.
    assert score.auc == (2.5 + 1.5 + 1.5 + 3.5) / 16


def test_a_tie_is_half_an_answer():
    assert score_pairs(np.array([1.0, 2, 2, 0]), np.array([2.0, 0, 2, 3])).accuracy == 2.5 / 4


def test_auc_extremes():
    low, high = np.array([0.0, 1.0]), np.array([2.0, 3.0, 4.0])
    assert (pair_auc(low, high), pair_auc(high, low), pair_auc(low, low)) == (1.0, 0.0, 0.5)


def test_score_rejects():
    with pytest.raises(ValueError, match="finite"):
        score_pairs(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match="shape"):
        score_pairs(np.zeros(2), np.zeros(3))


def test_parabola_finds_the_vertex_between_samples():
    offsets_s = np.arange(-8, 9) / 8
    assert parabolic_minimum((offsets_s - 0.29) ** 2, offsets_s) == pytest.approx(0.29)
    assert parabolic_minimum(offsets_s, offsets_s) == -1.0
    assert parabolic_minimum(np.ones(3), np.array([-1.0, 0, 1])) == -1.0


def test_late_audio_gives_a_positive_offset():
    # The picture at t is embedded as (cos t, sin t); the file's sound lags the picture by 0.25 s.
    def embed(t_s):
        return np.stack([np.cos(t_s), np.sin(t_s)], -1)

    windows_s, offsets_s = np.array([1.0, 2.0]), np.arange(-4, 5) / 8
    audio = embed(windows_s[:, None] + offsets_s - 0.25)
    curve = offset_curve(embed(windows_s), audio)
    assert curve.shape == (9,)
    assert parabolic_minimum(curve, offsets_s) == pytest.approx(0.25, abs=1e-6)


def test_offset_curve_averages_distances():
    video = np.zeros((2, 2))
    audio = np.array([[[3.0, 4], [0, 0]], [[0, 1], [0, 2]]])
    assert offset_curve(video, audio).tolist() == [3.0, 1.0]
    with pytest.raises(ValueError, match="audio"):
        offset_curve(video, audio[:1])
