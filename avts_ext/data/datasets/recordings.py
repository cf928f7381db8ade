"""ESC-50, DCASE2014 and SoundNet: recordings told by lists or by their names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from avts_ext.data.datasets.listing import DataSet, MediaFinder, merged, read_csv, read_lines
from avts_ext.data.manifest import ManifestRow

_DCASE_FOLDERS = {"train": "scenes_stereo", "test": "scenes_stereo_testset"}
_DCASE_CLASSES = (
    *("bus", "busystreet", "office", "openairmarket", "park", "quietstreet"),
    *("restaurant", "supermarket", "tube", "tubestation"),
)
_DCASE_PER_CLASS = 10
_SOUNDNET_SPLITS = ("train", "val")


def read_esc50(root: Path) -> list[ManifestRow]:
    """List `meta/esc50.csv`, clips of 5 s in `audio/`; splits "fold1" to "fold5", and "esc10"."""
    path = root / "meta" / "esc50.csv"
    lines = read_csv(path, "filename", "fold", "category", "esc10", "src_file")
    return merged(
        ManifestRow(
            f"audio/{line['filename']}",
            splits=(f"fold{line['fold']}", *(["esc10"] if line["esc10"] == "True" else [])),
            labels=(line["category"],),
            tracks="audio",
            source=line["src_file"],
        )
        for line in lines
    )


def read_dcase2014(root: Path) -> list[ManifestRow]:
    """Scenes of 30 s, `bus01` to `tubestation10`, in `scenes_stereo` and `scenes_stereo_testset`.

    The set has no lists: the names, of 10 classes with 10 recordings each, are the list.
    """
    folders = {split: root / name for split, name in _DCASE_FOLDERS.items()}
    if not any(folder.is_dir() for folder in folders.values()):
        raise FileNotFoundError(f"neither folder {' nor '.join(map(str, folders.values()))}")
    return [row for split, folder in folders.items() for row in _dcase_rows(split, folder)]


def _dcase_rows(split: str, folder: Path) -> list[ManifestRow]:
    finder = MediaFinder(folder)
    return [
        ManifestRow(
            f"{folder.name}/{finder.find([name], otherwise=f'{name}.wav')}",
            splits=(split,),
            labels=(label,),
            tracks="audio",
        )
        for label in _DCASE_CLASSES
        for number in range(1, _DCASE_PER_CLASS + 1)
        for name in [f"{label}{number:02}"]
    ]


def read_soundnet(root: Path) -> list[ManifestRow]:
    """Lists `train.txt` and `val.txt`: a path or URL per line, of which the file's name counts."""
    lists = {split: root / f"{split}.txt" for split in _SOUNDNET_SPLITS}
    if not any(path.exists() for path in lists.values()):
        raise FileNotFoundError(f"neither list {' nor '.join(map(str, lists.values()))}")
    finder = MediaFinder(root)
    return merged(
        ManifestRow(finder.find([name.stem], otherwise=name.name), splits=(split,))
        for split, path in lists.items()
        if path.exists()
        for name in map(PurePosixPath, read_lines(path))
    )


RECORDINGS = {
    "esc50": DataSet(
        read_esc50,
        {**{f"fold{fold}": 400 for fold in range(1, 6)}, "esc10": 400},
        2000,
        50,
        "Piczak 2015, doi:10.1145/2733373.2806390",
    ),
    "dcase2014": DataSet(
        read_dcase2014,
        {"train": 100, "test": 100},
        200,
        10,
        "Stowell et al. 2015, doi:10.1109/TMM.2015.2428998",
    ),
    "soundnet": DataSet(
        read_soundnet,
        {"train": 2_000_000, "val": 140_000},
        2_140_000,
        0,
        "Aytar et al. 2016, arXiv:1610.09001, in round numbers",
    ),
}
