"""Published data sets, in folders and lists as they are handed out, become manifest rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from broken_media import write_tracks
from flash_beep import FlashBeep

from avts_ext.data import Fault, ManifestRow, read_manifest, scan_folder
from avts_ext.data.datasets import DATASETS, DataSet, data_set
from avts_ext.data.datasets.subset import class_proportional
from avts_ext.data.manifest import Manifest
from avts_ext.data.report import coverage_table, summary


def write(root: Path, files: dict[str, str]) -> Path:
    """Text files, and empty ones in the place of media, which readers do not open."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def read(name: str, root: Path) -> dict[str, ManifestRow]:
    rows = data_set(name).read(root)
    assert len({row.path for row in rows}) == len(rows)
    return {row.path: row for row in rows}


KINETICS = {
    "annotations/train.csv": "label,youtube_id,time_start,time_end,split\n"
    "testifying,---QUuC4vJs,84,94,train\n"
    '"washing, rinsing feet",--GkrdYZ9Tc,0,10,train\n',
    "annotations/val.csv": "label,youtube_id,time_start,time_end,split,is_cc\n"
    "air drumming,_dbcJuKJQNs,1040,1050,validate,0\n",
    "annotations/test.csv": "youtube_id,time_start,time_end,split\n-3B32lodo2M,59,69,test\n",
    "train/testifying/---QUuC4vJs_000084_000094.mp4": "",
    "val/_dbcJuKJQNs_001040_001050.mkv": "",
    "test/-3B32lodo2M.mp4": "",
    "annotations/kinetics600_holdout_test.csv": "anything\n",
    "mine.csv": "anything\n",
}


def test_kinetics(tmp_path):
    rows = read("kinetics400", write(tmp_path, KINETICS))
    drumming = rows["val/_dbcJuKJQNs_001040_001050.mkv"]
    assert (drumming.splits, drumming.labels) == (("val",), ("air drumming",))
    assert (drumming.source, drumming.source_start_s, drumming.source_end_s) == (
        *("_dbcJuKJQNs", 1040.0, 1050.0),
    )
    assert rows["train/testifying/---QUuC4vJs_000084_000094.mp4"].labels == ("testifying",)
    assert rows["train/--GkrdYZ9Tc_000000_000010.mp4"].labels == ("washing, rinsing feet",)
    assert rows["test/-3B32lodo2M.mp4"].labels == ()
    assert len(rows) == 4


def test_a_clip_in_two_lists_is_one_row_and_must_have_one_label(tmp_path):
    line = "label,youtube_id,time_start,time_end,split\n{},---QUuC4vJs,84,94,train\n"
    write(tmp_path, {"train.csv": line.format("a"), "kinetics_600_train.csv": line.format("a")})
    (row,) = read("kinetics600", tmp_path).values()
    assert row.splits == ("train",)
    write(tmp_path, {"kinetics_600_train.csv": line.format("b")})
    with pytest.raises(ValueError, match=r"listed as \('b',\) and as \('a',\)"):
        read("kinetics600", tmp_path)


ONTOLOGY = [
    {"id": "/m/03v3yw", "name": "Keys jangling", "child_ids": [], "restrictions": []},
    {"id": "/m/0k4j", "name": "Car", "child_ids": [], "restrictions": []},
    {"id": "/m/09x0r", "name": "Speech", "child_ids": ["/m/05zppz"], "restrictions": []},
]
AUDIOSET = {
    "eval_segments.csv": "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=3\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
    '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"\n'
    '--4gqARaEJE, 0.000, 10.000, "/m/09x0r"\n',
    "balanced_train_segments.csv": "# three\n# lines\n# of comment\n"
    '--PJHxphWEs, 30.000, 40.000, "/m/09x0r"\n--aaILOrkII, 5.500, 8.500, "/m/0k4j"\n',
    "ontology.json": json.dumps(ONTOLOGY),
    "eval/-0RWZT-miFs.mp4": "",
    "eval/Y--4gqARaEJE.wav": "",
    "clips/--PJHxphWEs_30000_40000.mp4": "",
}


