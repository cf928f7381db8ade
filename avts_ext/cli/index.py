"""The verb `index`: what a folder of media holds and what is wrong with it."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path

from avts_ext.data.datasets import data_set
from avts_ext.data.datasets.subset import class_proportional
from avts_ext.data.manifest import ManifestRow, read_manifest
from avts_ext.data.report import coverage_table, summary, table
from avts_ext.data.scan import scan_folder


def index(
    root: str,
    output: str = "manifest.parquet",
    dataset: str | None = None,
    share: float = 1.0,
    report: bool = False,
    json: bool = False,
    every_frame: bool = False,
    processes: int | None = None,
) -> None:
    """Examine the media under a folder and write a manifest, from which training can read.

    Files that are in the manifest already, or were examined before an interruption, are not
    examined again unless they changed.

    Args:
        root: the folder; or a manifest, of which only the report is printed.
        output: the manifest to write or bring up to date; also -o.
        dataset: published data set that the folder holds, whose lists tell files, splits and
            labels: kinetics400, kinetics600, kinetics700, kinetics700_2020, audioset, vggsound,
            soundnet, esc50, dcase2014, ucf101 or hmdb51. By default all media files are taken.
        share: part of every class to take, at most 1; for `dataset`.
        report: print a table of what was found instead of one line.
        json: print it as one JSON object.
        every_frame: decode all frames, which finds all damage but takes several times as long.
        processes: that examine files at the same time; by default as many as there are cores.
    """
    if os.path.isfile(root):
        manifest, report = read_manifest(root), True
    else:
        manifest = scan_folder(
            root,
            Path(output),
            _listed(Path(root), dataset, share),
            dataset=dataset,
            every_frame=every_frame,
            processes=processes or os.cpu_count() or 1,
            progress=True,
        )
    facts = summary(manifest)
    if json:
        print(json_module.dumps(facts, indent=2))
    elif report:
        print(table(facts))
    else:
        print(f"{output}: {facts['usable']} of {facts['files']} files are usable")
        if dataset is not None:
            print(coverage_table(facts))


def _listed(root: Path, dataset: str | None, share: float) -> list[ManifestRow] | None:
    if dataset is not None:
        return class_proportional(data_set(dataset).read(root), share)
    if share != 1:
        raise ValueError(f"share must be 1 without a dataset, got {share}")
    return None
