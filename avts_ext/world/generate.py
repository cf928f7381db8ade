"""Generates a world on disk: video files, their ground truth, and a description."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from avts_ext._files import write_atomically
from avts_ext.data.writer import encode_mp4
from avts_ext.world.picture import render_picture
from avts_ext.world.scene import (
    CLASSES,
    DURATION_S,
    FPS,
    SAMPLE_RATE,
    SCENE_KINDS,
    SIZE_PX,
    WORLD_VERSION,
    SceneKind,
    draw_scene,
)
from avts_ext.world.sound import render_sound
from avts_ext.world.truth import DESCRIPTION_FILE, TRUTH_FILE, WorldTruth, pack_truth, read_truth

_VIDEO_FOLDER = "videos"


def generate(
    out_dir: str | os.PathLike[str],
    videos: int = 320,
    seed: int = 0,
    kind: SceneKind = "solo",
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate a world of short videos in which synchrony can be learned from event timing only.

    Each video shows two objects, of two of ten classes, and lets one of them be heard: 6 s, 64 x 64
    pixels, 16 frames/s, H.264, with 16 kHz mono AAC. Writes ``videos/000000.mp4`` and so on,
    ``truth.parquet`` (see `load_truth`) and ``world.json``. The content of a video depends on
    (seed, kind, index) only, so a small world is the beginning of a larger one. Videos that are
    there are kept: an interrupted run goes on where it stopped, and a larger `videos` adds the
    missing ones.

    Args:
        out_dir: Folder of the world: new, empty, or holding a world of the same seed and kind.
        videos: Number of videos; the default is enough to see a small model learn.
        seed: Which world, at least 0.
        kind: "solo": one object shows events and is heard, the other moves smoothly. "duet": both
            show events, at different times, and one is heard.
        workers: Number of processes; by default one for each core this process may use.
        progress: Show a progress bar.

    Returns:
        The folder of the world.

    Raises:
        ValueError: An argument is out of range, or `out_dir` holds something else: other files, a
            world of another seed, kind or version, or more videos than asked for.
        OSError: `out_dir` cannot be written, for instance because the disk is full.
        KeyboardInterrupt: Interrupted; its message says how far the world is and how to go on.
    """
    workers = _usable_cores() if workers is None else workers
    _check_arguments(videos, seed, kind, workers)
    out = Path(out_dir)
    _claim(out, videos, seed, kind)
    known = _known_truth(out)
    missing = [index for index in range(videos) if index not in known]
    bar = tqdm(total=videos, initial=len(known), desc="world", unit="video", disable=not progress)
    with bar:
        try:
            for row in _make_all(out, seed, kind, missing, workers):
                known[row.index] = row
                bar.update()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted with {len(known)} of {videos} videos made in {str(out)!r}; the same "
                "call again makes the rest"
            ) from None
    if missing:
        write_atomically(out / TRUTH_FILE, pack_truth([known[index] for index in range(videos)]))
    return out


def _usable_cores() -> int:
    # On a shared machine a process is often confined to a few of many cores.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _check_arguments(videos: int, seed: int, kind: str, workers: int) -> None:
    for name, value, least in (("videos", videos, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if kind not in SCENE_KINDS:
        raise ValueError(f"kind must be one of {SCENE_KINDS}, got {kind!r}")


def _claim(out: Path, videos: int, seed: int, kind: str) -> None:
    """Make sure that the folder is ours to write this world to, and say so in its description."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out_dir must be a folder, got the file {str(out)!r}")
    identity = {"version": WORLD_VERSION, "seed": seed, "kind": kind}
    description = out / DESCRIPTION_FILE
    if description.exists():
        _check_same_world(description, identity)
    elif out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ValueError(f"out_dir {str(out)!r} is not empty and holds no world")
    (out / _VIDEO_FOLDER).mkdir(parents=True, exist_ok=True)
    expected = {_relative_path(index) for index in range(videos)}
    found = [f"{_VIDEO_FOLDER}/{path.name}" for path in (out / _VIDEO_FOLDER).glob("*.mp4")]
    surplus = sorted(set(found) - expected)
    if surplus:
        raise ValueError(
            f"videos must not be less than what out_dir {str(out)!r} holds, got {videos}: "
            f"{surplus[0]} is there"
        )
    text = json.dumps(identity | {"videos": videos} | _parameters(), indent=2)
    write_atomically(description, (text + "\n").encode())


def _check_same_world(description: Path, identity: dict) -> None:
    try:
        found = json.loads(description.read_text())
        found = {name: found[name] for name in identity}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{description} does not describe a world: {error!r}") from None
    for name, expected in identity.items():
        if found[name] != expected:
            raise ValueError(
                f"{name} must be {found[name]!r} to continue the world in "
                f"{str(description.parent)!r}, got {expected!r}"
            )


def _parameters() -> dict:
    return {
        "duration_s": DURATION_S,
        "fps": FPS,
        "size_px": SIZE_PX,
        "sample_rate": SAMPLE_RATE,
        "classes": [asdict(spec) for spec in CLASSES],
    }


def _known_truth(out: Path) -> dict[int, WorldTruth]:
    """Truth, with relative paths, of the videos that are there already."""
    if not (out / TRUTH_FILE).exists():
        return {}
    rows = [row for row in read_truth(out) if Path(row.path).exists()]
    return {row.index: replace(row, path=_relative_path(row.index)) for row in rows}


def _make_all(
    out: Path, seed: int, kind: SceneKind, indices: list[int], workers: int
) -> Iterator[WorldTruth]:
    if workers == 1 or len(indices) < 2:
        yield from (_make_video(out, seed, kind, index) for index in indices)
        return
    pool = ProcessPoolExecutor(min(workers, len(indices)), initializer=_ignore_interrupt)
    try:
        tasks = [pool.submit(_make_video, out, seed, kind, index) for index in indices]
        for task in as_completed(tasks):
            yield task.result()
    finally:
        # After an error or Ctrl-C, videos in work are finished and no other is begun.
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _make_video(out: Path, seed: int, kind: SceneKind, index: int) -> WorldTruth:
    """Write one video unless it is there; its truth is computed either way."""
    scene = draw_scene(seed, index, kind)
    frames, source_box, silent_box = render_picture(scene)
    relative = _relative_path(index)
    if not (out / relative).exists():
        data = encode_mp4(frames, FPS, render_sound(scene), SAMPLE_RATE)
        write_atomically(out / relative, data)
    return WorldTruth(
        index,
        relative,
        scene.label,
        scene.silent_label,
        scene.event_times_s,
        scene.silent_event_times_s,
        source_box,
        silent_box,
    )


def _relative_path(index: int) -> str:
    return f"{_VIDEO_FOLDER}/{index:06d}.mp4"