def test_audioset(tmp_path):
    rows = read("audioset", write(tmp_path, AUDIOSET))
    assert list(rows) == [
        "clips/--PJHxphWEs_30000_40000.mp4",
        "balanced_train/--aaILOrkII.mp4",
        "eval/-0RWZT-miFs.mp4",
        "eval/Y--4gqARaEJE.wav",
    ]
    keys = rows["eval/-0RWZT-miFs.mp4"]
    assert (keys.splits, keys.labels) == (("eval",), ("Keys jangling", "Car"))
    assert (keys.source_start_s, keys.source_end_s, keys.tracks) == (420.0, 430.0, "both")


def test_audioset_labels_must_be_in_the_ontology(tmp_path):
    write(tmp_path, AUDIOSET | {"ontology.json": json.dumps(ONTOLOGY[1:])})
    with pytest.raises(ValueError, match=r"does not tell the labels \['/m/03v3yw'\] of -0RWZT"):
        read("audioset", tmp_path)


def test_vggsound_has_several_clips_of_a_video(tmp_path):
    files = {
        "vggsound.csv": "-40DA8RPuq0,42,train horning,train\n-40DA8RPuq0,216,train horning,train\n"
        '-1oRfe0FQI8,60,"railroad car, train wagon",test\n',
        "video/-40DA8RPuq0_000042.mp4": "",
        "video/-1oRfe0FQI8_60000_70000.mp4": "",
    }
    rows = read("vggsound", write(tmp_path, files))
    assert {path: row.splits for path, row in rows.items()} == {
        "video/-40DA8RPuq0_000042.mp4": ("train",),
        "video/-40DA8RPuq0_000216.mp4": ("train",),
        "video/-1oRfe0FQI8_60000_70000.mp4": ("test",),
    }
    assert rows["video/-1oRfe0FQI8_60000_70000.mp4"].labels == ("railroad car, train wagon",)
    assert rows["video/-40DA8RPuq0_000216.mp4"].source_end_s == 226.0


def test_soundnet(tmp_path):
    files = {
        "train.txt": "http://example.org/videos/66/61/2342226661.mp4\n/data/mp3/10/5078411210.mp3\n",
        "val.txt": "\nvideos/02/9999999902.mp4\n",
        "videos/66/61/2342226661.mp4": "",
        "videos/10/5078411210.mp4": "",
    }
    rows = read("soundnet", write(tmp_path, files))
    assert {path: row.splits for path, row in rows.items()} == {
        "videos/66/61/2342226661.mp4": ("train",),
        "videos/10/5078411210.mp4": ("train",),
        "9999999902.mp4": ("val",),
    }


ESC50 = {
    "meta/esc50.csv": "filename,fold,target,category,esc10,src_file,take\n"
    "1-100032-A-0.wav,1,0,dog,True,100032,A\n1-100038-A-14.wav,1,14,chirping_birds,False,100038,A\n"
    "5-9032-A-0.wav,5,0,dog,True,9032,A\n",
}


def test_esc50(tmp_path):
    rows = read("esc50", write(tmp_path, ESC50))
    dog = rows["audio/1-100032-A-0.wav"]
    assert (dog.splits, dog.labels, dog.source) == (("fold1", "esc10"), ("dog",), "100032")
    assert dog.tracks == "audio"
    assert rows["audio/1-100038-A-14.wav"].splits == ("fold1",)
    assert rows["audio/5-9032-A-0.wav"].splits == ("fold5", "esc10")


def test_dcase2014(tmp_path):
    files = {"scenes_stereo/scenes_stereo/bus01.wav": "", "scenes_stereo_testset/tube10.wav": ""}
    rows = read("dcase2014", write(tmp_path, files))
    assert len(rows) == 200
    assert rows["scenes_stereo/scenes_stereo/bus01.wav"].splits == ("train",)
    assert rows["scenes_stereo_testset/tube10.wav"].splits == ("test",)
    assert rows["scenes_stereo_testset/tube10.wav"].labels == ("tube",)
    assert rows["scenes_stereo/tubestation03.wav"].labels == ("tubestation",)


