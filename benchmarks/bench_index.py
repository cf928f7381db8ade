"""Times `avts index` per file, and the way from a large manifest to the first batch's keys.

    python benchmarks/bench_index.py --films 100 --rows 300000

Films are 10 s of H.264 and AAC at 340 x 256 and 25 frames a second, much as clips of Kinetics are.
Told is the CPU time of all processes together, which hardly depends on what else the machine does,
and the number of files that one core examines a minute by it, where the disk keeps up. The manifest
has rows such as AudioSet's; the opening is told in CPU time and in memory that the process gained.
"""

import argparse
import platform
import resource
import tempfile
import time
from pathlib import Path

import av
import numpy as np

import avts_ext
from avts_ext.data import (
    ClipBatchSampler,
    ClipSpec,
    ManifestRow,
    SyncClipDataset,
    open_index,
    scan_folder,
    write_manifest,
)
from avts_ext.data.writer import encode_mp4

FPS, RATE, FILM_S, HEIGHT, WIDTH = 25, 44100, 10, 256, 340


def film():
    """A drifting texture with grain, and noise."""
    rng = np.random.default_rng(0)
    texture = rng.uniform(0, 255, (24, 32, 3)).repeat(16, 0).repeat(16, 1)
    grain = rng.normal(0, 3, (4, HEIGHT, WIDTH, 3))
    frames = (
        (texture[i % 100 : HEIGHT + i % 100, i % 150 : WIDTH + i % 150] + grain[i % 4])
        .clip(0, 255)
        .astype(np.uint8)
        for i in range(FPS * FILM_S)
    )
    return encode_mp4(frames, FPS, rng.normal(0, 0.1, RATE * FILM_S), RATE)


def cpu_s():
    """Of this process and of all that it waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, -1))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def time_scan(folder, n_films):
    content = film()
    for i in range(n_films):
        (folder / f"{i}.mp4").write_bytes(content)
    print(f"\n{n_films} films of {len(content) / 1e6:.1f} MB\nframes     ms/film  films/min/core")
    for every_frame in (False, True):
        begin = cpu_s()
        found = scan_folder(folder, folder / f"{every_frame}.parquet", every_frame=every_frame)
        spent = (cpu_s() - begin) / n_films
        assert all(row.fault is None for row in found.rows)
        print(f"{'all' if every_frame else 'some':6} {1000 * spent:10.1f} {60 / spent:15,.0f}")


def row(number):
    found = {"video_codec": "h264", "video_width": WIDTH, "video_height": HEIGHT, "video_fps": 25.0}
    found |= {"audio_codec": "aac", "audio_sample_rate": RATE, "audio_n_channels": 2}
    return ManifestRow(
        f"unbalanced_train/{number:011}.mp4",
        splits=("unbalanced_train",),
        labels=("Speech", "Music"),
        source=f"{number:011}",
        content_hash=f"{number:032x}",
        usable_s=((0.0, 4.0), (5.5, 10.0)) if number % 4 == 0 else ((0.0, 10.0),),
        **found,
    )


def time_opening(path, n_rows):
    write_manifest(path, path.parent, [row(number) for number in range(n_rows)])
    print(f"\nmanifest of {n_rows:,} rows, {path.stat().st_size / 1e6:.1f} MB")
    begin, before_mb = time.process_time(), resident_mb()
    entries, _ = open_index(path, split="unbalanced_train", min_duration_s=1.0)
    dataset = SyncClipDataset(entries, ClipSpec(), seed=0)
    keys = next(iter(ClipBatchSampler(entries.media_ids, 32, seed=0)))
    spent = time.process_time() - begin
    assert len(dataset) == n_rows and len(keys) == 32
    print(f"opened in {spent:.1f} s, {1e6 * spent / n_rows:.0f} us a row", end=", ")
    print(f"{resident_mb() - before_mb:.0f} MB more in memory")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--rows", type=int, default=300_000)
    options = parser.parse_args()
    print(f"avts_ext {avts_ext.__version__}, PyAV {av.__version__}, {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "films").mkdir()
        time_scan(Path(folder) / "films", options.films)
        time_opening(Path(folder) / "big.parquet", options.rows)


if __name__ == "__main__":
    main()
