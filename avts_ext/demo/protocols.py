"""Protocol names in plain words, for readers who are not of the field."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["Plain", "in_plain_words"]


@dataclass(frozen=True)
class Plain:
    """What a protocol measures.

    Attributes:
        name: a few words.
        sentence: how it is measured; empty for a protocol that is not known here.
        group: "sync", "features", "place" or "other".
        qualifier: which scenes and moments, if the protocol tells.
    """

    name: str
    sentence: str
    group: str
    qualifier: str = ""

    @property
    def full_name(self) -> str:
        """Name and qualifier."""
        return f"{self.name} · {self.qualifier}" if self.qualifier else self.name


# The first entry all of whose words are in the protocol's name counts.
_KNOWN = {
    "sync super hard": Plain(
        "Sync, overlapping clips",
        "A second of picture and two sounds of the same video that overlap in time: which of the "
        "two belongs to the picture?",
        "sync",
    ),
    "sync hard": Plain(
        "Sync, same video",
        "A second of picture and two sounds of the same video, from different moments: which of "
        "the two belongs to the picture?",
        "sync",
    ),
    "sync easy": Plain(
        "Sync, other video",
        "A second of picture, its own sound and the sound of another video: which of the two "
        "belongs to the picture?",
        "sync",
    ),
    "sync": Plain(
        "Sync", "A second of picture and two sounds: which belongs to the picture?", "sync"
    ),
    "offset within": Plain(
        "Offset found",
        "How often is the shift between sound and picture found, to within the tolerance that the "
        "protocol names?",
        "sync",
    ),
    "offset": Plain(
        "Offset found",
        "How often the shift between sound and picture, which is zero, is found to within an "
        "eighth of a second.",
        "sync",
    ),
    "probe": Plain(
        "Kind of sound",
        "The audio network stays as it is; a linear classifier on top learns the kinds of sound "
        "from a few labelled examples and names those of other videos.",
        "features",
    ),
    "finetune": Plain(
        "Kind of object",
        "The video network learns the kinds of object from a few labelled examples and names "
        "those of other videos.",
        "features",
    ),
    "boxes iou": Plain(
        "Map overlap (IoU)",
        "Area shared by the highlighted region and the box of the sounding object, divided by "
        "the area of both together.",
        "place",
    ),
    "boxes silent": Plain(
        "Map on the silent object",
        "How often it lies in the box of the object that is not heard: low is good.",
        "place",
    ),
    "boxes": Plain(
        "Map on the heard object",
        "How often the map's highest point lies in the box of the object that is heard.",
        "place",
    ),
}
# Further words of a protocol's name, and how they are said after it.
_QUALIFIERS = {"solo": "solo", "duet": "duet", "event": "near events", "all": "all moments"}


def in_plain_words(protocol: str) -> Plain:
    """What a protocol such as "sync-hard/1" measures; one that is not known keeps its name."""
    words = set(re.findall("[a-z]+", protocol.lower()))
    for key, plain in _KNOWN.items():
        if words.issuperset(key.split()):
            qualifiers = [text for word, text in _QUALIFIERS.items() if word in words]
            return replace(plain, qualifier=", ".join(qualifiers))
    return Plain(protocol, "", "other")
