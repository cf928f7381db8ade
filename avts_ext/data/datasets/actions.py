"""UCF101 and HMDB51: actions, each with three ways to part the videos into training and test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from avts_ext.data.datasets.listing import (
    DataSet,
    MediaFinder,
    by_folder_and_stem,
    merged,
    read_lines,
)
from avts_ext.data.manifest import ManifestRow

_N_PARTITIONS = 3
_HMDB_SPLITS = {"0": "", "1": "train", "2": "test"}


def read_ucf101(root: Path) -> list[ManifestRow]:
    """Lists `trainlist01.txt` and kin in the root or in `ucfTrainTestlist/`; "train1" to "test3".

    The number behind a training video is its class's in `classInd.txt`. The source is the group of
    videos that were cut out of one recording and are never parted.
    """
    folder = root / "ucfTrainTestlist" if (root / "ucfTrainTestlist").is_dir() else root
    numbers = {name: number for number, name in map(str.split, read_lines(folder / "classInd.txt"))}
    finder = MediaFinder(root)
    return merged(
        _ucf_row(line, f"{kind}{partition}", numbers, finder)
        for partition in range(1, _N_PARTITIONS + 1)
        for kind in ("train", "test")
        for line in read_lines(folder / f"{kind}list{partition:02}.txt")
    )


def _ucf_row(line: str, split: str, numbers: dict[str, str], finder: MediaFinder) -> ManifestRow:
    name, *number = line.split()
    path = PurePosixPath(name)
    label = path.parent.name
    if label not in numbers or number not in ([], [numbers[label]]):
        raise ValueError(f"classInd.txt does not agree with the line {line!r} of {split}")
    return ManifestRow(
        finder.find([path.stem], otherwise=name),
        splits=(split,),
        labels=(label,),
        tracks="video",
        source=path.stem.rpartition("_")[0],
    )


def read_hmdb51(root: Path) -> list[ManifestRow]:
    """Lists `wave_test_split1.txt` and kin, in the root or in a folder of it; videos by class.

    The number behind a video is 1 for training, 2 for test, and 0 where it is left out of both:
    such a video may be in no split.
    """
    pattern = "*_test_split[123].txt"
    lists = sorted(root.glob(pattern)) or sorted(root.glob(f"*/{pattern}"))
    if not lists:
        raise FileNotFoundError(f"no list {pattern} in {root} or its folders")
    finder = MediaFinder(root, by_folder_and_stem)
    return merged(row for path in lists for row in _hmdb_rows(path, finder))


def _hmdb_rows(path: Path, finder: MediaFinder) -> Iterator[ManifestRow]:
    label, _, partition = path.stem.rpartition("_test_split")
    for line in read_lines(path):
        name, _, use = line.rpartition(" ")
        if use not in _HMDB_SPLITS:
            raise ValueError(f"{path} must tell 0, 1 or 2 behind each name, got {line!r}")
        kind, stem = _HMDB_SPLITS[use], PurePosixPath(name).stem
        yield ManifestRow(
            finder.find([f"{label}/{stem}"], otherwise=f"{label}/{name}"),
            splits=(f"{kind}{partition}",) if kind else (),
            labels=(label,),
            tracks="video",
            source=stem.partition(f"_{label}_")[0],
        )


ACTIONS = {
    "ucf101": DataSet(
        read_ucf101,
        {"train1": 9537, "test1": 3783, "train2": 9586, "test2": 3734, "train3": 9624}
        | {"test3": 3696},
        13_320,
        101,
        "Soomro et al. 2012, arXiv:1212.0402, and the lines of its lists",
    ),
    "hmdb51": DataSet(
        read_hmdb51,
        {f"train{k}": 3570 for k in (1, 2, 3)} | {f"test{k}": 1530 for k in (1, 2, 3)},
        6_766,  # in the lists; the paper counts 6,849
        51,
        "Kuehne et al. 2011, doi:10.1109/ICCV.2011.6126543: 70 and 30 videos of each class; "
        "the lines of its lists",
    ),
}
