import numpy as np
import pytest

from avts_ext.evaluation.retrieval import recall_at


def test_everything_is_found_where_own_answers_are_nearest():
    queries = np.random.default_rng(0).normal(size=(30, 8))
    assert recall_at(queries, queries + 1e-3) == [1.0, 1.0, 1.0]


def test_strangers_are_found_by_chance():
    rng = np.random.default_rng(0)
    queries, answers = rng.normal(size=(2, 2000, 8))
    for k, recall in zip((1, 5, 10), recall_at(queries, answers), strict=True):
        assert recall == pytest.approx(k / 2000, abs=4 * (k / 2000 / 2000) ** 0.5)


def test_a_collapsed_network_is_at_chance():
    same = np.ones((20, 4))
    assert recall_at(same, same) == pytest.approx([1 / 20, 5 / 20, 10 / 20])


def test_ranks_by_hand():
    queries = np.array([[0.0], [1.0], [10.0]])
    answers = np.array([[0.1], [0.2], [5.0]])
    # Query 0 finds its own first; query 1 finds it first, at 0.8 before 0.9; query 2 likewise.
    assert recall_at(queries, answers, [1, 2]) == [1.0, 1.0]
    swapped = answers[[1, 0, 2]]
    assert recall_at(queries, swapped, [1, 2, 3]) == pytest.approx([1 / 3, 1.0, 1.0])


@pytest.mark.parametrize(
    ("queries", "answers", "ranks", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), (1,), "answers: got shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), (1,), "answers: got shape"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), (1,), "finite"),
        (np.zeros((2, 3)), np.zeros((2, 3)), (0,), "ranks: got 0"),
    ],
)
def test_bad_input_is_refused(queries, answers, ranks, message):
    with pytest.raises(ValueError, match=message):
        recall_at(queries, answers, ranks)
