"""Folders laid out as published data sets are, with generated media in the places of theirs."""

import random
from pathlib import Path

import av
import numpy as np

ESC50_HEADER = "filename,fold,target,category,esc10,src_file,take"
DCASE_CLASSES = (
    *("bus", "busystreet", "office", "openairmarket", "park", "quietstreet"),
    *("restaurant", "supermarket", "tube", "tubestation"),
)


def write_sound(path: Path, samples: np.ndarray, rate: int = 16000) -> None:
    """A WAV file of 16-bit samples out of floats in [-1, 1)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (32767 * np.asarray(samples)).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def tone(frequency_hz: float, duration_s: float, seed: int, rate: int = 16000) -> np.ndarray:
    """A sine in noise."""
    times_s = np.arange(round(duration_s * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(times_s))
    return 0.2 * np.sin(2 * np.pi * frequency_hz * times_s) + noise


def esc50_lines(n_classes: int = 50, per_fold: int = 8) -> list[str]:
    """The lines of `esc50.csv` below its header: two takes of each source, all in one fold."""
    lines = []
    for fold in range(1, 6):
        for target in range(n_classes):
            for number in range(per_fold):
                source = 100_000 + 10_000 * fold + 100 * target + number // 2
                take = "AB"[number % 2]
                name = f"{fold}-{source}-{take}-{target}.wav"
                lines.append(
                    f"{name},{fold},{target},class_{target:02},{target < 10},{source},{take}"
                )
    return lines


def write_esc50(root: Path, lines: list[str], duration_s: float | None = None) -> Path:
    """The list, and sounds whose pitch tells the class; empty files if no length is given."""
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "esc50.csv").write_text("\n".join([ESC50_HEADER, *lines]) + "\n")
    (root / "audio").mkdir()
    for number, line in enumerate(lines):
        name, _, target = line.split(",")[:3]
        if duration_s is None:
            (root / "audio" / name).touch()
        else:
            write_sound(root / "audio" / name, tone(300 * 2 ** int(target), duration_s, number))
    return root


def write_dcase2014(root: Path, duration_s: float | None = None) -> Path:
    """Ten recordings of each class in each of two folders."""
    for folder in ("scenes_stereo", "scenes_stereo_testset"):
        for target, label in enumerate(DCASE_CLASSES):
            for number in range(1, 11):
                path = root / folder / f"{label}{number:02}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                if duration_s is None:
                    path.touch()
                else:
                    seed = 1000 * len(folder) + 100 * target + number
                    write_sound(path, tone(200 * 1.5**target, duration_s, seed))
    return root


def write_ucf101(root: Path, n_classes: int = 101, groups: int = 25, clips: int = 4) -> list[Path]:
    """Lists in `ucfTrainTestlist/`; returns where its videos belong, below the class folders.

    The published set has between four and seven clips in a group: here it has the fewest.
    """
    names = [f"Class{number:03}" for number in range(n_classes)]
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    index = "".join(f"{number + 1} {name}\n" for number, name in enumerate(names))
    (lists / "classInd.txt").write_text(index)
    videos = [
        (number, group, f"{name}/v_{name}_g{group:02}_c{clip:02}.avi")
        for number, name in enumerate(names, 1)
        for group in range(1, groups + 1)
        for clip in range(1, clips + 1)
    ]
    for k in (1, 2, 3):
        tested = range(7 * k - 6, 7 * k + 1)
        train = "".join(f"{path} {n}\n" for n, group, path in videos if group not in tested)
        test = "".join(f"{path}\n" for _, group, path in videos if group in tested)
        (lists / f"trainlist{k:02}.txt").write_text(train)
        (lists / f"testlist{k:02}.txt").write_text(test)
    return [root / path for _, _, path in videos]


def write_hmdb51(root: Path, n_classes: int = 51, videos: int = 100) -> list[Path]:
    """Lists in `testTrainMulti_7030_splits/`: of each class 70 to train, 30 to test."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    paths = []
    for number in range(n_classes):
        label = f"class{number:02}"
        names = [f"film{n}_{label}_f_cm_np1_fr_med_{n}.avi" for n in range(videos)]
        paths += [root / label / name for name in names]
        for k in (1, 2, 3):
            order = random.Random(100 * number + k).sample(names, videos)
            use = dict.fromkeys(order[: videos * 7 // 10], 1)
            use |= dict.fromkeys(order[videos * 7 // 10 :], 2)
            text = "".join(f"{name} {use[name]} \n" for name in names)
            (lists / f"{label}_test_split{k}.txt").write_text(text)
    return paths
