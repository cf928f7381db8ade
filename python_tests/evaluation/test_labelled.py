import sys
from pathlib import Path

import numpy as np
import pytest

from avts_ext.data import scan_folder
from avts_ext.data.datasets import data_set
from avts_ext.evaluation.labelled import open_labelled

sys.path.insert(0, str(Path(__file__).parent))
from published import esc50_lines, write_dcase2014, write_esc50, write_hmdb51, write_ucf101


def touch(paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def assert_folds_part_the_set(data):
    for fold in data.folds:
        assert not set(fold.train) & set(fold.test)
        assert fold.inner.shape == fold.train.shape
        assert set(data.labels[fold.train]) == set(data.labels[fold.test]) == set(data.labels)


def test_complete_esc50(tmp_path):
    data = open_labelled("esc50", write_esc50(tmp_path / "e", esc50_lines()))
    assert (len(data.paths), len(data.classes), data.holes) == (2000, 50, [])
    assert [(len(f.train), len(f.test)) for f in data.folds] == [(1600, 400)] * 5
    assert_folds_part_the_set(data)
    sources = np.array([path.name.split("-")[1] for path in data.paths])
    for fold in data.folds:
        assert not set(sources[fold.train]) & set(sources[fold.test])
        # The inner folds are the other official folds, so they part no source either.
        for part in range(5):
            inside = fold.inner == part
            assert not set(sources[fold.train[inside]]) & set(sources[fold.train[~inside]])
        assert sorted(set(fold.inner)) == sorted({*range(5)} - {data.folds.index(fold)})


def test_complete_dcase2014(tmp_path):
    data = open_labelled("dcase2014", write_dcase2014(tmp_path / "d"))
    (fold,) = data.folds
    assert (len(fold.train), len(fold.test), len(data.classes)) == (100, 100, 10)
    assert_folds_part_the_set(data)
    assert all("testset" in str(data.paths[row]) for row in fold.test)
    for part in range(5):  # two of ten recordings of every class
        assert np.bincount(data.labels[fold.train[fold.inner == part]]).tolist() == [2] * 10


def test_complete_hmdb51(tmp_path):
    touch(write_hmdb51(tmp_path))
    data = open_labelled("hmdb51", tmp_path)
    assert (len(data.paths), len(data.classes), data.holes) == (5100, 51, [])
    assert [(len(f.train), len(f.test)) for f in data.folds] == [(3570, 1530)] * 3
    assert_folds_part_the_set(data)


def test_ucf101_keeps_groups_together(tmp_path):
    touch(write_ucf101(tmp_path, n_classes=3))
    with pytest.raises(ValueError, match="train1 lists 216 files of 9537"):
        open_labelled("ucf101", tmp_path)
    data = open_labelled("ucf101", tmp_path, allow_partial=True)
    groups = np.array([path.stem.rpartition("_")[0] for path in data.paths])
    for fold in data.folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])
    assert_folds_part_the_set(data)
    assert data.coverage()["official"]["test3"] == 3696


def change(lines, old, new):
    changed = [line.replace(old, new) for line in lines]
    assert changed != lines
    return changed


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        # A recording that moves to another fold, and one that brings its source along.
        (lambda x: change(x, "1-110000-A-0.wav,1,", "1-110000-A-0.wav,2,"), "says fold 1"),
        (lambda x: change(x, "1-110000-A-0.wav,1,", "2-110000-A-0.wav,2,"), "different parts"),
        (lambda x: change(x, ",True,110000,A", ",True,999999,A"), "source 999999"),
        (lambda x: change(x, "1-110000-A-0.wav", "bark.wav"), "bark is no name of the set"),
        (
            lambda x: change(x, "1-110000-A-0.wav,1,0,class_00", "1-110000-A-0.wav,1,0,class_01"),
            "1-110000-A-0.wav is listed as class_01, others of target 0 as class_00",
        ),
    ],
)
def test_an_altered_fold_file_is_never_scored(tmp_path, alter, message):
    root = write_esc50(tmp_path / "e", alter(esc50_lines()))
    for allow_partial in (False, True):
        with pytest.raises(ValueError, match=f"esc50: the lists in .*{message}"):
            open_labelled("esc50", root, allow_partial=allow_partial)


