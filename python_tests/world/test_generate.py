"""A world on disk: the same bytes whatever the way to it, and clear refusals."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avts_ext.cli.__main__ import main
from avts_ext.world import generate, load_truth
from avts_ext.world.picture import render_picture
from avts_ext.world.scene import draw_scene
from avts_ext.world.truth import pack_truth

generate_module = sys.modules["avts_ext.world.generate"]
N_VIDEOS = 4


def content(out):
    """Every file of a folder with its bytes; hidden ones too."""
    files = [path for path in Path(out).rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A finished world of N_VIDEOS, seed 0, made by one process; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "world"
    assert generate(out, N_VIDEOS, workers=1, progress=False) == out
    return out


def test_files_of_a_world(world):
    videos = {f"videos/{index:06d}.mp4" for index in range(N_VIDEOS)}
    assert set(content(world)) == videos | {"truth.parquet", "world.json"}
    description = json.loads((world / "world.json").read_text())
    assert (description["seed"], description["kind"], description["videos"]) == (0, "solo", 4)


def test_workers_do_not_matter(world, tmp_path):
    assert content(generate(tmp_path, N_VIDEOS, workers=3, progress=False)) == content(world)


def test_smaller_world_is_a_prefix_and_can_be_extended(world, tmp_path):
    small = content(generate(tmp_path, 2, workers=1, progress=False))
    assert all(content(world)[name] == small[name] for name in small if name.endswith(".mp4"))
    kept = tmp_path / "videos" / "000000.mp4"
    before = kept.stat().st_mtime_ns
    assert content(generate(tmp_path, N_VIDEOS, workers=1, progress=False)) == content(world)
    assert kept.stat().st_mtime_ns == before


def test_interrupted_extension_is_not_taken_for_a_finished_world(world, tmp_path, monkeypatch):
    generate(tmp_path, 2, workers=1, progress=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(generate_module, "render_picture", interrupt)
        generate(tmp_path, N_VIDEOS, workers=1, progress=False)
    with pytest.raises(ValueError, match=r"truth of 2 of 4 videos: generate it again with vid.*=4"):
        load_truth(tmp_path)
    assert content(generate(tmp_path, N_VIDEOS, workers=1, progress=False)) == content(world)
    assert len(load_truth(tmp_path)) == N_VIDEOS


def test_finished_world_is_left_alone(tmp_path, monkeypatch):
    before = content(generate(tmp_path, 1, workers=1, progress=False))
    monkeypatch.setattr(generate_module, "render_picture", None)
    assert content(generate(tmp_path, 1, workers=1, progress=False)) == before


def test_missing_video_is_made_again(world, tmp_path):
    generate(tmp_path, N_VIDEOS, workers=1, progress=False)
    (tmp_path / "videos" / "000001.mp4").unlink()
    (tmp_path / "videos" / ".000001.mp4.part").write_bytes(b"left behind")
    assert content(generate(tmp_path, N_VIDEOS, workers=1, progress=False)) == content(world)


def test_interrupted_run_goes_on_where_it_stopped(world, tmp_path, monkeypatch):
    encode = generate_module.encode_mp4
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(generate_module, "encode_mp4", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted with 2 of 4 videos .* same call"):
        generate(tmp_path, N_VIDEOS, workers=1, progress=False)
    left = content(tmp_path)
    assert set(left) == {"videos/000000.mp4", "videos/000001.mp4", "world.json"}
    with pytest.raises(FileNotFoundError, match="no finished world"):
        load_truth(tmp_path)
    assert content(generate(tmp_path, N_VIDEOS, workers=1, progress=False)) == content(world)
    assert len(calls) == 3 + 2


def test_interrupt_from_the_keyboard_ends_all_processes_cleanly(tmp_path):
    script = f"from avts_ext.world import generate; generate({str(tmp_path)!r}, 500, workers=2)"
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        # A shell starts background jobs with the interrupt ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not list(tmp_path.glob("videos/0*.mp4")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode != 0
    assert messages.count("Traceback") == 1
    assert messages.rstrip().endswith("the same call again makes the rest")
    left = content(tmp_path)
    assert len(left) < 100 and not any(name.endswith(".part") for name in left)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_verb_makes_the_same_world_as_the_function(world, tmp_path):
    assert main(["world", str(tmp_path), "--videos", str(N_VIDEOS), "--seed", "0"]) == 0
    assert content(tmp_path) == content(world)


def test_interrupted_verb_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate_module, "render_picture", interrupt)
    assert main(["world", str(tmp_path), "--videos", "1"]) == 130
    assert "avts world: interrupted with 0 of 1 videos made in" in capsys.readouterr().err


def test_truth_round_trip(world):
    rows = load_truth(world)
    assert [row.index for row in rows] == list(range(N_VIDEOS))
    for row in rows:
        scene = draw_scene(0, row.index)
        _, source_box, silent_box = render_picture(scene)
        assert row.path == str(world / "videos" / f"{row.index:06d}.mp4")
        assert (row.label, row.silent_label) == (scene.label, scene.silent_label)
        assert np.array_equal(row.event_times_s, scene.event_times_s)
        assert row.event_times_s.dtype == np.float64 and row.silent_event_times_s.size == 0
        assert np.array_equal(row.source_box, source_box) and row.source_box.dtype == np.float32
        assert np.array_equal(row.silent_box, silent_box) and row.silent_box.dtype == np.float32


def test_duet_truth_has_events_of_both_objects(tmp_path):
    row = load_truth(generate(tmp_path, 1, kind="duet", workers=1, progress=False))[0]
    scene = draw_scene(0, 0, "duet")
    assert np.array_equal(row.silent_event_times_s, scene.silent_event_times_s)
    assert row.silent_event_times_s.size > 0


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"videos": 0}, ValueError, "videos must be at least 1, got 0"),
        ({"videos": -5}, ValueError, "videos must be at least 1, got -5"),
        ({"videos": 2.0}, TypeError, "videos must be an int, got 2.0"),
        ({"videos": True}, TypeError, "videos must be an int, got True"),
        ({"videos": 1, "seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"videos": 1, "workers": 0}, ValueError, "workers must be at least 1, got 0"),
        ({"videos": 1, "kind": "trio"}, ValueError, "kind must be one of .*, got 'trio'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"videos": 4, "seed": 1}, "seed must be 0 to continue the world .*, got 1"),
        ({"videos": 4, "kind": "duet"}, "kind must be 'solo' to continue the world .*, got 'duet'"),
        ({"videos": 2}, r"videos must not be less .*, got 2: videos/000002.mp4 is there"),
    ],
)
def test_another_world_in_the_folder_is_refused(world, arguments, message):
    before = content(world)
    with pytest.raises(ValueError, match=message):
        generate(world, **arguments)
    assert content(world) == before


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty and holds no world"):
        generate(tmp_path, 1)
    assert set(content(tmp_path)) == {"thesis.tex"}


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="out_dir must be a folder"):
        generate(tmp_path / "file", 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seed": 0}', "\0"])
def test_damaged_description_is_refused(world, tmp_path, text):
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(ValueError, match=r"world\.json does not describe a world"):
        generate(tmp_path, 1)
    (tmp_path / "truth.parquet").write_bytes(pack_truth(load_truth(world)))
    with pytest.raises(ValueError, match=r"world\.json does not describe a world"):
        load_truth(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-30], lambda data: b"PAR"])
def test_damaged_truth_is_named(tmp_path, damage):
    path = generate(tmp_path, 1, workers=1, progress=False) / "truth.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"truth\.parquet is damaged"):
        load_truth(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_is_named_and_leaves_no_partial_file(tmp_path, monkeypatch, workers):
    write_bytes = Path.write_bytes

    def full(path, data):
        if path.name.startswith(".000001"):
            write_bytes(path, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*000001\.mp4'"):
        generate(tmp_path, 2, workers=workers, progress=False)
    assert not any(name.endswith(".part") for name in content(tmp_path))


def test_unwritable_place_is_named():
    with pytest.raises(OSError, match="/proc/"):
        generate("/proc/self/world", 1)
