"""The manifest tells every fault, goes on after an interruption, and trains like the folder."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_media import SHORT, damage_video, write_broken_folder
from flash_beep import FlashBeep

import avts_ext.data.scan as scan_module
from avts_ext.data import (
    Fault,
    ManifestRow,
    manifest_of,
    open_index,
    read_manifest,
    scan_folder,
    write_manifest,
)
from avts_ext.data.index import media_id
from avts_ext.data.report import summary, table


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory):
    """(folder, {name: fault}) with two good files among the broken ones."""
    root = tmp_path_factory.mktemp("folder")
    expected = write_broken_folder(root)
    (root / "sub").mkdir()
    SHORT.write(root / "good.mp4")
    SHORT.write(root / "sub" / "good.MKV")
    shutil.copy(root / "good.mp4", root / "sub" / "copy.mp4")
    return root, expected


@pytest.fixture(scope="module")
def manifest(broken_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "manifest.parquet"
    return scan_folder(broken_folder[0], output, every_frame=True, processes=2)


def faults_of(manifest):
    return {row.path: row.fault for row in manifest.rows if row.fault is not None}


def test_every_broken_file_is_classified(broken_folder, manifest):
    _, expected = broken_folder
    of_any_clip = dict(expected)
    del of_any_clip["half_a_second.mp4"]  # which is a question of how long clips are
    assert faults_of(manifest) == of_any_clip
    assert [row.path for row in manifest.rows] == sorted(row.path for row in manifest.rows)


def test_the_index_of_a_manifest_is_its_usable_files(broken_folder, manifest, tmp_path):
    root, expected = broken_folder
    write_manifest(tmp_path / "manifest.parquet", root, manifest.rows)
    entries, report = open_index(tmp_path / "manifest.parquet", min_duration_s=1.0)
    usable = ["good.mp4", "sub/copy.mp4", "sub/good.MKV"]
    assert [entry.path for entry in entries] == [str(root / name) for name in usable]
    assert [entry.media_id for entry in entries] == [media_id(name) for name in usable]
    found = {error.path: error.fault for error in report.errors.values()}
    assert found == {str(root / name): fault for name, fault in expected.items()}


def test_the_manifest_of_a_folder_is_made_once(broken_folder, tmp_path, monkeypatch):
    root, output = broken_folder[0] / "sub", tmp_path / "new" / "sub.parquet"
    assert manifest_of(root, output) == output
    made = read_manifest(output)
    assert made.rows == scan_folder(root, tmp_path / "other.parquet").rows
    examined = count_examined(monkeypatch)
    assert manifest_of(root, output) == output and examined == []
    assert read_manifest(output).rows == made.rows
    assert manifest_of(output, tmp_path / "none.parquet") == output
    assert not (tmp_path / "none.parquet").exists()


def test_rows_tell_what_a_table_tool_needs(manifest):
    (row,) = [row for row in manifest.rows if row.path == "good.mp4"]
    assert (row.video_codec, row.audio_codec, row.audio_sample_rate) == ("h264", "aac", 16000)
    assert (row.video_width, row.video_height, row.video_n_frames) == (64, 64, 32)
    assert row.duration_s == pytest.approx(2.0, abs=0.05) and row.start_s == 0.0
    assert row.n_bytes == (manifest.root / row.path).stat().st_size
    assert len(row.content_hash) == 32


def test_a_manifest_survives_writing_and_moving(broken_folder, tmp_path):
    root = tmp_path / "here"
    shutil.copytree(broken_folder[0] / "sub", root)
    written = scan_folder(root, root / "manifest.parquet")
    root.rename(tmp_path / "there")
    read = read_manifest(tmp_path / "there" / "manifest.parquet")
    assert read.rows == written.rows
    assert all((read.root / row.path).exists() for row in read.rows)


def test_only_what_changed_is_examined_again(broken_folder, tmp_path, monkeypatch):
    root, output = tmp_path / "films", tmp_path / "manifest.parquet"
    shutil.copytree(broken_folder[0] / "sub", root)
    first = scan_folder(root, output)
    examined = count_examined(monkeypatch)
    assert scan_folder(root, output).rows == first.rows and examined == []
    SHORT.write(root / "new.mp4")
    os.utime(root / "copy.mp4", ns=(1, 1))
    second = scan_folder(root, output)
    assert sorted(examined) == ["copy.mp4", "new.mp4"] and len(second.rows) == 3
    examined.clear()
    scan_folder(root, output, every_frame=True)
    assert len(examined) == 3


def count_examined(monkeypatch):
    """Paths that are examined from now on."""
    examined, real = [], scan_module._examined

    def counting(root, stubs, processes):
        examined.extend(stub.path for stub in stubs)
        return real(root, stubs, processes)

    monkeypatch.setattr(scan_module, "_examined", counting)
    return examined


def test_an_interrupted_scan_goes_on(broken_folder, tmp_path, monkeypatch):
    root, output = broken_folder[0] / "sub", tmp_path / "manifest.parquet"
    real = scan_module._examined

    def interrupted(*arguments):
        yield next(real(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="1 of 2 files"):
        patch.setattr(scan_module, "_examined", interrupted)
        scan_folder(root, output)
    assert not output.exists()
    with open(f"{output}.rows", "a") as journal:
        journal.write('{"path": "cut off in the mid')
    examined = count_examined(monkeypatch)
    assert len(scan_folder(root, output).rows) == 2 and len(examined) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.parquet"]


def test_a_file_that_crashes_the_decoder_is_named(broken_folder, tmp_path, monkeypatch):
    def crash(path, *arguments):
        if path.name == "good.MKV":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, *arguments)

    real = scan_module.examine
    with monkeypatch.context() as patch:
        patch.setattr(scan_module, "examine", crash)
        found = scan_folder(broken_folder[0] / "sub", tmp_path / "manifest.parquet")
    assert faults_of(found) == {"good.MKV": Fault.CRASH}
    assert "SIGKILL" in found.rows[1].message
    examined = count_examined(monkeypatch)
    assert faults_of(scan_folder(broken_folder[0] / "sub", tmp_path / "manifest.parquet")) == {}
    assert examined == ["good.MKV"]


def test_a_file_that_hangs_the_decoder_is_named(broken_folder, tmp_path, monkeypatch):
    def hang(path, *arguments):
        if path.name == "good.MKV":
            time.sleep(1000)
        return real(path, *arguments)

    real = scan_module.examine
    monkeypatch.setattr(scan_module, "examine", hang)
    monkeypatch.setattr(scan_module, "_PATIENCE_S", 15.0)
    found = scan_folder(broken_folder[0] / "sub", tmp_path / "manifest.parquet")
    assert faults_of(found) == {"good.MKV": Fault.HANG}
    assert "did not finish within 15 s" in found.rows[1].message


def test_listed_files_bring_their_labels_and_holes_are_told(broken_folder, tmp_path):
    listed = [
        ManifestRow("good.mp4", splits=("train",), labels=("a", "b")),
        ManifestRow("absent.mp4", splits=("train",)),
        ManifestRow("silent.mp4", splits=("test",), tracks="video"),
    ]
    found = scan_folder(broken_folder[0], tmp_path / "manifest.parquet", listed)
    rows = {row.path: row for row in found.rows}
    assert rows["good.mp4"].labels == ("a", "b") and rows["good.mp4"].fault is None
    assert rows["absent.mp4"].fault is Fault.MISSING
    assert rows["silent.mp4"].audio_codec is None and rows["silent.mp4"].video_n_frames == 32
    facts = summary(found)
    coverage = {"usable": 1, "there": 1, "listed": 2, "official": None, "copy": None}
    assert facts["splits"]["train"] == coverage
    relisted = [replace(row, labels=("c",)) for row in listed]
    assert scan_folder(broken_folder[0], tmp_path / "manifest.parquet", relisted).rows[
        1
    ].labels == ("c",)


def test_damage_in_the_middle_leaves_the_stretches_around_it(tmp_path):
    path = FlashBeep(duration_s=10.0).write(tmp_path / "film.mp4")
    damage_video(path, path, packets=slice(40, 44))
    found = scan_folder(tmp_path, tmp_path / "manifest.parquet", every_frame=True)
    (row,) = found.rows
    assert row.fault is None and 1.0 < row.damaged_from_s <= 2.5
    (entry,), _ = open_index(tmp_path / "manifest.parquet")
    assert entry.usable_s == row.usable_s and len(row.usable_s) == 2
    (entry,), _ = open_index(tmp_path / "manifest.parquet", min_duration_s=5.0)
    assert entry.usable_s == row.usable_s[1:] and entry.start_s > 2.5
    assert entry.start_s + entry.duration_s == pytest.approx(10.0)
    with pytest.raises(ValueError, match=r"no usable media file.*\n.*[67]\.\d\d s of sound"):
        open_index(tmp_path / "manifest.parquet", min_duration_s=8.0)


def test_report_for_people_and_scripts(manifest):
    facts = json.loads(json.dumps(summary(manifest)))
    assert facts["files"] == 19 and facts["usable"] == 4
    assert facts["faults"]["unreadable"] == 7 and len(facts["problems"]) == 15
    assert facts["duplicates"] == [["good.mp4", "sub/copy.mp4"]]
    assert facts["video_codecs"] == {"h264": 4}
    text = table(facts)
    for part in ("19 files, 4 usable", "7  unreadable", "good.mp4, sub/copy.mp4", "4  aac"):
        assert part in text
    assert len([line for line in text.splitlines() if "silent.mp4" in line]) == 1
    assert facts["durations_s"] == pytest.approx([0.5, 2.0, 2.0], abs=0.05)
    assert "from 0.50 to 2.00 s, median 2.00 s" in text


def test_report_for_people_stays_short(tmp_path):
    rows = [ManifestRow(f"{i}.mp4", content_hash="same") for i in range(50)]
    bad = [ManifestRow(f"bad{i}.mp4").with_fault(Fault.UNREADABLE, "empty") for i in range(50)]
    write_manifest(tmp_path / "m.parquet", tmp_path, [*rows, *bad])
    facts = summary(read_manifest(tmp_path / "m.parquet"))
    text = table(facts)
    assert "0.mp4, 1.mp4, 10.mp4 and 47 more\n" in text
    assert "  and 30 more, which --json tells" in text
    assert len(facts["problems"]) == 50 and len(text.splitlines()) < 40


def test_not_a_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest must be a file"):
        read_manifest(tmp_path / "none.parquet")
    path = tmp_path / "text.parquet"
    path.write_text("no Parquet")
    with pytest.raises(ValueError, match=r"text.parquet' cannot be read"):
        read_manifest(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ValueError, match="no avts manifest"):
        read_manifest(path)
    with pytest.raises(ValueError, match="no avts manifest"):
        scan_folder(tmp_path, path, [ManifestRow("a.mp4")])


@pytest.mark.parametrize(
    ("root", "options", "error", "message"),
    [
        ("none", {}, NotADirectoryError, "root must be a folder"),
        (".", {}, ValueError, "holds no media file"),
        (".", {"processes": 0}, ValueError, "processes must be at least 1, got 0"),
    ],
)
def test_rejects(tmp_path, root, options, error, message):
    with pytest.raises(error, match=message):
        scan_folder(tmp_path / root, tmp_path / "manifest.parquet", **options)