UCF101 = {
    "ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\n37 HandstandPushups\n",
    "ucfTrainTestlist/trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
    "HandstandPushups/v_HandStandPushups_g09_c02.avi 37\r\n",
    "ucfTrainTestlist/testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n",
    "ucfTrainTestlist/trainlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\n",
    "ucfTrainTestlist/testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\n",
    "ucfTrainTestlist/trainlist03.txt": "",
    "ucfTrainTestlist/testlist03.txt": "",
    "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": "",
    "UCF-101/HandstandPushups/v_HandStandPushups_g09_c02.avi": "",
}


def test_ucf101(tmp_path):
    rows = read("ucf101", write(tmp_path, UCF101))
    assert {path: row.splits for path, row in rows.items()} == {
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": ("train1", "test2"),
        "UCF-101/HandstandPushups/v_HandStandPushups_g09_c02.avi": ("train1",),
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": ("test1", "train2"),
    }
    pushups = rows["UCF-101/HandstandPushups/v_HandStandPushups_g09_c02.avi"]
    assert (pushups.labels, pushups.tracks) == (("HandstandPushups",), "video")
    assert pushups.source == "v_HandStandPushups_g09"


@pytest.mark.parametrize("line", ["Archery/v_Archery_g01_c01.avi", "ApplyEyeMakeup/a.avi 2"])
def test_ucf101_lists_must_agree_with_the_classes(tmp_path, line):
    write(tmp_path, UCF101 | {"ucfTrainTestlist/trainlist03.txt": line})
    with pytest.raises(ValueError, match=r"classInd.txt does not agree with the line .* of train3"):
        read("ucf101", tmp_path)


def test_hmdb51_tells_classes_with_equal_names_apart(tmp_path):
    lists = "testTrainMulti_7030_splits/{}_test_split{}.txt"
    files = {
        lists.format("brush_hair", 1): "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n"
        "atheismisfucked_brush_hair_u_nm_np1_fr_med_0.avi 0 \n",
        lists.format("brush_hair", 2): "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 2 \n",
        lists.format("wave", 1): "21_wave_u_nm_np1_fr_goo_5.avi 2 \nApril_09.avi 1 \n",
        lists.format("run", 3): "April_09.avi 2 \n",
        "hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": "",
        "hmdb51_org/wave/April_09.avi": "",
        "hmdb51_org/run/April_09.avi": "",
    }
    rows = read("hmdb51", write(tmp_path, files))
    assert {path: row.splits for path, row in rows.items()} == {
        "hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": ("train1", "test2"),
        "brush_hair/atheismisfucked_brush_hair_u_nm_np1_fr_med_0.avi": (),
        "wave/21_wave_u_nm_np1_fr_goo_5.avi": ("test1",),
        "hmdb51_org/wave/April_09.avi": ("train1",),
        "hmdb51_org/run/April_09.avi": ("test3",),
    }
    first = rows["hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"]
    assert (first.source, first.labels, first.tracks) == ("April_09", ("brush_hair",), "video")


@pytest.mark.parametrize(
    ("name", "files", "error", "message"),
    [
        ("kinetics400", {}, FileNotFoundError, "no list"),
        ("kinetics400", {"train.csv": "a,b\n"}, ValueError, "train.csv must have the columns"),
        (
            "kinetics400",
            {"val.csv": "label,youtube_id,time_start,time_end,split\na,b,1,2,dev\n"},
            *(ValueError, "tells the split 'dev'"),
        ),
        ("audioset", {}, FileNotFoundError, "none of the lists"),
        ("audioset", {"eval_segments.csv": ""}, FileNotFoundError, "ontology.json"),
        (
            "audioset",
            {"eval_segments.csv": "a, 1\n", "ontology.json": "[]"},
            *(ValueError, "must have 4 columns"),
        ),
        ("vggsound", {}, FileNotFoundError, "vggsound.csv"),
        ("vggsound", {"vggsound.csv": "a,1,b,dev"}, ValueError, "the last train or test"),
        ("soundnet", {}, FileNotFoundError, "neither list"),
        ("esc50", {}, FileNotFoundError, "esc50.csv"),
        ("dcase2014", {}, FileNotFoundError, "neither folder"),
        ("ucf101", {}, FileNotFoundError, "classInd.txt"),
        ("hmdb51", {}, FileNotFoundError, "no list"),
        ("hmdb51", {"a_test_split1.txt": "b.avi 3"}, ValueError, "must tell 0, 1 or 2"),
    ],
)
def test_bad_lists(tmp_path, name, files, error, message):
    with pytest.raises(error, match=message):
        read(name, write(tmp_path, files))


