"""What pretraining minimises, and how often a clip is nearer to its own sound."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from avts_ext.data import Batch
from avts_ext.losses import SyncContrastiveLoss, gather_batch
from avts_ext.ops.clip_offset import PairKind
from avts_ext.ops.sync_loss import sync_pair_loss
from avts_ext.training.config import PretrainConfig

Objective = Callable[[Tensor, Tensor, Batch], Tensor]


def make_objective(config: PretrainConfig) -> Objective:
    """Function of video (B, D), audio (B + H, D) and the batch they come from to a scalar loss."""
    loss, clip_s = config.loss, config.model.clip.duration_s
    if loss.objective == "pairs":
        return lambda video, audio, batch: sync_pair_loss(
            video, audio, *explicit_pairs(batch.negative_row), margin=loss.margin
        )
    if loss.objective == "mined":
        in_batch = SyncContrastiveLoss(
            objective="margin",
            mining="semi_hard",  # from random weights the hardest negatives lead to collapse
            margin=loss.margin,
            clip_s=clip_s,
            min_gap_s=config.data.min_gap_s,
        )
    else:
        in_batch = SyncContrastiveLoss(
            objective="infonce",
            mining="all",
            temperature=loss.temperature,
            clip_s=clip_s,
            min_gap_s=config.data.min_gap_s,
        )
    rows_of_batch: Callable[..., dict[str, Tensor | None]] = gather_batch if loss.gather else dict
    return lambda video, audio, batch: in_batch(
        **rows_of_batch(
            video=video,
            audio=audio,
            video_ids=batch.video_ids,
            audio_ids=batch.audio_ids,
            video_start_s=batch.video_start_s,
            audio_start_s=batch.audio_start_s,
        )
    )


def explicit_pairs(negative_row: Tensor) -> tuple[Tensor, Tensor]:
    """Each clip's positive and its one negative, half and half as in the paper.

    Args:
        negative_row: (B,) int64, row of the audio that is the negative of each clip.

    Returns:
        Pairs (2B, 2) int64 of video and audio rows, and labels (2B,) int64: 1 for a positive.
    """
    rows = torch.arange(len(negative_row), device=negative_row.device)
    pairs = torch.cat([torch.stack([rows, rows], 1), torch.stack([rows, negative_row], 1)])
    return pairs, torch.cat([torch.ones_like(rows), torch.zeros_like(rows)])


@torch.no_grad()
def pair_counts(video: Tensor, audio: Tensor, batch: Batch) -> dict[str, float]:
    """Clips nearer to their own sound than to their negative, and all, by kind of negative.

    With the sums of both distances over all clips.
    """
    own = (video - audio[: len(video)]).norm(dim=1)
    other = (video - audio[batch.negative_row]).norm(dim=1)
    right = own < other
    counts = {"right": float(right.sum()), "pairs": float(len(video))}
    counts |= {"positive_distance": float(own.sum()), "negative_distance": float(other.sum())}
    for kind in (PairKind.EASY, PairKind.HARD, PairKind.SUPER_HARD):
        of_kind = batch.kinds == int(kind)
        counts[f"right_{kind.name.lower()}"] = float((right & of_kind).sum())
        counts[f"pairs_{kind.name.lower()}"] = float(of_kind.sum())
    return counts
