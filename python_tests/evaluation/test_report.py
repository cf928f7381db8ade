import json
from dataclasses import replace

import pytest

from avts_ext.evaluation.report import (
    DECODED_CLIPS,
    Result,
    load_results,
    markdown_table,
    over_seeds,
    save_results,
)

FULL = Result(
    protocol="sync-hard/1",
    value=0.9,
    n=200,
    seeds=(0, 1),
    chance=0.5,
    baseline=0.51,
    interval=(0.85, 0.93),
    spread=0.01,
    controls={"wrong audio": 0.49},
    command="avts eval",
)
BARE = Result(protocol="offset/1", value=0.125, n=3, seeds=(0,), unit="s")


def test_round_trip(tmp_path):
    path = tmp_path / "results.json"
    save_results([FULL, BARE], path)
    assert load_results(path) == [FULL, BARE]
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]
    assert json.loads(path.read_text())[0]["versions"]["torch"]


def test_table_leaves_blank_what_was_not_measured():
    _header, _rule, full, bare = markdown_table([FULL, BARE]).splitlines()
    assert full == (
        "| sync-hard/1 | 0.900 | 0.850–0.930 | 0.010 | 0.500 | 0.510 | 0.490 | 200 | 0, 1 |"
    )
    assert bare == "| offset/1 | 0.125 s |  |  |  |  |  | 3 | 0 |"


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": ""},
        {"n": 0},
        {"seeds": ()},
        {"value": float("nan")},
        {"controls": {"energy": float("inf")}},
        {"interval": (0.0, float("nan"))},
    ],
)
def test_rejects(change):
    fields = {"protocol": "p/1", "value": 0.5, "n": 1, "seeds": (0,)}
    with pytest.raises(ValueError, match="got"):
        Result(**{**fields, **change})


def test_mean_over_seeds():
    first = replace(FULL, value=0.9, seeds=(0,), baseline=0.5, controls={"wrong audio": 0.4}, n=10)
    second = replace(FULL, value=0.7, seeds=(1,), baseline=0.6, controls={"wrong audio": 0.2}, n=10)
    (mean,) = over_seeds([[first], [second]])
    assert (mean.value, mean.baseline, mean.controls["wrong audio"]) == pytest.approx(
        (0.8, 0.55, 0.3)
    )
    assert mean.spread == pytest.approx(0.02**0.5)
    assert (mean.n, mean.seeds, mean.interval, mean.chance) == (20, (0, 1), None, 0.5)


def test_runs_of_different_decoders_are_told():
    other = replace(BARE, versions=BARE.versions | {DECODED_CLIPS: "0" * 16}, seeds=(1,))
    with pytest.warns(UserWarning, match="decoded differently in these runs"):
        over_seeds([[BARE], [other]])


@pytest.mark.parametrize(
    "runs",
    [[], [[FULL], [BARE]], [[FULL], [FULL, BARE]], [[FULL], [FULL]]],
    ids=["none", "other", "more", "same seed"],
)
def test_mean_over_seeds_refuses_what_does_not_belong_together(runs):
    with pytest.raises(ValueError, match="runs: got"):
        over_seeds(runs)
