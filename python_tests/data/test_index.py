import pytest
from broken_media import SHORT, write_broken_folder

from avts_ext.data import (
    Fault,
    MediaError,
    SkipReport,
    TooManyBrokenFilesError,
    open_index,
    scan_folder,
)


def index_of(folder, **options):
    """The media of a folder through its manifest, which lies in it."""
    scan_folder(folder, folder / "manifest.parquet")
    return open_index(folder / "manifest.parquet", **options)


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory):
    """(folder, {name: fault}) with two good files among the broken ones."""
    root = tmp_path_factory.mktemp("folder")
    expected = write_broken_folder(root)
    (root / "sub").mkdir()
    SHORT.write(root / "good.mp4")
    SHORT.write(root / "sub" / "good.MKV")
    SHORT.write(root / ".hidden.mp4")
    (root / "labels.csv").write_text("a,b\n")
    return root, expected


def test_every_broken_file_is_classified(broken_folder, capfd):
    root, expected = broken_folder
    entries, report = index_of(root, min_duration_s=1.0)
    found = {error.path.rpartition("/")[2]: error.fault for error in report.errors.values()}
    assert found == expected
    assert [entry.path for entry in entries] == [str(root / "good.mp4"), str(root / "sub/good.MKV")]
    assert capfd.readouterr().err == ""


def test_messages_are_for_people(broken_folder):
    root, _ = broken_folder
    _, report = index_of(root, min_duration_s=1.0)
    for error in report.errors.values():
        assert 10 < len(error.message) < 120 and "\n" not in error.message
        assert "Errno" not in str(error) and "av." not in error.message
    text = str(report)
    assert text.startswith("16 files skipped: 7 unreadable, 1 no video track, 1 no audio track")
    assert len(text.splitlines()) == 17


def test_ids_stay_when_files_come_and_go(tmp_path):
    for name in ("b.mp4", "c.mp4"):
        SHORT.write(tmp_path / name)
    before = {entry.path: entry.media_id for entry in index_of(tmp_path)[0]}
    SHORT.write(tmp_path / "a.mp4")
    (tmp_path / "c.mp4").unlink()
    after = {entry.path: entry.media_id for entry in index_of(tmp_path)[0]}
    path = str(tmp_path / "b.mp4")
    assert after[path] == before[path]
    assert len(set(after.values())) == 2
    assert all(0 <= identity < 2**63 for identity in after.values())


def test_folder_without_usable_media(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match="holds no usable media file: 1 files skipped: 1 unread"):
        index_of(tmp_path)


def test_a_folder_is_refused_with_the_command_that_makes_its_manifest(tmp_path):
    (tmp_path / "my films").mkdir()
    command = f"avts index '{tmp_path}/my films' -o 'my films.parquet'"
    with pytest.raises(IsADirectoryError, match=f"got the folder .*: {command} makes its manifest"):
        open_index(tmp_path / "my films")


def test_report_counts_a_file_once_and_checks_the_budget():
    report = SkipReport()
    report.add(MediaError("a.mp4", Fault.DECODE, "damaged at 1 s"))
    report.update([MediaError("a.mp4", Fault.NOT_FINITE, "NaN")])
    report.add(MediaError("b.mp4", Fault.DECODE, "damaged at 2 s"))
    assert len(report) == 2
    assert report.counts() == {Fault.DECODE: 2}
    report.check_budget(2)
    with pytest.raises(TooManyBrokenFilesError, match=r"2 broken files.*max_broken_files is 1"):
        report.check_budget(1)
