import dataclasses
import json
from pathlib import Path

import pytest

from avts_ext.cli.__main__ import main
from avts_ext.demo import run as demo_run
from avts_ext.demo.effects import check_effects
from avts_ext.demo.plan import FULL, QUICK, seeds
from avts_ext.evaluation.report import Result
from avts_ext.training import PretrainConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_full_run_trains_by_the_shipped_recipe():
    ours = FULL.pretraining(Path("r"), Path("c"), Path("o"), 0, FULL.train_videos)
    shipped = PretrainConfig.from_yaml(CONFIGS / "world.yaml")
    run = {name: getattr(ours.run, name) for name in ("out_dir", "keep_every", "resume")}
    data = {name: getattr(ours.data, name) for name in ("root", "cache_dir", "max_files")}
    assert ours == dataclasses.replace(
        shipped,
        run=dataclasses.replace(shipped.run, **run),
        data=dataclasses.replace(shipped.data, **data),
    )


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=["full", "quick"])
def test_a_plan_is_possible(plan):
    sizes = [plan.subset_videos(percent) for percent in plan.subset_percents]
    assert sizes == sorted(set(sizes)) and sizes[-1] == plan.train_videos
    assert all(size % 10 == 0 and size >= 32 for size in sizes)  # classes alike, a whole batch
    assert plan.epochs % plan.keep_every == 0
    assert plan.labelled_videos >= 200  # 20 of each class


def test_subset_sizes_are_those_of_the_paper():
    assert [FULL.subset_videos(percent) for percent in (13, 28, 55, 100)] == [40, 90, 180, 320]


def test_worlds_never_share_a_seed():
    drawn = [seeds(seed)[name] for seed in range(100) for name in seeds(0) if "world" in name]
    drawn += [seeds(seed)["held-out duets"] for seed in range(100)]
    assert len(set(drawn)) == len(drawn)


def records(value, baseline=0.3, wrong_audio=0.2):
    names = ["sync-hard/1", "sync-easy/1", "offset-within-125ms/1", "audio-probe-20/1"]
    names += ["finetune-10/1", "boxes-duet, source, event frames/1"]
    names += [f"boxes-solo, source, {frames} frames/1" for frames in ("event", "all")]
    made = [
        Result(name, value, 9, (0,), baseline=baseline, controls={"wrong audio": wrong_audio})
        for name in names
    ]
    return [*made, Result("boxes-solo, silent, all frames/1", 1 - value, 9, (0,))]


def rows(first, last):
    return [{"sync_hard": {"value": first}}, {"sync_hard": {"value": last}}]


def test_every_effect_holds_for_a_good_network_and_fails_for_a_bad_one():
    good = check_effects(records(0.99), rows(0.6, 0.99), quick=False)
    bad = check_effects(records(0.31), rows(0.99, 0.6), quick=True)
    assert all(effect["holds"] for effect in good)
    # As bad as the untrained one, but for a map that is righter than with the wrong audio.
    assert [effect["name"] for effect in bad if effect["holds"]] == ["Listening"]


def test_a_bound_itself_holds_and_is_printed():
    at_bound = check_effects(records(0.85), rows(0.5, 0.58), quick=False)
    by_name = {effect["name"]: effect for effect in at_bound}
    sync = by_name["Synchrony, same video"]
    assert sync["holds"] and (sync["measured"], sync["expected"]) == ("0.850", "at least 0.85")
    assert by_name["Silent mover"]["expected"].startswith("at most")


@pytest.fixture
def run():
    made = demo_run._Run(Path("out"), QUICK, True, 0)
    made.claim()
    return made


def test_a_finished_part_is_not_done_again(run):
    calls = []
    first = run._part("some, part", lambda: calls.append(0) or {"figure": 0.1})
    again = run._part("some, part", lambda: calls.append(1) or {"figure": 0.2})
    assert first == again == {"figure": 0.1}
    assert calls == [0]
    assert "some, part" in run.seconds


def test_a_part_that_breaks_leaves_nothing(run):
    with pytest.raises(OSError, match="disk"):
        run._part("part", lambda: (_ for _ in ()).throw(OSError("disk")))
    assert not list(Path("out").glob("parts/*"))


def test_another_folder_is_refused_before_any_work(run, capsys):
    assert main(["demo", "--out_dir", "out", "--quick", "--seed", "1"]) == 1
    assert "another length, seed or version" in capsys.readouterr().err
    assert main(["demo", "--out_dir", "out"]) == 1
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    assert main(["demo", "--out_dir", "mine", "--quick"]) == 1
    assert "not empty" in capsys.readouterr().err
    assert sorted(path.name for path in Path("mine").iterdir()) == ["thesis.tex"]
    assert main(["demo", "--out_dir", "new", "--seed", "-1"]) == 1
    assert not Path("new").exists()


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_run.world, "generate", interrupted)
    assert main(["demo", "--out_dir", "my out", "--quick"]) == 130
    assert "avts demo --out_dir 'my out' --seed 0 --quick" in capsys.readouterr().err
    assert json.loads(Path("my out/demo.json").read_text())["seed"] == 0
    assert not Path("my out/report.json").exists()
