"""Losses as modules, for training loops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avts_ext.ops.sync_loss import (
    Mining,
    Objective,
    check_options,
    check_temperature,
    check_times,
    kind_bits,
    sync_contrastive_loss,
)


class SyncContrastiveLoss(nn.Module):
    """Pulls together video and audio of the same window, pushes apart what is out of step.

    The equations and the kinds of negatives are those of
    :func:`avts_ext.ops.sync_loss.sync_contrastive_loss`. Restricting ``negatives`` to ``("easy",)``
    first and admitting ``"hard"`` later is the curriculum of Korbar et al. (2018).

    Args:
        objective: "margin" (Euclidean distance) or "infonce" (inner product over temperature).
        mining: "hardest" or "all" negatives of the margin objective; InfoNCE takes all.
        margin: distance beyond which a negative costs nothing.
        temperature: of InfoNCE; the initial one if it is learned.
        learn_temperature: make ``log_temperature`` a parameter.
        negatives: admissible kinds, of "easy", "hard", "super_hard".
        clip_s: length of the windows in seconds.
        min_gap_s: least gap between the windows of a hard negative, in seconds.
        min_offset_s: least distance of the starts of a super-hard negative, in seconds.

    Raises:
        ValueError: an option has a value that makes no sense.

    Example:
        >>> import torch
        >>> from avts_ext.losses import SyncContrastiveLoss
        >>> loss = SyncContrastiveLoss(objective="margin", mining="hardest")
        >>> video = torch.eye(4, requires_grad=True)
        >>> loss(video, torch.eye(4)).item()  # in step, and others are sqrt(2) apart
        0.0
        >>> loss(video, video.new_zeros(4, 4)).item()  # every pair at distance 1
        0.5
    """

    def __init__(
        self,
        objective: Objective = "margin",
        mining: Mining = "hardest",
        margin: float = 0.99,
        temperature: float = 0.07,
        *,
        learn_temperature: bool = False,
        negatives: Sequence[str] = ("easy", "hard", "super_hard"),
        clip_s: float = 1.0,
        min_gap_s: float = 0.5,
        min_offset_s: float = 0.25,
    ) -> None:
        super().__init__()
        check_options(objective, mining, margin)
        check_temperature(temperature)
        check_times(clip_s, min_gap_s, min_offset_s)
        kind_bits(negatives)
        if learn_temperature and objective != "infonce":
            raise ValueError("learn_temperature is True, expected False unless objective='infonce'")
        self.objective, self.mining, self.margin = objective, mining, margin
        self.negatives = tuple(negatives)
        self.clip_s, self.min_gap_s, self.min_offset_s = clip_s, min_gap_s, min_offset_s
        self.temperature = temperature
        self.log_temperature = (
            nn.Parameter(torch.tensor(math.log(temperature))) if learn_temperature else None
        )

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        video_ids: Tensor | None = None,
        audio_ids: Tensor | None = None,
        video_start_s: Tensor | None = None,
        audio_start_s: Tensor | None = None,
    ) -> Tensor:
        """The loss of (N, D) video and (M, D) audio embeddings.

        Args:
            video: (N, D) floating-point embeddings.
            audio: (M, D) embeddings of the same dtype.
            video_ids: (N,) int64 medium of each row; None: row i of both sides belongs together.
            audio_ids: (M,) int64, likewise.
            video_start_s: (N,) window starts in seconds; None: zero.
            audio_start_s: (M,) likewise.

        Returns:
            The loss, 0-dimensional.
        """
        learned = self.log_temperature
        return sync_contrastive_loss(
            video,
            audio,
            video_ids=video_ids,
            audio_ids=audio_ids,
            video_start_s=video_start_s,
            audio_start_s=audio_start_s,
            clip_s=self.clip_s,
            min_gap_s=self.min_gap_s,
            min_offset_s=self.min_offset_s,
            objective=self.objective,
            mining=self.mining,
            negatives=self.negatives,
            margin=self.margin,
            temperature=self.temperature if learned is None else learned.exp(),
        )

    def extra_repr(self) -> str:
        """The options that decide what is computed."""
        if self.objective == "infonce":
            learned = self.log_temperature is not None
            return f"objective='infonce', temperature={self.temperature}, learned={learned}"
        return f"objective='margin', mining={self.mining!r}, margin={self.margin}"
