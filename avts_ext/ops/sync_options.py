"""What the sync losses can be told: checked once, listed once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from avts_ext.ops.clip_offset import PairKind

Objective = Literal["margin", "triplet", "infonce", "sigmoid"]
Mining = Literal["all", "hardest", "semi_hard", "distance_weighted"]
Hinge = Literal["squared", "plain"]
Anchors = Literal["both", "video", "audio"]
Embeddings = Literal["raw", "l2", "half"]

OBJECTIVES: tuple[str, ...] = ("margin", "triplet", "infonce", "sigmoid")
MININGS: tuple[str, ...] = ("all", "hardest", "semi_hard", "distance_weighted")
NEGATIVES = {"easy": PairKind.EASY, "hard": PairKind.HARD, "super_hard": PairKind.SUPER_HARD}


@dataclass(frozen=True)
class SyncLossOptions:
    """Options of the losses over all pairs of a batch.

    Attributes:
        objective: "margin" and "triplet" (Euclidean distance), "infonce" and "sigmoid" (inner
            product over temperature).
        mining: which negatives of a row are terms: "all"; "hardest", the ``k`` nearest;
            "semi_hard", the ``k`` nearest of those farther than the row's farthest positive;
            "distance_weighted", ``k`` drawn so that all distances on the unit sphere are equally
            likely (Wu et al., ICCV 2017; for embeddings of unit length). InfoNCE and sigmoid take
            all. From random weights "hardest" leads to collapse: begin with another rule.
        k: negatives mined per row.
        anchors: whose rows have negatives: "both", "video" or "audio". Sigmoid ignores it.
        negatives: admissible kinds, of "easy", "hard", "super_hard"; as a mapping, with what terms
            of each kind are multiplied by (of InfoNCE, their exponentials). Others are ignored.
        hinge: "squared" or "plain", of margin and triplet.
        margin: of margin, the distance beyond which a negative costs nothing; of triplet, how much
            farther than the positive that is.
        temperature: what inner products are divided by; a 0-dimensional tensor can be learned.
        bias: of sigmoid, added to the logits; a 0-dimensional tensor can be learned.
        embeddings: "raw" as they are, "l2" scaled to length 1, "half" to length 1/2.
        clip_s: length of the windows in seconds.
        min_gap_s: least gap between the windows of a hard negative, in seconds.
        min_offset_s: least distance of the starts of a super-hard negative, in seconds.
        seed: of "distance_weighted", at least 0 and below 2^63; another one draws others.

    Raises:
        ValueError: an option has a value that makes no sense.
    """

    objective: Objective = "margin"
    mining: Mining = "all"
    k: int = 1
    anchors: Anchors = "both"
    negatives: Sequence[str] | Mapping[str, float] = ("easy", "hard", "super_hard")
    hinge: Hinge = "squared"
    margin: float = 0.99
    temperature: float | Tensor = 0.07
    bias: float | Tensor = 0.0
    embeddings: Embeddings = "raw"
    clip_s: float = 1.0
    min_gap_s: float = 0.5
    min_offset_s: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("objective", self.objective, OBJECTIVES)
        _check_choice("mining", self.mining, MININGS)
        _check_choice("anchors", self.anchors, ("both", "video", "audio"))
        _check_choice("hinge", self.hinge, ("squared", "plain"))
        _check_choice("embeddings", self.embeddings, ("raw", "l2", "half"))
        if self.mines and not self.by_distance:
            expected = f"'all' for objective={self.objective!r}"
            raise ValueError(f"mining is {self.mining!r}, expected {expected}")
        if not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"k is {self.k!r}, expected a whole number from 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}, expected a whole number in [0, 2^63)")
        check_positive("margin", self.margin)
        _check_scalar("temperature", self.temperature)
        _check_scalar("bias", self.bias)
        if not isinstance(self.temperature, Tensor):
            check_positive("temperature", self.temperature)
        if not isinstance(self.bias, Tensor) and not math.isfinite(self.bias):
            raise ValueError(f"bias is {self.bias}, expected a finite number")
        check_positive("clip_s", self.clip_s)
        check_positive("min_offset_s", self.min_offset_s)
        if not 0 <= self.min_gap_s < math.inf:
            raise ValueError(f"min_gap_s is {self.min_gap_s}, expected 0 or more seconds")
        self._check_negatives()

    def _check_negatives(self) -> None:
        found = self.negatives
        if isinstance(found, str) or not found or not set(found) <= set(NEGATIVES):
            raise ValueError(f"negatives is {found!r}, expected some of {sorted(NEGATIVES)}")
        for kind, weight in zip(NEGATIVES, self.kind_weights, strict=True):
            if kind in found and not 0 < weight < math.inf:
                raise ValueError(f"negatives[{kind!r}] is {weight}, expected a positive number")

    @property
    def by_distance(self) -> bool:
        """Whether the objective is of Euclidean distances rather than of inner products."""
        return self.objective in ("margin", "triplet")

    @property
    def mines(self) -> bool:
        """Whether each row has its own few negatives."""
        return self.mining != "all"

    @property
    def kind_weights(self) -> list[float]:
        """What terms of easy, hard and super-hard negatives are multiplied by; 0: not admitted."""
        if isinstance(self.negatives, Mapping):
            return [float(self.negatives.get(kind, 0)) for kind in NEGATIVES]
        return [float(kind in self.negatives) for kind in NEGATIVES]


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless the value is a positive finite number."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}, expected a positive number")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {choices}")


def _check_scalar(name: str, value: float | Tensor) -> None:
    if isinstance(value, Tensor) and value.ndim != 0:
        raise ValueError(f"{name} is of shape {tuple(value.shape)}, expected ()")
