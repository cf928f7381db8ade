"""A queue of past rows that serve as further negatives (cross-batch memory)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avts_ext.losses.contrastive import SyncContrastiveLoss


class MemoryQueue(nn.Module):
    """A sync loss whose anchors, the rows of the batch, also meet the latest rows of past batches.

    As in cross-batch memory (Wang et al., CVPR 2020), with a queue for each modality. With [x; y]
    for rows of the batch followed by those of its queue, from the oldest to the newest, the loss is
    half of each of::

        loss(video, [audio; queued audio], anchors="video")
        loss([video; queued video], audio, anchors="audio")

    or, where the loss has only one side's anchors, that side's line alone. Each is what the
    inner loss says, and in it a queued row is a row like any other: pairs with it have a kind by
    their media and starts, also the positive one. No gradient goes to queued rows. With empty
    queues and as many video as audio rows the result is the loss of the batch.

    After its loss has been computed, and only in training mode, the batch takes the place of the
    oldest rows. Silent rows, and rows that are not finite, do not enter. The queues are buffers:
    they are saved in ``state_dict``, follow ``.to`` and hold rows in the dtype of the module.

    With several processes gather first: ``queue(**gather_batch(video, audio, ...))`` keeps the rows
    of all processes in each, and the queues alike.

    Args:
        loss: what is computed.
        capacity: rows kept of each modality.
        dim: D of the embeddings.

    Raises:
        ValueError: capacity or dim is not a whole number from 1.

    Example:
        >>> import torch
        >>> from avts_ext.losses import MemoryQueue, SyncContrastiveLoss
        >>> queue = MemoryQueue(SyncContrastiveLoss("infonce"), capacity=1024, dim=4)
        >>> rows = torch.arange(8)
        >>> for ids in rows.split(4):
        ...     loss = queue(torch.eye(4), torch.eye(4), video_ids=ids, audio_ids=ids)
        >>> len(queue.video)
        8
    """

    def __init__(self, loss: SyncContrastiveLoss, capacity: int, dim: int) -> None:
        super().__init__()
        for name, value in (("capacity", capacity), ("dim", dim)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number from 1")
        self.loss = loss
        self.video, self.audio = _Queue(capacity, dim), _Queue(capacity, dim)

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        *,
        video_ids: Tensor,
        audio_ids: Tensor,
        video_start_s: Tensor | None = None,
        audio_start_s: Tensor | None = None,
        video_groups: Tensor | None = None,
        audio_groups: Tensor | None = None,
        audio_silent: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """The loss of a batch, whose rows are then kept.

        Args:
            video: (N, D) floating-point embeddings.
            audio: (M, D) embeddings of the same dtype.
            video_ids: (N,) int64 medium of each row; between batches the row's number says nothing.
            audio_ids: (M,) likewise.
            video_start_s: (N,) window starts in seconds; None: zero.
            audio_start_s: (M,) likewise.
            video_groups: (N,) int64, see :func:`avts_ext.ops.sync_loss.sync_contrastive_loss`; None
                for this batch ignores those of queued rows.
            audio_groups: (M,) likewise.
            audio_silent: (M,) bool, likewise.
            options: those of the loss that differ in this call.

        Returns:
            The loss, 0-dimensional.

        Raises:
            ValueError: an argument has a wrong shape, dtype or value.
        """
        batch_video = _Rows(video, video_ids, _starts(video_start_s, video), video_groups)
        batch_audio = _Rows(audio, audio_ids, _starts(audio_start_s, audio), audio_groups)
        all_video = self.video.behind("video", batch_video)
        all_audio = self.audio.behind("audio", batch_audio)
        silent = (
            audio.new_zeros(len(audio), dtype=torch.bool) if audio_silent is None else audio_silent
        )
        queued_silent = silent.new_zeros(len(all_audio.rows) - len(audio))
        anchors = options.pop("anchors", self.loss.options.anchors)
        losses = []
        if anchors != "audio":
            everyone = torch.cat([silent, queued_silent])
            losses.append(self._loss(batch_video, all_audio, everyone, "video", options))
        if anchors != "video":
            losses.append(self._loss(all_video, batch_audio, silent, "audio", options))
        if self.training:
            self.video.push(batch_video)
            self.audio.push(batch_audio, ~silent)
        return torch.stack(losses).mean()

    def _loss(
        self, video: _Rows, audio: _Rows, silent: Tensor, anchors: str, options: dict[str, Any]
    ) -> Tensor:
        rows = video.arguments("video") | audio.arguments("audio")
        loss: Tensor = self.loss(**rows, audio_silent=silent, anchors=anchors, **options)
        return loss


def _starts(starts_s: Tensor | None, rows: Tensor) -> Tensor:
    return rows.new_zeros(len(rows), dtype=torch.float64) if starts_s is None else starts_s.double()


class _Rows(NamedTuple):
    """Embeddings (rows, D), and of each row medium, window start and group."""

    rows: Tensor
    ids: Tensor
    start_s: Tensor
    groups: Tensor | None

    def arguments(self, side: str) -> dict[str, Any]:
        """As the loss names them."""
        names = (side, f"{side}_ids", f"{side}_start_s", f"{side}_groups")
        return dict(zip(names, self, strict=True))


class _Queue(nn.Module):
    """The latest rows of one modality: a ring, of which ``pushed`` rows have ever been written."""

    rows: Tensor
    ids: Tensor
    start_bits: Tensor
    groups: Tensor
    pushed: Tensor

    def __init__(self, capacity: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(capacity, dim))
        self.register_buffer("ids", torch.zeros(capacity, dtype=torch.int64))
        # The bits of a float64: a module that is cast to half precision must not round its clock.
        self.register_buffer("start_bits", torch.zeros(capacity, dtype=torch.int64))
        self.register_buffer("groups", torch.full((capacity,), -1))
        self.register_buffer("pushed", torch.tensor(0))

    def __len__(self) -> int:
        return min(int(self.pushed), len(self.rows))

    def behind(self, side: str, batch: _Rows) -> _Rows:
        """The rows of the batch and behind them those kept, the oldest first."""
        if batch.rows.ndim != 2 or batch.rows.shape[1] != self.rows.shape[1]:
            expected = f"(rows, {self.rows.shape[1]}), the dim of the queue"
            raise ValueError(f"{side} is of shape {tuple(batch.rows.shape)}, expected {expected}")
        count, oldest = len(self), int(self.pushed) % len(self.rows)
        order = torch.arange(count, device=self.rows.device)
        if count == len(self.rows):
            order = order.roll(-oldest)
        groups = batch.groups
        return _Rows(
            torch.cat([batch.rows, self.rows[order].to(batch.rows.dtype)]),
            torch.cat([batch.ids, self.ids[order]]),
            torch.cat([batch.start_s, self.start_bits[order].view(torch.float64)]),
            None if groups is None else torch.cat([groups, self.groups[order]]),
        )

    @torch.no_grad()
    def push(self, batch: _Rows, admitted: Tensor | None = None) -> None:
        """Keep the admitted rows that are finite, in the place of the oldest."""
        capacity, finite = len(self.rows), batch.rows.isfinite().all(1)
        (new,) = (finite if admitted is None else finite & admitted).nonzero(as_tuple=True)
        at = (self.pushed + torch.arange(len(new), device=new.device))[-capacity:] % capacity
        self.pushed += len(new)
        new = new[-capacity:]
        self.rows[at] = batch.rows[new].to(self.rows.dtype)
        self.ids[at] = batch.ids[new]
        self.start_bits[at] = batch.start_s[new].view(torch.int64)
        self.groups[at] = -1 if batch.groups is None else batch.groups[new]
