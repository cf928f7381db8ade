import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avts_ext.cli.__main__ import main
from avts_ext.data import ClipSpec, MediaError, MediaReader
from avts_ext.data.fingerprint import decode_fingerprint
from avts_ext.evaluation import action_training
from avts_ext.evaluation.action_clips import TestClips, TrainingClips, crop_resize, read_pictures
from avts_ext.evaluation.action_training import ActionNetwork, ActionRecipe, Part, finetune_fold
from avts_ext.evaluation.action_transfer import beginnings
from avts_ext.evaluation.report import load_results
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.models.pretrained import model_hash

sys.path.insert(0, str(Path(__file__).parent))
from published import write_hmdb51, write_ucf101

SPEC = ClipSpec(n_frames=4, fps=10, height=16, width=16)
COLOURS = ((200, 40, 40), (40, 40, 200), (40, 180, 40))
RECIPE = ActionRecipe(
    epochs=4, warmup_epochs=1, batch_size=4, tower_lr=3e-3, head_lr=3e-2, dropout=0.1, test_clips=2
)


def write_video(path: Path, colour, n_frames=12, seed=0) -> None:
    """A silent picture of one colour in noise, with a white column that moves right."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20, width=32, height=24, pix_fmt="yuv420p")
        stream.bit_rate = 2_000_000
        for k in range(n_frames):
            picture = np.clip(np.array(colour) + rng.normal(0, 15, (24, 32, 3)), 0, 255)
            picture[:, 2 * k % 32] = 255
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def model() -> AVTS:
    return AVTS(AVTSConfig(clip=SPEC)).eval()


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> tuple[Part, Part]:
    root = tmp_path_factory.mktemp("videos")
    labels = np.arange(18) % 3
    paths = [root / f"{k}.avi" for k in range(18)]
    for k, path in enumerate(paths):
        write_video(path, COLOURS[labels[k]], seed=k)
    return Part(paths[:12], labels[:12]), Part(paths[12:], labels[12:])


def test_pictures_are_those_of_the_reader(tmp_path):
    write_video(tmp_path / "v.avi", COLOURS[0], n_frames=20)
    clips = read_pictures(tmp_path / "v.avi", SPEC, [0.0, 0.5, 1.0], (16, 16))
    assert clips.shape == (3, 4, 16, 16, 3)
    with MediaReader(tmp_path / "v.avi", tracks="video") as reader:
        first, _ = reader.read_frames(0, SPEC)
        last, _ = reader.read_frames(1.0 - 0.025 - 0.3, SPEC)  # ends in the middle of the last one
    assert torch.equal(clips[0], first) and torch.equal(clips[2], last)


def test_a_short_video_stands_still_at_its_end(tmp_path):
    write_video(tmp_path / "v.avi", COLOURS[0], n_frames=4)  # 0.2 s, and clips want 0.4 s
    clips = read_pictures(tmp_path / "v.avi", SPEC, [0.0, 1.0], (16, 16))
    assert torch.equal(clips[0], clips[1])
    assert torch.equal(clips[0, 2], clips[0, 3]) and not torch.equal(clips[0, 0], clips[0, 1])


def test_crops_by_hand():
    frames = torch.arange(10 * 10, dtype=torch.uint8).reshape(1, 10, 10, 1).expand(2, -1, -1, 3)
    corner = crop_resize(frames, 0.4, 0.0, 1.0, (4, 4))
    assert torch.equal(corner, frames[:, :4, 6:])
    assert crop_resize(frames, 0.8, 0.5, 0.5, (4, 4)).shape == (2, 4, 4, 3)
    even = torch.full((1, 10, 10, 3), 77, dtype=torch.uint8)
    assert (crop_resize(even, 0.9, 0.3, 0.1, (5, 7)) == 77).all()


def test_training_clips_are_functions_of_the_key(parts):
    train = parts[0]
    data, again = (TrainingClips(train.paths, train.labels, SPEC, seed) for seed in (0, 0))
    other = TrainingClips(train.paths, train.labels, SPEC, 1)
    label, frames = data[3, 5]
    assert label == train.labels[5] and frames.shape == (4, 16, 16, 3)
    assert frames.dtype == torch.uint8 and torch.equal(frames, again[3, 5][1])
    assert not torch.equal(frames, data[4, 5][1]) and not torch.equal(frames, other[3, 5][1])
    tested = TestClips(train.paths, train.labels, SPEC, 3)
    assert tested[5][1].shape == (3, 4, 16, 16, 3)


def test_deeper_stages_learn_more_slowly_and_the_tower_can_be_frozen(model):
    network = ActionNetwork(model, 3, 0.5)
    groups = network.groups(ActionRecipe(tower_lr=1e-3, layer_decay=0.5, head_lr=1e-2))
    assert [group["lr"] for group in groups] == [1e-2, 1e-3, 5e-4, 2.5e-4, 1.25e-4]
    assert groups[1]["params"][0] is network.model.video.layer3[0].weight
    counted = sum(p.numel() for group in groups for p in group["params"])
    assert counted == sum(p.numel() for p in network.parameters())
    network.freeze_tower(True)
    before = network.model.video.stem[1].running_mean.clone()
    network(torch.zeros(2, 4, 16, 16, 3, dtype=torch.uint8)).sum().backward()
    assert all(p.grad is None for p in network.model.video.parameters())
    assert torch.equal(before, network.model.video.stem[1].running_mean)
    network.freeze_tower(False)
    assert all(p.requires_grad for p in network.parameters()) and network.model.video.training


def test_colours_are_learned(model, parts):
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    result = finetune_fold(model, *parts, 3, RECIPE, Path("run"))
    assert result.video_accuracy == 1.0 and result.clip_accuracy == 1.0
    assert result.n_videos == 6 and len(result.losses) == 4
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert all(torch.equal(weights[n], value) for n, value in model.state_dict().items())


def test_labels_of_another_fold_teach_nothing(model, parts):
    """Test videos whose labels are turned round by one class: never right."""
    train, test = parts
    turned = Part(test.paths, (test.labels + 1) % 3)
    assert finetune_fold(model, train, turned, 3, RECIPE, Path("run")).video_accuracy == 0.0


@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_run_ends_like_one_that_was_not(model, parts, stop_after, monkeypatch):
    whole = finetune_fold(model, *parts, 3, RECIPE, Path("whole"))
    original = action_training._Run.train_epoch

    def stop(run):
        if run.epoch == stop_after:
            raise KeyboardInterrupt
        original(run)

    with monkeypatch.context() as context:
        context.setattr(action_training._Run, "train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune_fold(model, *parts, 3, RECIPE, Path("parted"))
    assert finetune_fold(model, *parts, 3, RECIPE, Path("parted")) == whole
    states = [torch.load(f"{name}/resume.pt", weights_only=True) for name in ("whole", "parted")]
    for name, value in states[0]["network"].items():
        assert torch.equal(value, states[1]["network"][name]), name


def test_a_finished_fold_is_read_and_another_recipe_refused(model, parts, monkeypatch):
    first = finetune_fold(model, *parts, 3, RECIPE, Path("run"))
    monkeypatch.setattr(action_training._Run, "train_epoch", lambda run: pytest.fail("trained"))
    assert finetune_fold(model, *parts, 3, RECIPE, Path("run")) == first
    with pytest.raises(ValueError, match="'run' holds a run of another recipe"):
        finetune_fold(model, *parts, 3, replace(RECIPE, seed=1), Path("run"))


def test_mixed_precision_learns_as_well(model, parts):
    recipe = replace(RECIPE, precision="bfloat16")
    mixed = finetune_fold(model, *parts, 3, recipe, Path("mixed"))
    assert mixed.video_accuracy == 1.0
    assert mixed.losses != finetune_fold(model, *parts, 3, RECIPE, Path("full")).losses


def test_workers_do_not_matter(model, parts):
    recipe = replace(RECIPE, epochs=2)
    alone = finetune_fold(model, *parts, 3, recipe, Path("alone"))
    assert finetune_fold(model, *parts, 3, recipe, Path("helped"), workers=2) == alone


def test_broken_videos_are_refused_or_told(model, parts, tmp_path):
    (tmp_path / "broken.avi").write_bytes(b"?" * 99)
    train, test = (Part([*p.paths, tmp_path / "broken.avi"], np.append(p.labels, 0)) for p in parts)
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0)
    with pytest.raises(MediaError, match=r"broken\.avi"):
        finetune_fold(model, train, test, 3, recipe, Path("strict"))
    result = finetune_fold(model, train, test, 3, recipe, Path("lenient"), allow_broken=True)
    assert result.broken == [str(tmp_path / "broken.avi")] and result.n_videos == 6
    only_broken = Part(test.paths[-1:], test.labels[-1:])
    with pytest.raises(ValueError, match="none of 1 videos can be read"):
        finetune_fold(model, train, only_broken, 3, recipe, Path("none"), allow_broken=True)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0}, {"warmup_epochs": 20}, {"tower_lr": 0.0}, {"layer_decay": -1.0},
        {"dropout": 1.0}, {"precision": "int8"}, {"test_clips": 0},
    ],
)  # fmt: skip
def test_bad_recipes_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ActionRecipe(**options)


def test_beginnings(model, tmp_path):
    other = AVTS(model.config)
    torch.save(other.video.state_dict() | {"fc.weight": torch.zeros(3, 64)}, "labels.pt")
    models = beginnings(model, True, "labels.pt", seed=7)
    assert list(models) == ["AVTS", "from scratch", "supervised"]
    assert models["AVTS"] is model
    stems = [m.video.stem[0].weight for m in (*models.values(), other)]
    assert torch.equal(stems[2], stems[3]) and not torch.equal(stems[0], stems[1])
    torch.save({"stem.0.weight": torch.zeros(1)}, "wrong.pt")
    with pytest.raises(ValueError, match=r"supervised: 'wrong.pt': .*stem"):
        beginnings(model, False, "wrong.pt", seed=0)


def test_ucf101_from_files_to_record(model, tmp_path, capsys):
    model.save("m.safetensors")
    torch.save(model.video.state_dict(), "labels.pt")
    for k, path in enumerate(write_ucf101(tmp_path / "ucf", n_classes=2, groups=22, clips=1)):
        write_video(path, COLOURS[k // 22], n_frames=6, seed=k)
    small = ["--recipe.epochs", "2", "--recipe.warmup_epochs", "1", "--recipe.test_clips", "2"]
    command = ["evaluate", "ucf101", "--checkpoint", "m.safetensors", "--data", "ucf", *small]
    command += ["--out_dir", "runs", "--out", "r.json"]
    command += ["--recipe.head_lr", "0.03", "--supervised", "labels.pt", "--splits", "[1,3]"]
    assert main(command) == 1
    assert "ucf101 is incomplete: train1 lists 30 files of 9537" in capsys.readouterr().err
    assert main([*command, "--allow_partial"]) == 0
    printed = capsys.readouterr().out
    assert "86.4" in printed and "90.5" in printed and "sd over folds" in printed
    results = load_results("r.json")
    names = ("AVTS", "from scratch", "supervised")
    assert [r.protocol for r in results] == [
        f"ucf101-finetune-{kind}, {name}/1" for kind in ("clip", "video") for name in names
    ]
    avts, scratch, _ = results[3:]
    assert avts.baseline == scratch.value and scratch.baseline is None
    assert list(avts.folds) == ["split 1", "split 3"] and avts.n == 14 + 14
    assert avts.value == pytest.approx(np.mean(list(avts.folds.values())))
    assert avts.card["recipe"]["layer_decay"] == 0.75 and avts.card["coverage"]["files"] == 44
    assert len(set(avts.card["answer_hashes"])) == 2 and avts.card["search"] == "none"
    assert avts.card["model_hash"] == model_hash(model)
    assert avts.card["decoder"] == decode_fingerprint()
    assert avts.card["begins_from"] == "AVTS" and avts.card["clip"]["fps"] == "10"
    assert main([*command, "--allow_partial", "--splits", "[4]"]) == 1
    assert "splits: got [4], expected some of 1, 2, 3" in capsys.readouterr().err


def test_hmdb51_from_files_to_record(model, tmp_path, capsys):
    model.save("m.safetensors")
    for k, path in enumerate(write_hmdb51(tmp_path / "hmdb", n_classes=2, videos=10)):
        write_video(path, COLOURS[k // 10], n_frames=6, seed=k)
    small = ["--recipe.epochs", "1", "--recipe.warmup_epochs", "0", "--recipe.test_clips", "1"]
    command = [
        "evaluate",
        "hmdb51",
        "--checkpoint",
        "m.safetensors",
        "--data",
        "hmdb",
        "--out_dir",
        "runs",
        *small,
    ]
    assert main([*command, "--allow_partial", "--scratch", "false", "--out", "r.json"]) == 0
    assert "66.8" in capsys.readouterr().out
    clip, video = load_results("r.json")
    assert (clip.protocol, video.protocol) == (
        "hmdb51-finetune-clip, AVTS/1", "hmdb51-finetune-video, AVTS/1"
    )  # fmt: skip
    assert list(video.folds) == ["split 1", "split 2", "split 3"] and video.n == 3 * 6
    assert "train1 lists 14 files of 3570" in video.card["coverage"]["holes"]
