"""Where in the picture the sound comes from: maps, controls, scores, pictures."""

from avts_ext.localization.cam import audio_cam, grad_cam
from avts_ext.localization.hearing import HeardMap, hear
from avts_ext.localization.readout import SoundMaps, locate, locate_sources

__all__ = [
    "HeardMap",
    "SoundMaps",
    "audio_cam",
    "grad_cam",
    "hear",
    "locate",
    "locate_sources",
]
