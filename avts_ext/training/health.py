"""Telling early that a run learns nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from avts_ext.training.config import LossConfig

_NEAR_CHANCE, _LEAST_GAP = 0.1, 0.01  # shares of the chance loss and of the distance of negatives


def collapse_warning(metrics: Mapping[str, Any], loss: LossConfig, batch_size: int) -> str | None:
    """One line if embeddings have collapsed, else None.

    Embeddings that no longer depend on their input are all equally far apart. The margin loss then
    rests where that costs least, at distance margin / 2 and loss margin**2 / 4 (Korbar et al. 2018
    with half of the pairs negative); InfoNCE at the logarithm of the number of candidates.

    Args:
        metrics: of an epoch, with "loss", "positive_distance" and "negative_distance".
        loss: what was minimised.
        batch_size: clips among which one is told from the others.
    """
    chance = math.log(batch_size) if loss.objective == "infonce" else loss.margin**2 / 4
    positive, negative = metrics["positive_distance"], metrics["negative_distance"]
    if abs(metrics["loss"] - chance) > _NEAR_CHANCE * chance:
        return None
    if negative - positive > _LEAST_GAP * negative:
        return None
    return (
        f"the embeddings have collapsed: a clip is as far from its own sound ({positive:.3f}) as "
        f"from its negative ({negative:.3f}), and the loss {metrics['loss']:.3f} is that of chance "
        f"({chance:.3f}). A smaller learning rate, another loss.objective or model.normalization, "
        "or an easier first stage of the curriculum may help."
    )
