from pathlib import Path

import pytest

from avts_ext.cli import evaluate
from avts_ext.cli.__main__ import main
from avts_ext.evaluation.report import Result, load_results, save_results
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.world import generate


@pytest.fixture
def world(tmp_path):
    AVTS(AVTSConfig()).save(tmp_path / "model.safetensors")
    generate("world", 4, seed=1, progress=False)
    generate("duets", 2, seed=1, kind="duet", progress=False)
    return ["evaluate", "world", "--checkpoint", "model.safetensors", "--data", "world"]


def test_scores_the_parts_it_should_and_writes_what_it_prints(world, monkeypatch, capsys):
    seen = []

    def scores(trained, untrained, held_out, *, n_questions, draws, seed, command):
        assert not any(
            p is q for p, q in zip(trained.parameters(), untrained.parameters(), strict=True)
        )
        seen.append([len(held_out.labelled), len(held_out.test), n_questions, draws, seed])
        return [Result("sync-hard/1", 0.75, 9, (seed,), command=command)]

    def places(trained, untrained, videos, scene, *, seed, command):
        seen.append([len(videos), scene])
        return [Result(f"boxes-{scene}/1", 0.5, 9, (seed,), command=command)]

    monkeypatch.setattr(evaluate, "score_results", scores)
    monkeypatch.setattr(evaluate, "place_results", places)
    options = "--duets duets --labelled_videos 3 --n_questions 7 --draws 2 --seed 5 --out r.json"
    assert main([*world, *options.split()]) == 0
    assert seen == [[3, 1, 7, 2, 5], [1, "solo"], [2, "duet"]]
    printed = capsys.readouterr().out
    results = load_results("r.json")
    assert [r.protocol for r in results] == ["sync-hard/1", "boxes-solo/1", "boxes-duet/1"]
    assert all(r.protocol in printed for r in results)


@pytest.mark.parametrize("labelled", ["0", "4", "200"])
def test_there_must_be_videos_left_to_test(world, labelled, capsys):
    assert main([*world, "--labelled_videos", labelled]) == 1
    assert f"labelled_videos: got {labelled}, expected between 1 and 3" in capsys.readouterr().err


def test_a_folder_without_a_world_is_refused(world, capsys):
    assert main([*world[:-1], "nothing"]) == 1
    assert "nothing" in capsys.readouterr().err


def test_results_prints_the_mean_over_runs(capsys):
    for seed, value in enumerate((0.5, 0.7)):
        Path(f"runs/{seed}").mkdir(parents=True)
        save_results([Result("p/1", value, 10, (seed,))], f"runs/{seed}/r.json")
    assert main(["results", "runs", "--name", "r.json"]) == 0
    assert "| p/1 | 0.600 |  | 0.141 |  |  | 20 | 0, 1 |" in capsys.readouterr().out
    assert main(["results", "runs"]) == 1
    assert "folder: got 'runs' without any */report.json" in capsys.readouterr().err
