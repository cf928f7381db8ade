"""The sync loss as a module, with what it learns."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from avts_ext.ops.sync_loss import sync_contrastive_loss
from avts_ext.ops.sync_options import Objective, SyncLossOptions


class SyncContrastiveLoss(nn.Module):
    """Pulls together video and audio of the same window, pushes apart what is out of step.

    The equations and the kinds of negatives are those of
    :func:`avts_ext.ops.sync_loss.sync_contrastive_loss`. Restricting ``negatives`` to ``("easy",)``
    first and admitting ``"hard"`` later is the curriculum of Korbar et al. (2018).

    Args:
        objective: "margin", "triplet", "infonce" or "sigmoid".
        learn_temperature: make ``log_temperature`` a parameter, of InfoNCE or sigmoid.
        learn_bias: make ``bias`` a parameter, of sigmoid.
        options: those of :class:`avts_ext.ops.sync_options.SyncLossOptions`; the temperature and
            the bias are the initial ones if they are learned.

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
        *,
        learn_temperature: bool = False,
        learn_bias: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.options = SyncLossOptions(objective, **options)
        if learn_temperature and self.options.by_distance:
            expected = "False unless objective is 'infonce' or 'sigmoid'"
            raise ValueError(f"learn_temperature is True, expected {expected}")
        if learn_bias and objective != "sigmoid":
            raise ValueError("learn_bias is True, expected False unless objective='sigmoid'")
        temperature, bias = float(self.options.temperature), float(self.options.bias)
        self.log_temperature = (
            nn.Parameter(torch.tensor(math.log(temperature))) if learn_temperature else None
        )
        self.bias = nn.Parameter(torch.tensor(bias)) if learn_bias else None

    def forward(
        self, video: Tensor, audio: Tensor, *windows: Tensor | None, **named: Any
    ) -> Tensor:
        """The loss of (N, D) video and (M, D) audio embeddings.

        Args:
            video: (N, D) floating-point embeddings.
            audio: (M, D) embeddings of the same dtype.
            windows: media, window starts, groups and silence of the rows, by position or by name
                as :func:`avts_ext.ops.sync_loss.sync_contrastive_loss` takes them. Without any,
                row i of both sides belongs together and with no other.
            named: likewise; and options that differ in this call, such as the ``negatives`` of a
                curriculum.

        Returns:
            The loss, 0-dimensional.
        """
        options: dict[str, Any] = {
            field.name: getattr(self.options, field.name)
            for field in dataclasses.fields(self.options)
        }
        if self.log_temperature is not None:
            options["temperature"] = self.log_temperature.exp()
        if self.bias is not None:
            options["bias"] = self.bias
        return sync_contrastive_loss(video, audio, *windows, **(options | named))

    def extra_repr(self) -> str:
        """The options that are not at their default."""
        default = SyncLossOptions()
        changed = {
            field.name: getattr(self.options, field.name)
            for field in dataclasses.fields(default)
            if getattr(self.options, field.name) != getattr(default, field.name)
        }
        return ", ".join(f"{name}={value!r}" for name, value in changed.items())