def test_unknown_data_set():
    with pytest.raises(ValueError, match=r"dataset must be one of .*, got 'kinetics'"):
        data_set("kinetics")


def test_official_counts_add_up():
    totals = {name: known.n_files for name, known in DATASETS.items()}
    published = {"kinetics400": 306_245, "kinetics600": 495_547, "kinetics700": 650_317}
    assert published.items() <= totals.items()
    assert round(totals["kinetics700_2020"] / 700) == 926
    for name in set(DATASETS) - {"esc50", "ucf101", "hmdb51"}:  # each file in one split
        assert sum(DATASETS[name].counts.values()) == totals[name], name
    ucf = DATASETS["ucf101"].counts
    assert {ucf[f"train{k}"] + ucf[f"test{k}"] for k in (1, 2, 3)} == {totals["ucf101"]}
    hmdb = DATASETS["hmdb51"].counts  # which leaves some out of both
    assert {hmdb[f"train{k}"] + hmdb[f"test{k}"] for k in (1, 2, 3)} == {51 * 100}
    assert sum(DATASETS["esc50"].counts[f"fold{k}"] for k in range(1, 6)) == totals["esc50"]


def manifest_of(dataset: str, counts: dict[str, int]) -> Manifest:
    """Rows of a list with so many files in each split, none of them there."""
    rows = [
        ManifestRow(f"{split}/{i}.mp4", fault=Fault.MISSING, splits=(split,), labels=("a",))
        for split, n_files in counts.items()
        for i in range(n_files)
    ]
    return Manifest(Path("films"), rows, dataset)


def test_lists_are_told_from_the_published_ones_and_from_other_copies(monkeypatch):
    known = DataSet(
        lambda root: [],
        {"train": 9, "val": 4, "test": 5},
        18,
        1,
        "a paper",
        {"CVDF": {"train": 7, "val": 4, "test": 3}},
    )
    monkeypatch.setitem(DATASETS, "kinetics600", known)
    facts = summary(manifest_of("kinetics600", {"train": 7, "val": 4, "test": 2}))
    copies = {split: found["copy"] for split, found in facts["splits"].items()}
    assert copies == {"train": "CVDF", "val": "CVDF", "test": None}
    assert facts["all splits"] == {"usable": 0, "there": 0, "listed": 13, "official": 18}
    lines = [line.split(maxsplit=4)[4] for line in coverage_table(facts).splitlines()[1:6]]
    assert lines == ["train (as in the copy of CVDF)", "val", "test *", "all splits *", "classes"]


@pytest.mark.parametrize("name", DATASETS)
def test_copies_have_the_same_splits_and_other_counts(name):
    known = DATASETS[name]
    for counts in known.copies.values():
        assert counts.keys() == known.counts.keys() and counts != known.counts


