"""Bad input through the command line: a clear line and a status, no traceback, no partial file."""

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avts_ext.cli.__main__ import main
from avts_ext.training import PretrainConfig, pretrain
from avts_ext.world import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from broken_media import write_broken_folder
from flash_beep import FlashBeep

TINY = ["--model.clip.height=32", "--model.clip.width=32"]  # and one second long


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for i in range(6):
        FlashBeep(duration_s=3.0, flash_every=7 + i, size=(32, 32)).write(root / f"{i}.mp4")
    return root


MANIFEST = ["manifest.parquet"]  # what was found stays, so that it is not examined again


def pretraining(root: Path, out_dir: str = "run", *options: str) -> list[str]:
    folders = [f"--data.root={root}", f"--run.out_dir={out_dir}"]
    return ["pretrain", *folders, *TINY, "--run.batch_size=3", "--run.epochs=2", *options]


def status_of(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as unusable:  # the parser's way to refuse an option
        return int(unusable.code or 0)


def start(arguments: list[str], **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "avts_ext.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, start_new_session=True, **options)


def heed_ctrl_c() -> None:
    # A shell starts background jobs with the interrupt ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def press_ctrl_c(arguments: list[str], when: Callable[[], bool]) -> tuple[int, str]:
    """Status and messages of a verb whose whole process group is interrupted at some point."""
    process = start(arguments, preexec_fn=heed_ctrl_c)
    while process.poll() is None and not when():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate()
    return process.returncode, messages


def content(folder: Path) -> dict[str, bytes]:
    """Every file by name; without TensorBoard's, which hold times of day."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if not path.name.startswith("events.")
    }


def test_broken_files_are_counted_named_and_left_out(films, tmp_path, capsys) -> None:
    faults = write_broken_folder(tmp_path)
    for film in films.iterdir():
        (tmp_path / film.name).symlink_to(film)
    assert main(pretraining(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert f"{len(faults)} files skipped: 7 unreadable, 1 no video track, 1 no audio track" in out
    for name, fault in faults.items():
        assert err.count(f"{name}: {fault}: ") == 1


@pytest.mark.parametrize(
    ("fill", "message", "left"),
    [
        (lambda root: None, "holds no media file", []),
        (lambda root: root.rmdir(), "media', which is not there", []),
        (write_broken_folder, "no usable media file: 16 files skipped: 7 unreadable, ", MANIFEST),
        (lambda root: os.mkfifo(root / "a.mp4"), "a.mp4: unreadable: it is not a re", MANIFEST),
    ],
)
def test_folder_without_usable_media(tmp_path, capsys, fill, message, left) -> None:
    root = tmp_path / "media"
    root.mkdir()
    fill(root)
    assert main(pretraining(root)) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().glob("run/*")] == left


def test_a_file_that_may_not_be_read(films, capsys, monkeypatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        Path(folder).chmod(0o777)
        closed = Path(folder, "closed.mp4")
        closed.write_bytes((films / "0.mp4").read_bytes())
        closed.chmod(0)
        monkeypatch.chdir(folder)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nothing is closed to root
        try:
            assert main(pretraining(Path(folder))) == 1
        finally:
            os.seteuid(user)
            monkeypatch.undo()
    assert "closed.mp4: unreadable: Permission denied" in capsys.readouterr().err


@pytest.fixture
def films_and_an_empty_one(films: Path, tmp_path: Path) -> Path:
    root = tmp_path / "media"
    root.mkdir()
    for film in films.iterdir():
        (root / film.name).symlink_to(film)
    (root / "empty.mp4").touch()
    return root


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.max_broken_files=0"], "1 broken files, but max_broken_files is 0"),
        (["--run.batch_size=9"], "batch_size * world_size must be at most the number of media"),
        (["--model.clip.n_frames=99"], "too short: 3.00 s of sound and picture, 12.38 s"),
        (["--model.log_mel.n_fft=3"], "win_length is 320, expected 1 to n_fft = 3"),
    ],
)
def test_pretrain_refuses_media_before_it_writes_more_than_their_manifest(
    films_and_an_empty_one, capsys, options, message
) -> None:
    assert status_of(pretraining(films_and_an_empty_one, "run", *options)) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in Path("run").iterdir()] == MANIFEST


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--run.device=quantum"], 1, "run.device is 'quantum', which cannot be used: "),
        (["--model.clip.fps=1/0"], 2, 'Parser key "model.clip.fps"'),
        (["--model.log_mel.n_mel=3"], 1, "log_mel must be a dict of arguments among sample_rate"),
        (["--run.epochs=x"], 2, "Expected a <class 'int'>. Got value: x"),
        (["--loss.margin=nan"], 2, "Expected a <class 'float'>. Got value: nan"),
        (["--run.epoch=3"], 2, "run.epoch"),
        (["--config=none.yaml"], 2, "File does not exist"),
        (["--run.out_dir=file"], 1, "run.out_dir must be a folder, got the file 'file'"),
    ],
)
def test_pretrain_refuses_before_it_writes(
    films_and_an_empty_one, capsys, options, status, message
) -> None:
    Path("file").touch()
    assert status_of(pretraining(films_and_an_empty_one, "run", *options)) == status
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["world"], 2, "out_dir"),
        (["world", "new", "--videos=x"], 2, "Expected a <class 'int'>. Got value: x"),
        (["world", "new", "--videos=0"], 1, "videos must be at least 1, got 0"),
        (["world", "file"], 1, "out_dir must be a folder, got the file 'file'"),
        (["world", "."], 1, "is not empty and holds no world"),
        (["doctor", "--json=perhaps"], 2, "Got value: perhaps"),
        (["doctor", "now"], 2, "now"),
    ],
)
def test_other_verbs_refuse(capsys, arguments, status, message) -> None:
    Path("file").touch()
    assert status_of(arguments) == status
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_damaged_state_of_a_run_is_named(films, capsys) -> None:
    assert main(pretraining(films)) == 0
    state = Path("run", "resume.pt")
    state.write_bytes(state.read_bytes()[:2000])
    assert main(pretraining(films, "run", "--run.resume=true")) == 1
    assert "run/resume.pt is damaged: delete it to begin the run anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "epoch_000.safetensors", "last.safetensors", "metrics.jsonl", "resume.pt"],
)
def test_full_disk_is_named_and_the_run_goes_on_later(films, capsys, monkeypatch, name) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if name not in path.name:
            return write_bytes(path, data)
        write_bytes(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert main(pretraining(films)) == 1
    assert f"No space left on device: 'run/{name}'" in capsys.readouterr().err
    left = content(Path("run"))
    assert name not in left and not any(file.endswith(".part") for file in left)
    assert main(pretraining(films, "run", "--run.resume=true")) == 0
    assert main(pretraining(films, "whole")) == 0
    for file in ("last.safetensors", "best.safetensors", "metrics.jsonl"):
        assert content(Path("run"))[file] == content(Path("whole"))[file]


LARGE_CACHE = ["--data.cache_dir=cache", "--model.clip.height=128", "--model.clip.width=128"]


@pytest.mark.parametrize(
    ("options", "largest_file", "message"),
    [
        (None, 20_000, "File too large: 'run/videos/0"),
        ([], 20_000, "File too large: 'run/epoch_000.safetensors'"),
        (LARGE_CACHE, 1_000_000, "the decoded cache cache cannot be written: File too large"),
    ],
)
def test_a_write_that_the_system_refuses(films, options, largest_file, message) -> None:
    verb = ["world", "run"] if options is None else pretraining(films, "run", *options)
    limit = (resource.RLIMIT_FSIZE, (largest_file, largest_file))
    process = start(verb, preexec_fn=lambda: resource.setrlimit(*limit))
    _, messages = process.communicate()
    assert process.returncode == 1
    assert message in messages and "Traceback" not in messages
    assert not any(name.endswith((".part", ".npy")) for name in content(Path()))


def test_pretrain_goes_on_after_ctrl_c_to_the_same_bytes(films) -> None:
    run = pretraining(films, "run", "--run.epochs=30", "--run.keep_every=10", "--data.workers=1")
    status, messages = press_ctrl_c(run, Path("run", "metrics.jsonl").exists)
    assert status == 130
    assert messages.endswith("the same command with --run.resume=true goes on\n")
    assert "Traceback" not in messages
    assert not Path("run", "epoch_030.safetensors").exists()
    assert main([*run, "--run.resume=true"]) == 0
    whole = PretrainConfig.from_yaml(Path("run", "config.yaml"), "--run.out_dir=whole")
    pretrain(whole)
    ours, theirs = content(Path("run")), content(Path("whole"))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"config.yaml", "resume.pt"}:  # these hold out_dir
        assert ours[name] == theirs[name], name


def test_world_goes_on_after_ctrl_c_to_the_same_bytes(tmp_path) -> None:
    world = ["world", "world", "--videos=40", "--seed=3", "--workers=2"]
    status, messages = press_ctrl_c(world, lambda: any(Path("world").glob("videos/0*.mp4")))
    assert status == 130
    assert messages.rstrip().endswith("the same call again makes the rest")
    assert "Traceback" not in messages
    assert len(content(Path("world"))) < 40
    assert main(world) == 0
    assert content(Path("world")) == content(generate("whole", 40, seed=3, progress=False))
