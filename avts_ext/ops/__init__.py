"""The operators: stateless functions on tensors, registered with PyTorch's dispatcher."""

from avts_ext.ops import _cuda  # noqa: F401, registers kernels
from avts_ext.ops.clip_offset import ClipOffsets, ClipStarts, PairKind, sample_clip_offsets
from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.sync_diagnostics import SyncDiagnostics
from avts_ext.ops.sync_loss import (
    MinedNegatives,
    mine_hardest_negatives,
    mine_negatives,
    sync_contrastive_loss,
    sync_loss_with_diagnostics,
    sync_pair_loss,
)
from avts_ext.ops.sync_options import SyncLossOptions

__all__ = [
    "ClipOffsets",
    "ClipStarts",
    "MinedNegatives",
    "PairKind",
    "SyncDiagnostics",
    "SyncLossOptions",
    "log_mel_spectrogram",
    "mine_hardest_negatives",
    "mine_negatives",
    "sample_clip_offsets",
    "sync_contrastive_loss",
    "sync_loss_with_diagnostics",
    "sync_pair_loss",
]