def test_examined_with_holes_and_coverage(tmp_path):
    """From lists to a manifest with real sound in it, and back to a table."""
    root = write(tmp_path / "ESC-50", ESC50)
    (root / "audio").mkdir()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 80000).astype(np.float32)
    write_tracks(tmp_path / "noise.mkv", video=None, audio=noise)
    shutil.move(tmp_path / "noise.mkv", root / "audio/1-100032-A-0.wav")
    write_tracks(tmp_path / "silence.mkv", video=None)
    shutil.move(tmp_path / "silence.mkv", root / "audio/5-9032-A-0.wav")
    output = tmp_path / "esc50.parquet"
    scan_folder(root, output, data_set("esc50").read(root), dataset="esc50")
    manifest = read_manifest(output)
    assert manifest.dataset == "esc50"
    faults = {row.path: row.fault for row in manifest.rows}
    assert faults == {
        "audio/1-100032-A-0.wav": None,
        "audio/1-100038-A-14.wav": Fault.MISSING,
        "audio/5-9032-A-0.wav": None,  # digital silence is a sound like any other to a classifier
    }
    assert [row.path for row in manifest.split("fold5")] == ["audio/5-9032-A-0.wav"]
    with pytest.raises(ValueError, match="split must be one of esc10, fold1, fold5, got 'fold2'"):
        manifest.split("fold2")
    facts = json.loads(json.dumps(summary(manifest)))
    none = {"usable": 0, "there": 0, "listed": 0, "official": 400, "copy": None}
    assert facts["splits"]["fold1"] == none | {"usable": 1, "there": 1, "listed": 2}
    assert facts["splits"]["fold3"] == none
    assert facts["all splits"] == {"usable": 2, "there": 2, "listed": 3, "official": 2000}
    assert facts["classes"] == {"usable": 1, "there": 1, "listed": 2, "official": 50}
    table = coverage_table(facts)
    (line,) = [line for line in table.splitlines() if "fold1" in line]
    assert line.split() == ["1", "1", "2", "400", "fold1", "*"]
    assert table.count("* not as published") == 1
    assert "Piczak 2015" in table


def test_new_labels_need_no_new_examination(tmp_path, monkeypatch):
    root = write(tmp_path / "k", KINETICS)
    FlashBeep(duration_s=2.0).write(root / "test/-3B32lodo2M.mp4")
    output = tmp_path / "k.parquet"
    listed = data_set("kinetics400").read(root)
    scan_folder(root, output, listed, dataset="kinetics400")
    monkeypatch.setattr("avts_ext.data.scan._examined", lambda root, stubs, processes: iter(()))
    text = (root / "annotations/test.csv").read_text().replace("59,69", "60,70")
    (root / "annotations/test.csv").write_text(text)
    again = scan_folder(root, output, data_set("kinetics400").read(root), dataset="kinetics400")
    (row,) = again.split("test")
    assert row.source_start_s == 60.0 and row.fault is None and row.video_codec == "h264"


def many_rows(n: int, n_labels: int) -> list[ManifestRow]:
    """Files with one to three labels, the frequencies of which differ a hundredfold."""
    draws, weights = np.random.default_rng(0), 1 / np.arange(1, n_labels + 1)
    picks = draws.choice(n_labels, (n, 3), p=weights / weights.sum())
    return [
        ManifestRow(f"{i}.mp4", labels=tuple({f"class{k}" for k in pick[: 1 + i % 3].tolist()}))
        for i, pick in enumerate(picks)
    ]


@pytest.mark.parametrize("share", [0.13, 0.28, 0.55, 1.0])
def test_subsets_are_proportional_in_every_class(share):
    rows = many_rows(20_000, 100)
    chosen = class_proportional(rows, share)
    assert abs(len(chosen) - share * len(rows)) <= 100
    counts = [
        {f"class{k}": sum(f"class{k}" in row.labels for row in some) for k in range(100)}
        for some in (rows, chosen)
    ]
    for label, total in counts[0].items():
        # Exact where the class is a file's rarest, and a random share of the files where not.
        assert abs(counts[1][label] - share * total) <= 1 + 4 * (share * (1 - share) * total) ** 0.5


def test_subsets_are_nested_and_go_by_file():
    rows = many_rows(2000, 20)
    few, many = (set(class_proportional(rows, share)) for share in (0.13, 0.28))
    assert few < many
    assert set(class_proportional(rows[::-1], 0.13)) == few
    with pytest.raises(ValueError, match="share must be more than 0 and at most 1, got 0"):
        class_proportional(rows, 0)
