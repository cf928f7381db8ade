"""Losses as modules, and what brings more rows into their batch: a queue, other processes."""

from avts_ext.losses.contrastive import SyncContrastiveLoss
from avts_ext.losses.distributed import gather_batch
from avts_ext.losses.memory_queue import MemoryQueue

__all__ = ["MemoryQueue", "SyncContrastiveLoss", "gather_batch"]
