"""Pretraining of the two towers on synchrony."""

from avts_ext.training.config import PretrainConfig
from avts_ext.training.loop import PretrainResult, pretrain

__all__ = ["PretrainConfig", "PretrainResult", "pretrain"]
