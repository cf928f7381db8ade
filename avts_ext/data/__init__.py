"""Media files, clips on one clock, and the data set made of them."""

from avts_ext.data.clips import Clip, ClipSource, ClipSpec
from avts_ext.data.faults import Fault, MediaError, SkipReport, TooManyBrokenFilesError
from avts_ext.data.media import MediaReader
from avts_ext.data.probe import MediaInfo, probe

__all__ = [
    "Clip",
    "ClipSource",
    "ClipSpec",
    "Fault",
    "MediaError",
    "MediaInfo",
    "MediaReader",
    "SkipReport",
    "TooManyBrokenFilesError",
    "probe",
]