def test_altered_action_lists_are_never_scored(tmp_path):
    touch(write_ucf101(tmp_path / "ucf", n_classes=2, clips=1))
    lists = tmp_path / "ucf" / "ucfTrainTestlist"
    moved = "Class000/v_Class000_g01_c01.avi"
    test = (lists / "testlist01.txt").read_text()
    (lists / "testlist01.txt").write_text(test.replace(moved + "\n", ""))
    train = (lists / "trainlist01.txt").read_text()
    (lists / "trainlist01.txt").write_text(f"{moved} 1\n{train}")
    with pytest.raises(ValueError, match="its group belongs to test1"):
        open_labelled("ucf101", tmp_path / "ucf", allow_partial=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x: x[1:], "fold1 lists 399 files of 400"),
        (lambda x: [line for line in x if "class_07" not in line], "49 of 50 classes are there"),
    ],
)
def test_a_short_list_is_refused_or_reported(tmp_path, damage, message):
    root = write_esc50(tmp_path / "e", damage(esc50_lines()))
    with pytest.raises(ValueError, match=f"esc50 is incomplete: .*{message}.*allow_partial"):
        open_labelled("esc50", root)
    data = open_labelled("esc50", root, allow_partial=True)
    assert message in " ".join(data.coverage()["holes"])


def test_missing_files_are_refused_or_reported(tmp_path):
    root = write_esc50(tmp_path / "e", esc50_lines())
    for path in sorted((root / "audio").glob("2-*"))[:3]:
        path.unlink()
    with pytest.raises(ValueError, match="3 of the 400 files of fold2 are missing"):
        open_labelled("esc50", root)
    data = open_labelled("esc50", root, allow_partial=True)
    assert len(data.paths) == 1997 and all(path.exists() for path in data.paths)
    assert len(data.folds[1].test) == 397


def test_broken_files_are_taken_out_of_every_fold(tmp_path):
    data = open_labelled("dcase2014", write_dcase2014(tmp_path / "d"))
    kept = np.array([row for row in range(200) if row not in (0, 5, 199)])
    with pytest.raises(ValueError, match="3 files are there but cannot be used"):
        data.without(kept, allow_partial=False)
    rest = data.without(kept, allow_partial=True)
    assert rest.holes == ["3 files are there but cannot be used"]
    before = {data.paths[row] for row in data.folds[0].train} - {data.paths[0], data.paths[5]}
    assert {rest.paths[row] for row in rest.folds[0].train} == before
    assert [rest.classes[label] for label in rest.labels] == [
        rest.paths[row].stem[:-2] for row in range(197)
    ]
    assert data.without(np.arange(200), allow_partial=False) is data


def test_a_manifest_stands_for_the_folder_and_knows_what_is_broken(tmp_path):
    root, manifest = write_dcase2014(tmp_path / "d", duration_s=0.2), tmp_path / "d.parquet"
    broken = root / "scenes_stereo" / "bus07.wav"
    broken.write_bytes(b"noise")
    scan_folder(root, manifest, data_set("dcase2014").read(root), dataset="dcase2014")
    of_folder = open_labelled("dcase2014", root)
    with pytest.raises(ValueError, match="1 files are there but cannot be used"):
        open_labelled("dcase2014", manifest)
    data = open_labelled("dcase2014", manifest, allow_partial=True)
    assert data.paths == [path for path in of_folder.paths if path != broken]
    assert data.holes == ["1 files are there but cannot be used"]
    assert_folds_part_the_set(data)
    with pytest.raises(ValueError, match="must be a manifest of it, made with --dataset esc50"):
        open_labelled("esc50", manifest)


def test_a_class_that_is_only_tested_is_refused(tmp_path):
    root = write_dcase2014(tmp_path / "d")
    for path in (root / "scenes_stereo").glob("park*"):
        path.unlink()
    with pytest.raises(ValueError, match="no training file of class 'park'"):
        open_labelled("dcase2014", root, allow_partial=True)
