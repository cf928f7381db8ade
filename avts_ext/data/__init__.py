"""Media files, clips on one clock, and the data set made of them."""

from avts_ext.data.cache import CachedReader, CacheError
from avts_ext.data.clips import Clip, ClipSpec
from avts_ext.data.dataset import Batch, SyncClipDataset, SyncItem, collate
from avts_ext.data.entries import MediaEntry, MediaTable
from avts_ext.data.faults import Fault, MediaError, SkipReport, TooManyBrokenFilesError
from avts_ext.data.index import open_index
from avts_ext.data.loader import ClipLoader
from avts_ext.data.manifest import Manifest, ManifestRow, read_manifest, write_manifest
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import MediaInfo, probe
from avts_ext.data.sampler import ClipBatchSampler
from avts_ext.data.scan import manifest_of, scan_folder
from avts_ext.data.source import ClipSource

__all__ = [
    "Batch",
    "CacheError",
    "CachedReader",
    "Clip",
    "ClipBatchSampler",
    "ClipLoader",
    "ClipSource",
    "ClipSpec",
    "Fault",
    "Manifest",
    "ManifestRow",
    "MediaEntry",
    "MediaError",
    "MediaInfo",
    "MediaReader",
    "MediaTable",
    "SkipReport",
    "SyncClipDataset",
    "SyncItem",
    "TooManyBrokenFilesError",
    "collate",
    "manifest_of",
    "open_index",
    "probe",
    "read_manifest",
    "scan_folder",
    "write_manifest",
]
