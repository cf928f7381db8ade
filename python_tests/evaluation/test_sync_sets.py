import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.data import ClipSpec, MediaTable, open_index, scan_folder
from avts_ext.evaluation.report import load_results
from avts_ext.evaluation.sync import KINDS, SyncQuestions, score_pairs
from avts_ext.evaluation.sync_sets import (
    accuracy_by_offset,
    make_sync_set,
    read_sync_set,
    score_kinds,
)
from avts_ext.models.avts import AVTS, AVTSConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from flash_beep import FlashBeep

SPEC = ClipSpec(n_frames=4, height=32, width=32)  # half a second


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for i in range(4):
        FlashBeep(duration_s=3.0, flash_every=7 + i, size=(32, 32)).write(root / f"{i}.mp4")
    return root


@pytest.fixture(scope="module")
def manifest(films) -> str:
    path = films.with_suffix(".parquet")
    scan_folder(films, path)
    return str(path)


@pytest.fixture
def entries(manifest) -> MediaTable:
    return open_index(manifest)[0]


@pytest.fixture
def model(tmp_path) -> AVTS:
    model = AVTS(AVTSConfig(clip=SPEC)).eval()
    model.save(tmp_path / "m.safetensors")
    return model


def test_a_set_is_the_same_when_read_again(entries):
    made = make_sync_set(entries, SPEC, 30, "q.json", seed=3)
    read = read_sync_set("q.json")
    assert read.hash == made.hash and read.media == made.media and read.clip_s == 0.5
    assert list(read.questions) == list(KINDS)
    for kind in KINDS:
        for field in dataclasses.fields(SyncQuestions):
            a, b = (getattr(one.questions[kind], field.name) for one in (made, read))
            np.testing.assert_array_equal(a, b)
    assert make_sync_set(entries, SPEC, 30, "other.json", seed=4).hash != made.hash
    assert make_sync_set(entries, SPEC, 30, "same.json", seed=3).hash == made.hash


def test_offsets_are_those_of_the_kinds(entries):
    questions = make_sync_set(entries, SPEC, 200, "q.json").questions
    apart_s = {k: np.abs(q.wrong_start_s - q.start_s) for k, q in questions.items()}
    assert apart_s["hard"].min() >= 0.5 + 0.5  # a clip, and the gap between the edges
    assert apart_s["super_hard"].min() >= 0.25 and apart_s["super_hard"].max() < 0.5
    assert (questions["easy"].media != questions["easy"].wrong_media).all()


def test_a_changed_or_missing_file_is_refused(films, entries, tmp_path):
    asked = make_sync_set(entries, SPEC, 5, films / "q.json")
    assert [medium.path for medium in asked.media] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    moved = tmp_path / "moved"
    films.rename(moved)  # the file of questions moves with the media
    try:
        assert len(read_sync_set(moved / "q.json").recordings(SPEC)) == 4
        with pytest.raises(ValueError, match=r"clips of 0\.5 s, the model takes 1\.0 s"):
            read_sync_set(moved / "q.json").recordings(ClipSpec())
        kept = (moved / "2.mp4").read_bytes()
        (moved / "2.mp4").write_bytes(kept + b"?")
        with pytest.raises(ValueError, match=r"2\.mp4' is another file than it was"):
            read_sync_set(moved / "q.json").recordings(SPEC)
        (moved / "2.mp4").unlink()
        with pytest.raises(ValueError, match=r"2\.mp4' is missing"):
            read_sync_set(moved / "q.json").recordings(SPEC)
        (moved / "2.mp4").write_bytes(kept)
    finally:
        (moved / "q.json").unlink()
        moved.rename(films)


