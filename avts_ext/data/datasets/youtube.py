"""Kinetics, AudioSet and VGGSound: lists of segments of YouTube videos.

Clips are found by name. `ID` is the id of the video, `START` and `END` are the segment's seconds in
it, with six digits.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from avts_ext.data.datasets.listing import DataSet, MediaFinder, merged, read_csv
from avts_ext.data.manifest import ManifestRow

_KINETICS_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_KINETICS_SPLITS = {"train": "train", "val": "val", "validate": "val", "test": "test"}
# Also kinetics_400_train.csv; not kinetics600_holdout_test.csv, which is of no split.
_KINETICS_LIST = re.compile(r"(kinetics[-_]?\d*[-_])?(train|val|validate|test)")
_AUDIOSET_SPLITS = ("balanced_train", "unbalanced_train", "eval")
_VGGSOUND_CLIP_S = 10.0


def read_kinetics(root: Path) -> list[ManifestRow]:
    """Lists `train.csv` and kin in the root or in `annotations/`, clips `ID_START_END` or `ID`.

    A line is `label,youtube_id,time_start,time_end,split`; lists of tests come without labels.
    """
    candidates = sorted([*root.glob("*.csv"), *root.glob("annotations/*.csv")])
    lists = [path for path in candidates if _KINETICS_LIST.fullmatch(path.stem)]
    if not lists:
        raise FileNotFoundError(f"no list such as train.csv in {root} or {root / 'annotations'}")
    finder = MediaFinder(root)
    return merged(
        _kinetics_row(line, path, finder)
        for path in lists
        for line in read_csv(path, *_KINETICS_COLUMNS)
    )


def _kinetics_row(line: dict[str, str], path: Path, finder: MediaFinder) -> ManifestRow:
    if line["split"] not in _KINETICS_SPLITS:
        raise ValueError(f"{path} tells the split {line['split']!r}, not {list(_KINETICS_SPLITS)}")
    identity, split = line["youtube_id"], _KINETICS_SPLITS[line["split"]]
    start_s, end_s = float(line["time_start"]), float(line["time_end"])
    name = f"{identity}_{start_s:06.0f}_{end_s:06.0f}"
    return ManifestRow(
        finder.find((name, identity), otherwise=f"{split}/{name}.mp4"),
        splits=(split,),
        labels=(line["label"],) if line.get("label") else (),
        source=identity,
        source_start_s=start_s,
        source_end_s=end_s,
    )


def read_audioset(root: Path) -> list[ManifestRow]:
    """Lists `balanced_train_segments.csv` and kin, `ontology.json`; clips `ID` or `ID_START_END`.

    They may also be called `YID`, and start and end be milliseconds. Labels are the ontology's
    names.
    """
    lists = {split: root / f"{split}_segments.csv" for split in _AUDIOSET_SPLITS}
    if not any(path.exists() for path in lists.values()):
        raise FileNotFoundError(f"none of the lists {', '.join(map(str, lists.values()))} is there")
    names = _ontology(root / "ontology.json")
    finder = MediaFinder(root)
    return merged(
        _audioset_row(line, split, names, finder)
        for split, path in lists.items()
        if path.exists()
        for line in _audioset_lines(path)
    )


def _ontology(path: Path) -> dict[str, str]:
    """Name by id of every class."""
    return {entry["id"]: entry["name"] for entry in json.loads(path.read_text(encoding="utf-8"))}


def _audioset_lines(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.reader(file, skipinitialspace=True):
            if not line or line[0].startswith("#"):
                continue
            if len(line) != 4:
                raise ValueError(f"{path} must have 4 columns, got {line}")
            yield line


def _audioset_row(
    line: list[str], split: str, names: dict[str, str], finder: MediaFinder
) -> ManifestRow:
    identity, start_s, end_s = line[0], float(line[1]), float(line[2])
    unknown = [label for label in line[3].split(",") if label not in names]
    if unknown:
        raise ValueError(f"ontology.json does not tell the labels {unknown} of {identity}")
    keys = (
        identity,
        f"Y{identity}",
        f"{identity}_{start_s:06.0f}_{end_s:06.0f}",
        f"{identity}_{1000 * start_s:.0f}_{1000 * end_s:.0f}",
    )
    return ManifestRow(
        finder.find(keys, otherwise=f"{split}/{identity}.mp4"),
        splits=(split,),
        labels=tuple(names[label] for label in line[3].split(",")),
        source=identity,
        source_start_s=start_s,
        source_end_s=end_s,
    )


def read_vggsound(root: Path) -> list[ManifestRow]:
    """List `vggsound.csv`, clips `ID_START` or `ID_START_END` in milliseconds.

    A line is `youtube_id,start,label,split`, without a header. Clips last 10 s; a video may have
    more than one.
    """
    finder = MediaFinder(root)
    with (root / "vggsound.csv").open(newline="", encoding="utf-8") as file:
        return merged(_vggsound_row(line, finder) for line in csv.reader(file) if line)


def _vggsound_row(line: list[str], finder: MediaFinder) -> ManifestRow:
    if len(line) != 4 or line[3] not in ("train", "test"):
        raise ValueError(f"vggsound.csv must have 4 columns, the last train or test, got {line}")
    identity, label, split = line[0], line[2], line[3]
    start_s = float(line[1])
    end_s = start_s + _VGGSOUND_CLIP_S
    name = f"{identity}_{start_s:06.0f}"
    keys = (name, f"{identity}_{1000 * start_s:.0f}_{1000 * end_s:.0f}")
    return ManifestRow(
        finder.find(keys, otherwise=f"video/{name}.mp4"),
        splits=(split,),
        labels=(label,),
        source=identity,
        source_start_s=start_s,
        source_end_s=end_s,
    )


def _kinetics(
    train: int, val: int, test: int, n_classes: int, source: str, **copies: tuple[int, int, int]
) -> DataSet:
    splits = ("train", "val", "test")
    return DataSet(
        read_kinetics,
        dict(zip(splits, (train, val, test), strict=True)),
        train + val + test,
        n_classes,
        source,
        {name: dict(zip(splits, counts, strict=True)) for name, counts in copies.items()},
    )


YOUTUBE = {
    # How far these numbers were found in a second place: all of Kinetics-400, as FiftyOne tells it
    # (docs.voxel51.com/dataset_zoo/datasets/kinetics_400.html); of 600 the test split likewise, the
    # total in surveys, the rest to a thousand in arXiv:1812.03982; of 700 the total in surveys; of
    # 700-2020 a mean of 926 clips a class in table 1 of its paper. CVDF hosts copies of other
    # sizes, which FiftyOne tells as well.
    "kinetics400": _kinetics(246_534, 19_906, 39_805, 400, "Kay et al. 2017, arXiv:1705.06950"),
    "kinetics600": _kinetics(
        *(392_622, 30_001, 72_924, 600, "Carreira et al. 2018, arXiv:1808.01340"),
        CVDF=(427_549, 29_793, 72_924),
    ),
    "kinetics700": _kinetics(
        545_317, 35_000, 70_000, 700, "Carreira et al. 2019, arXiv:1907.06987"
    ),
    "kinetics700_2020": _kinetics(
        *(545_793, 34_256, 67_858, 700, "Smaira et al. 2020, arXiv:2010.10864"),
        CVDF=(534_073, 33_914, 64_260),
    ),
    "audioset": DataSet(
        read_audioset,
        {"balanced_train": 22_160, "unbalanced_train": 2_041_789, "eval": 20_371},
        2_084_320,
        527,
        "the headers of the lists at research.google.com/audioset/download.html",
    ),
    "vggsound": DataSet(
        read_vggsound,
        {"train": 183_971, "test": 15_496},
        199_467,
        309,
        "Chen et al. 2020, arXiv:2004.14368, and the lines of its vggsound.csv",
    ),
}
