import numpy as np
import pytest

from avts_ext.data import CachedReader, ClipSpec, MediaReader
from avts_ext.evaluation import world_scores
from avts_ext.evaluation.finetune import FinetuneConfig
from avts_ext.evaluation.recordings import answer, questions_about
from avts_ext.evaluation.world_scores import (
    OFFSET_CHANCE,
    Score,
    as_result,
    audio_probe,
    finetuned_accuracy,
    offset_hits,
    open_world,
    sync_accuracy,
)
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.world import generate

SPEC = ClipSpec()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("scores") / "world", 30, seed=3, progress=False)


@pytest.fixture(scope="module")
def videos(folder):
    return open_world(folder, SPEC, folder.parent / "cache")


@pytest.fixture
def model():
    return AVTS(AVTSConfig()).eval()


def test_a_world_opens_in_the_order_of_its_truth(folder, videos):
    assert isinstance(videos.recordings[0].source, CachedReader)
    assert isinstance(open_world(folder, SPEC).recordings[0].source, MediaReader)
    assert len(videos) == 30
    np.testing.assert_array_equal(videos.labels, np.arange(30) % 10)
    part = videos[10:20]
    assert [row.index for row in part.truth] == list(range(10, 20))
    assert [r.source.path for r in part.recordings] == [row.path for row in part.truth]
    assert all(r.duration_s == pytest.approx(6.0, abs=0.1) for r in videos.recordings)


def test_sync_accuracy_is_that_of_the_fixed_questions(videos, model):
    score = sync_accuracy(model, videos, "hard", n_questions=40, seed=5)
    questions = questions_about(videos.recordings, "hard", 40, SPEC, seed=5)
    expected = answer(model, videos.recordings, questions)
    assert score == Score(expected.accuracy, 40, expected.interval)


def test_offset_hits_count_estimates_within_the_tolerance(videos, model, monkeypatch):
    estimates_s = iter([0.0, 0.125, -0.124, 0.126, -1.5])
    monkeypatch.setattr(world_scores, "estimate_offset", lambda *_, **__: next(estimates_s))
    score = offset_hits(model, videos[:5])
    assert (score.value, score.n) == (0.6, 5)
    assert pytest.approx(1 / 12) == OFFSET_CHANCE


def test_probe_and_fine_tuning_answer_for_every_test_video(videos, model):
    probe = audio_probe(model, videos[:20], videos[20:], per_class=2, draws=2, seed=0)
    tuned = finetuned_accuracy(
        model,
        videos[:20],
        videos[20:],
        per_class=1,
        draws=2,
        seed=0,
        config=FinetuneConfig(steps=2, batch_size=4, test_clips=1),
    )
    for score in (probe, tuned):
        assert score.n == 10
        assert score.interval[0] <= score.value <= score.interval[1]
        assert score.spread is not None
        assert (score.value * 2 * 10) == pytest.approx(round(score.value * 2 * 10))


def test_a_record_sets_the_score_beside_the_untrained_networks(model):
    untrained = AVTS(AVTSConfig())
    values = {id(model): 0.9, id(untrained): 0.4}
    result = as_result(
        "p/1",
        lambda network: Score(values[id(network)], 50, (0.8, 0.95), 0.02),
        model,
        untrained,
        chance=0.1,
        seed=7,
        command="avts evaluate",
    )
    assert (result.value, result.baseline, result.chance, result.seeds) == (0.9, 0.4, 0.1, (7,))
    assert (result.n, result.interval, result.spread) == (50, (0.8, 0.95), 0.02)