def test_media_in_shards_are_refused(entries):
    inside = dataclasses.replace(entries[0], shard="films.tar")
    with pytest.raises(ValueError, match="lies in a shard; evaluation needs files of their own"):
        make_sync_set([*entries[1:], inside], SPEC, 5, "q.json")
    assert not Path("q.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "avts sync questions 0"}'])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "q.json").write_text(content)
    with pytest.raises(ValueError, match=r"'q.json' holds no avts sync questions 1"):
        read_sync_set("q.json")


def test_mixed_is_all_kinds_under_one_threshold():
    rng = np.random.default_rng(0)
    found = {kind: (rng.uniform(size=40) + k, rng.uniform(size=40) + k + 0.5)
             for k, kind in enumerate(KINDS)}  # fmt: skip
    scores = score_kinds(found)
    assert scores["mixed"].n == 120
    assert scores["mixed"].accuracy == pytest.approx(np.mean([scores[k].accuracy for k in KINDS]))
    joined = [np.concatenate([found[kind][k] for kind in KINDS]) for k in (0, 1)]
    assert scores["mixed"].auc == score_pairs(*joined).auc
    # Distances of the kinds differ in level, so one threshold serves them less well.
    assert scores["mixed"].auc < min(scores[kind].auc for kind in KINDS) - 0.1


def test_accuracy_by_offset_by_hand():
    def asked(kind, wrong_start_s):
        n = len(wrong_start_s)
        zeros = np.zeros(n, np.int64)
        return SyncQuestions(kind, zeros, np.full(n, 5.0), zeros, np.array(wrong_start_s))

    questions = {
        "easy": asked("easy", [5.0, 5.0]),
        "hard": asked("hard", [7.1, 2.8, 0.5]),
        "super_hard": asked("super_hard", [5.3, 4.6]),
    }
    right = {kind: np.zeros(len(q.media)) for kind, q in questions.items()}
    wrong = {"easy": np.ones(2), "hard": np.array([1.0, 0.0, -1.0]), "super_hard": np.ones(2)}
    bins = accuracy_by_offset(questions, {k: (right[k], wrong[k]) for k in questions})
    assert [(b.from_s, round(b.to_s, 6), b.accuracy, b.n) for b in bins] == [
        (0.25, 0.4, 1.0, 2),
        (2.0, 2.2, 0.75, 2),
        (4.0, 4.5, 0.0, 1),
    ]
    assert all(b.interval[0] <= b.accuracy <= b.interval[1] for b in bins)


def test_the_verb_asks_the_same_again(manifest, model, capsys):
    asked_of = ["evaluate", "sync", "--checkpoint", "m.safetensors", "--data"]
    command = [*asked_of, manifest, "--n_questions", "12"]
    assert main([*command, "--out", "first.json", "--plot", "p.svg"]) == 0
    printed = capsys.readouterr().out
    assert "| 0.25–" in printed and "sync-super-hard/1" in printed
    assert Path("p.svg").read_text().startswith("<?xml")
    # Other media: the file of questions says what is asked.
    assert main([*asked_of, "nowhere", "--out", "again.json", "--cache_dir", "cache"]) == 0
    first, again = load_results("first.json"), load_results("again.json")
    kinds = ("easy", "hard", "super-hard", "mixed")
    assert [r.protocol for r in first] == [
        name for kind in kinds for name in (f"sync-{kind}/1", f"sync-{kind}-auc/1")
    ]
    assert [r.value for r in first] == [r.value for r in again]
    assert [r.n for r in first] == [12, 12, 12, 12, 12, 12, 36, 36]
    assert first[0].card["question_hash"] == read_sync_set("sync_questions.json").hash
    assert len(json.loads(Path("sync_questions.json").read_text())["media"]) == 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--plot", "p.gif"], "plot must end in one of .svg, .png, .pdf"),
        (["--plot", "no/p.svg"], "plot: the folder 'no' is not there"),
        (["--out", "no/r.json"], "out: the folder 'no' is not there"),
    ],
)
def test_unusable_outputs_are_refused_at_once(option, message, capsys):
    command = ["evaluate", "sync", "--checkpoint", "no.safetensors", "--data", "nowhere"]
    assert main([*command, *option]) == 1
    assert message in capsys.readouterr().err


def test_retrieval_verb(manifest, model, capsys):
    command = [
        "evaluate",
        "retrieval",
        "--checkpoint",
        "m.safetensors",
        "--data",
        manifest,
        "--out",
        "r.json",
    ]
    assert main(command) == 0
    results = load_results("r.json")
    ways = ("audio-to-video", "video-to-audio")
    assert [r.protocol for r in results] == [
        f"retrieval-{way}-at-{k}/1" for way in ways for k in (1, 5, 10)
    ]
    assert [(r.chance, r.n) for r in results[:3]] == [(0.25, 4), (1.0, 4), (1.0, 4)]
    assert [r.value for r in results[1:3]] == [1.0, 1.0]
    assert results[0].baseline is not None
