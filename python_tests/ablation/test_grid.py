import csv
import dataclasses
import sys
from pathlib import Path

import pytest

from avts_ext.ablation import grid as grid_module
from avts_ext.ablation.grid import Cell, Grid
from avts_ext.ablation.measures import MeasureConfig
from avts_ext.ablation.subsets import PretrainingSet
from avts_ext.ablation.tables import rows_over_seeds
from avts_ext.cli.__main__ import main
from avts_ext.data import ManifestRow, open_index, read_manifest, scan_folder
from avts_ext.evaluation.report import load_results
from avts_ext.evaluation.sync_sets import make_sync_set
from avts_ext.models.avts import AVTS
from avts_ext.training import PretrainConfig
from avts_ext.world import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from flash_beep import FlashBeep

RECIPE = """
data: {root: films}
model: {clip: {n_frames: 4, height: 32, width: 32}}
curriculum: [{first_epoch: 0}, {first_epoch: 1, easy: 0.5, hard: 0.5}]
schedule: {warmup_steps: 2}
run: {epochs: 2, batch_size: 2}
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("media") / "films"
    root.mkdir()
    for i in range(8):
        FlashBeep(duration_s=2.0, flash_every=5 + i, size=(32, 32)).write(root / f"{i}.mp4")
    return root


@pytest.fixture
def recipe(films, tmp_path) -> PretrainConfig:
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("root: films", f"root: {films}"))
    config = PretrainConfig.from_yaml("recipe.yaml", "--run.out_dir=x", "--run.keep_every=1")
    scan_folder(films, tmp_path / "asked.parquet")
    entries, _ = open_index(tmp_path / "asked.parquet")
    make_sync_set(entries, config.model.clip, 10, "q.json")
    return config


MEASURE = MeasureConfig(questions="q.json")


@pytest.fixture
def media(recipe) -> PretrainingSet:
    return PretrainingSet.open("all", recipe.data.root, None, Path("out/sets"))


def test_a_cell_is_pretrained_on_its_subset_and_scored(recipe, media):
    grid = Grid(Path("out"), recipe, MEASURE)
    (point,) = grid.run(Cell(media, 4, seed=1), 8)
    assert (point.files, point.share, point.seed, point.epochs) == (4, 0.5, 1, 2)
    assert list(point.scores) == ["sync_easy", "sync_hard", "sync_super_hard"]
    assert all(score.n == 10 for score in point.scores.values())
    manifest = read_manifest("out/sets/all_4.parquet")
    assert len(manifest.rows) == 4 and all((manifest.root / r.path).exists() for r in manifest.rows)
    model = AVTS.load("out/cells/all_4/seed_1/last.safetensors")
    assert model.config == recipe.model


def test_curve_begins_with_the_untrained_network(recipe, media):
    points = Grid(Path("out"), recipe, MEASURE).run(Cell(media, 8, 0), 8, all_kept=True)
    assert [point.epochs for point in points] == [0, 1, 2]
    assert len({point.model_hash for point in points}) == 3
    kept = AVTS.load("out/cells/all_8/seed_0/epoch_000.safetensors")
    calibrated = Grid(Path("out"), recipe, MEASURE)._model(
        Path("out/cells/all_8/seed_0"), 0, dataclasses.replace(
            recipe,
            data=dataclasses.replace(recipe.data, root="out/sets/all_8.parquet"),
        ),
    )  # fmt: skip
    weights = zip(kept.parameters(), calibrated.parameters(), strict=True)
    assert all((a == b).all() for a, b in weights)
    assert any((a != b).any() for a, b in zip(kept.buffers(), calibrated.buffers(), strict=True))


def test_nothing_is_done_twice_and_grids_grow(recipe, media, monkeypatch):
    first = Grid(Path("out"), recipe, MEASURE).run(Cell(media, 8, 0), 8)
    runs = []
    monkeypatch.setattr(
        grid_module, "pretrain", lambda c, p=grid_module.pretrain: runs.append(c.run.seed) or p(c)
    )
    grid = Grid(Path("out"), recipe, MEASURE)
    assert grid.run(Cell(media, 8, 0), 8) == first and runs == []
    (other,) = grid.run(Cell(media, 8, 5), 8)
    assert runs == [5] and other.model_hash != first[0].model_hash
    # The whole curve of a cell that is trained already needs scores alone.
    assert grid.run(Cell(media, 8, 0), 8, all_kept=True)[-1] == first[0] and runs == [5, 0]


def test_an_interrupted_grid_goes_on_to_the_same_result(recipe, media, monkeypatch):
    whole = Grid(Path("whole"), recipe, MEASURE).run(Cell(media, 8, 0), 8)
    interrupted = type("Result", (), {"interrupted": True})

    with monkeypatch.context() as context:
        context.setattr(grid_module, "pretrain", lambda config: interrupted)
        with pytest.raises(KeyboardInterrupt):
            Grid(Path("out"), recipe, MEASURE).run(Cell(media, 8, 0), 8)
    assert not Path("out/cells/all_8/seed_0/scores.json").exists()
    again = Grid(Path("out"), recipe, MEASURE)
    assert again.run(Cell(media, 8, 0), 8) == whole


@pytest.mark.parametrize("what", ["recipe", "measure", "rule"])
def test_cells_that_do_not_compare_are_refused(recipe, what):
    Grid(Path("out"), recipe, MEASURE)
    changed = {
        "recipe": (dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, margin=0.5)),),
        "measure": (recipe, dataclasses.replace(MEASURE, draws=7)),
        "rule": (recipe, MEASURE, "steps"),
    }[what]
    arguments = [*changed, *(recipe, MEASURE)[len(changed) :]]
    with pytest.raises(ValueError, match=f"'out' holds cells of another {what}: choose another"):
        Grid(Path("out"), *arguments)


def test_equal_steps_mean_more_epochs_for_less(recipe, media):
    grid = Grid(Path("out"), recipe, MEASURE, "steps")
    config = grid._config(Path("m.parquet"), 4, 8, Path("cell"), 0)
    assert (config.run.epochs, [s.first_epoch for s in config.curriculum]) == (4, [0, 2])
    assert grid._config(Path("m.parquet"), 8, 8, Path("cell"), 0).run.epochs == 2


def test_measures_are_required():
    with pytest.raises(ValueError, match="measure: give at least one"):
        MeasureConfig()


def test_subsets_are_nested_and_keep_the_proportions_of_classes():
    rows = [ManifestRow(f"{c}/{n}.mp4", labels=(c,)) for c, k in (("a", 60), ("b", 20))
            for n in range(k)]  # fmt: skip
    media = PretrainingSet("all", Path("r"), rows)
    small, large = media.subset(20), media.subset(40)
    assert [row.path for row in small] == [row.path for row in media.subset(20)]
    assert {row.path for row in small} < {row.path for row in large}
    assert [sum(row.labels == ("a",) for row in part) for part in (small, large)] == [15, 30]
    for count in (0, 81):
        with pytest.raises(ValueError, match=f"count: got {count}, expected between 1 and the 80"):
            media.subset(count)


def test_subsets_of_a_world_keep_its_classes():
    generate("world", 20, seed=1, progress=False)
    media = PretrainingSet.open("all", "world/videos", None, Path("sets"))
    half = [row.labels for row in media.subset(10)]
    assert len(half) == 10 and len(set(half)) == 10  # each of the ten classes once


def test_verbs_from_recipe_to_tables(recipe, films, capsys):
    common = [
        "--recipe",
        "recipe.yaml",
        "--out_dir",
        "out",
        "--measure.questions",
        "q.json",
        "--seeds",
        "[0,1]",
    ]
    assert main(["ablate", "epochs", *common, "--keep_every", "1"]) == 0
    printed = capsys.readouterr().out
    with open("out/epochs.csv") as file:
        lines = list(csv.DictReader(file))
    assert [(row["epochs"], row["seed"]) for row in lines] == [
        (epoch, seed) for epoch in "012" for seed in "01"
    ]
    records = load_results("out/epochs.json")
    assert [r.protocol for r in records][:2] == [
        "ablate-epochs, all 8, 0 epochs, sync_easy/1", "ablate-epochs, all 8, 0 epochs, sync_hard/1"
    ]  # fmt: skip
    rates = [float(row["sync_hard"]) for row in lines if row["epochs"] == "2"]
    final = next(r for r in records if r.protocol.endswith("2 epochs, sync_hard/1"))
    assert final.value == pytest.approx(sum(rates) / 2) and final.seeds == (0, 1)
    assert f"{final.value:.3f} ({final.spread:.3f})" in printed
    assert Path("out/epochs.svg").exists() and "avts" in Path("out/epochs.md").read_text()

    second = films.parent / "second"
    second.mkdir(exist_ok=True)
    for i in range(4):
        path = second / f"{i}.mp4"
        FlashBeep(duration_s=2.0, flash_every=20 + i, size=(32, 32)).write(path)
    examples = ["ablate", "examples", *common, "--shares", "[0.5,1.0]", "--second", str(second)]
    assert main(examples) == 0
    table = [line.split(" | ")[:3] for line in Path("out/examples.md").read_text().splitlines()[6:]]
    assert table == [["| all", "4", "50%"], ["| all", "8", "100%"], ["| second", "4", "100%"]]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--seeds", "[0,0]"], "seeds: got [0, 0]"),
        (["--shares", "[0.0]"], "shares: got (0.0,)"),
        (["--counts", "[9]"], "count: got 9, expected between 1 and the 8 files"),
    ],
)
def test_bad_options_are_refused_before_any_training(recipe, option, message, capsys, monkeypatch):
    monkeypatch.setattr(grid_module, "pretrain", lambda config: pytest.fail("trained"))
    command = ["ablate", "examples", "--recipe", "recipe.yaml", "--out_dir", "out"]
    command += ["--measure.questions", "q.json"]
    assert main([*command, *option]) == 1
    assert message in capsys.readouterr().err


def test_rows_join_seeds(recipe, media):
    grid = Grid(Path("out"), recipe, MEASURE)
    points = [p for seed in (0, 1) for p in grid.run(Cell(media, 8, seed), 8)]
    (row,) = rows_over_seeds(points)
    assert [point.seed for point in row.points] == [0, 1]
    assert row.spread("sync_easy") is not None
    assert rows_over_seeds(points[:1])[0].spread("sync_easy") is None
