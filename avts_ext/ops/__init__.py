"""The operators: stateless functions on tensors, registered with PyTorch's dispatcher."""

from avts_ext.ops.clip_offset import ClipOffsets, PairKind, sample_clip_offsets

__all__ = ["ClipOffsets", "PairKind", "sample_clip_offsets"]
