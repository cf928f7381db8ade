"""Media in tar files, for collections that do not fit one disk: the same clips, shard by shard.

A shard is a tar file as the webdataset library writes and reads them, from a disk, over HTTP or
through a pipe. Whoever needs it unpacks it as a whole and reads clips as from any file.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tarfile
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Sampler
from tqdm import tqdm

from avts_ext.data.clips import ClipSpec
from avts_ext.data.dataset import SyncClipDataset
from avts_ext.data.draws import hash64, validation_draws
from avts_ext.data.entries import MediaEntry, MediaTable
from avts_ext.data.faults import Fault, MediaError
from avts_ext.data.index import media_id, member_name
from avts_ext.data.manifest import ManifestRow, read_manifest, write_manifest

_SHARDS, _WITHIN = 7, 8  # keep these draws apart from others


def write_shards(
    manifest: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    files_per_shard: int = 500,
    url: str | None = None,
    progress: bool = False,
) -> Path:
    """Pack the usable files of a manifest into `out_dir`/000000.tar and so on.

    Which files share a shard is drawn at random, for a batch is made of one shard; by the draw that
    puts files aside for validation, so that these share as few shards as can be.

    Args:
        manifest: made by `avts index`.
        out_dir: folder for the shards and their own manifest, created if missing.
        files_per_shard: number of files in each but the last.
        url: where the shards will be read from, such as "https://example.org/films" or
            "pipe:aws s3 cp s3://films"; by default from beside their manifest.
        progress: show a progress bar.

    Returns:
        The manifest of the shards, by which training reads them.

    Raises:
        ValueError: no file is usable, or `files_per_shard` is less than 2.
        OSError: a file cannot be read or written.
    """
    if files_per_shard < 2:
        raise ValueError(f"files_per_shard must be at least 2, got {files_per_shard}")
    source, out_dir = read_manifest(manifest), Path(out_dir)
    usable = [row for row in source.rows if row.fault is None]
    if not usable:
        raise ValueError(f"manifest {os.fspath(manifest)!r} holds no usable media file")
    ids = np.array([media_id(row.path) for row in usable], np.int64)
    order = np.lexsort((ids, validation_draws(ids)))
    out_dir.mkdir(parents=True, exist_ok=True)
    rows = [row for row in source.rows if row.fault is not None]
    starts = range(0, len(order), files_per_shard)
    for number, start in enumerate(tqdm(starts, "shards", disable=not progress)):
        name = f"{number:06}.tar"
        packed = [usable[i] for i in order[start : start + files_per_shard]]
        _write_tar(out_dir / name, source.root, packed)
        shard = name if url is None else f"{url}/{name}"
        rows += [dataclasses.replace(row, shard=shard) for row in packed]
    path = out_dir / "manifest.parquet"
    write_manifest(path, out_dir, rows, source.dataset)
    return path


def _write_tar(path: Path, root: Path, rows: Iterable[ManifestRow]) -> None:
    temporary = path.with_suffix(".part")
    try:
        with _webdataset().TarWriter(str(temporary), mtime=0) as writer:
            for row in rows:
                key, _, suffix = member_name(row.path).partition(".")
                writer.write({"__key__": key, suffix: (root / row.path).read_bytes()})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Unpacked:
    """A shard that `process` has unpacked into `folder`; why a file may not be there."""

    shard: str
    process: int
    folder: Path
    lacks: str


class ShardClipDataset(SyncClipDataset):
    """A `SyncClipDataset` of media in shards, to be asked for in the order of `ShardBatchSampler`.

    The clip of a key (epoch, item) is the same as from the files themselves. What stands in for a
    broken file comes from the same shard.

    Each process unpacks the shard that it needs into a temporary folder and keeps it until it needs
    another.

    Args:
        entries: the media, from the manifest that `write_shards` made.
        spec: as for `SyncClipDataset`.
        seed: likewise.
        options: likewise, except for `cache_dir`.

    Raises:
        ValueError: as `SyncClipDataset`, or there is a cache, or an entry is of no shard.
    """

    def __init__(
        self, entries: Sequence[MediaEntry], spec: ClipSpec, seed: int, *options: Any, **named: Any
    ) -> None:
        if named.get("cache_dir") is not None:
            raise ValueError("cache_dir must be None for shards, which are unpacked anew")
        _webdataset()  # or say now that it is not there
        super().__init__(entries, spec, seed, *options, **named)
        files = np.flatnonzero(self.entries.shard_of < 0)
        if len(files):
            path = self.entries[files[0]].path
            raise ValueError(f"entries must be of shards, got the file {path}")
        self._members = _members(self.entries)
        self._folder = tempfile.mkdtemp(prefix="avts_shards_")
        self._unpacked: _Unpacked | None = None
        weakref.finalize(self, _remove, self._folder, os.getpid())

    def _file(self, item: int) -> str:
        entry = self.entries[item]
        unpacked = self._unpacked
        if unpacked is None or (unpacked.shard, unpacked.process) != (entry.shard, os.getpid()):
            unpacked = self._unpack(str(entry.shard))
        path = unpacked.folder / os.path.basename(entry.path)
        if not path.exists():
            raise MediaError(entry.path, Fault.MISSING, f"its shard {unpacked.lacks}")
        return str(path)

    def _peers(self, item: int) -> np.ndarray:
        return self._members[str(self.entries[item].shard)]

    def _unpack(self, shard: str) -> _Unpacked:
        """Write the files of a shard into a folder of their own, in the place of the last one."""
        self._readers.clear()
        if self._unpacked is not None:
            _remove(str(self._unpacked.folder), self._unpacked.process)
            self._unpacked = None
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        names = {os.path.basename(self.entries[item].path) for item in self._members[shard]}
        lacks = "does not hold it"
        try:
            for name, data in _contents(shard):
                if name in names:  # which also keeps names such as ../x from being written
                    (folder / name).write_bytes(data)
        except _DamagedShardError as error:  # what came before the damage can be used
            lacks = f"cannot be read so far: {error}"
        self._unpacked = _Unpacked(shard, os.getpid(), folder, lacks)
        return self._unpacked

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_unpacked": None}


class ShardBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, item) keys for `ShardClipDataset`, each made of media of one shard.

    Which clips make a batch is a function of (seed, epoch, shard) and the batch size. In which
    order batches come, and which wait for another epoch, depends also on the number of ranks and
    of workers: each worker has its own stretch of the shuffled list of shards, to unpack each once.

    Args:
        entries: the media.
        batch_size: items in a batch of one rank.
        seed: of the whole run.
        rank: of this process.
        world_size: number of processes.
        workers: of each process's data loader.

    Raises:
        ValueError: an argument is out of its range, or there are fewer batches than workers.
    """

    def __init__(
        self,
        entries: MediaTable,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        self._media_ids = entries.media_ids
        members = _members(entries)
        self._members = list(members.values())
        names = [shard.rpartition("/")[2] for shard in members]  # which stay when shards move
        self._shard_ids = np.array([media_id(name) for name in names], np.int64)
        self._batch_size, self._seed = batch_size, seed
        self.n_lanes = max(1, workers)  # of this rank
        self._first_lane = rank * self.n_lanes
        n_batches = sum(len(members) // batch_size for members in self._members)
        self._lane_length = n_batches // (world_size * self.n_lanes)
        if self._lane_length == 0:
            raise ValueError(
                f"batch_size is {batch_size}, of which {len(members)} shards hold {n_batches} "
                f"batches, expected at least one for each of {world_size * self.n_lanes} workers"
            )
        self.set_epoch(0)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """As `ClipBatchSampler.set_epoch`."""
        if not 0 <= first_batch <= len(self):
            raise ValueError(f"first_batch must be in [0, {len(self)}], got {first_batch}")
        self._epoch, self._first_batch = epoch, first_batch

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._lane_length * self.n_lanes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first_batch = self._epoch, self._first_batch
        self._first_batch = 0
        batches = list(self._all_batches(epoch))
        for number in range(first_batch, len(self)):
            # The data loader gives batches to its workers in turn: one lane for each.
            place, lane = divmod(number, self.n_lanes)
            batch = batches[(self._first_lane + lane) * self._lane_length + place]
            yield [(epoch, item) for item in batch.tolist()]

    def _all_batches(self, epoch: int) -> Iterator[np.ndarray]:
        """Batches of all shards, shard by shard in the shuffled order of the epoch."""
        for shard in np.argsort(hash64(_SHARDS, self._seed, epoch, self._shard_ids), kind="stable"):
            members = self._members[shard]
            ids = self._media_ids[members]
            order = np.lexsort((ids, hash64(_WITHIN, self._seed, epoch, ids)))
            n_batches = len(members) // self._batch_size
            chosen = members[order[: n_batches * self._batch_size]]
            yield from chosen.reshape(n_batches, self._batch_size)


class _DamagedShardError(ValueError):
    """A shard is not there, or cannot be read to its end."""


def _members(entries: MediaTable) -> dict[str, np.ndarray]:
    """Items of each shard that has any, ascending."""
    order = np.argsort(entries.shard_of, kind="stable")
    counts = np.bincount(entries.shard_of, minlength=len(entries.shards))
    parts = zip(entries.shards, np.split(order, np.cumsum(counts)[:-1]), strict=True)
    return {shard: items for shard, items in parts if len(items)}


def _contents(shard: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a tar file, as they come."""
    try:
        for sample in _webdataset().tariterators.tarfile_samples([{"url": shard}]):
            for suffix, data in sample.items():
                if not suffix.startswith("__"):
                    yield f"{sample['__key__']}.{suffix}", data
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        # The library adds what it was reading, more than once, to what the error says.
        reason = getattr(error, "strerror", None) or str(error.args[0]).partition(" @ ")[0]
        raise _DamagedShardError(reason) from None


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError:
        message = "shards need the webdataset library: pip install 'avts-ext[shards]'"
        raise ModuleNotFoundError(message) from None
    return webdataset


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked worker that ends
        shutil.rmtree(folder, ignore_errors=True)
