"""The verb `pretrain`: the groups of `PretrainConfig` as options, or from a YAML file."""

from __future__ import annotations

from avts_ext import training
from avts_ext.models.avts import AVTSConfig
from avts_ext.training.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PretrainConfig,
    RunConfig,
    ScheduleConfig,
)
from avts_ext.training.curriculum import Stage


def pretrain(
    data: DataConfig,
    run: RunConfig,
    model: AVTSConfig = AVTSConfig(),  # noqa: B008 (frozen)
    curriculum: tuple[Stage, ...] = (Stage(),),
    loss: LossConfig = LossConfig(),  # noqa: B008
    optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
    schedule: ScheduleConfig = ScheduleConfig(),  # noqa: B008
) -> None:
    """Train the two towers on the synchrony of videos, from their manifest.

    Several processes train one model with `torchrun --nproc-per-node N -m avts_ext.cli pretrain`
    and the same options; they share each batch.

    Args:
        data: where clips come from.
        run: length of the run and what it leaves behind.
        model: the two towers and the shape of their input.
        curriculum: which negatives are used when.
        loss: what is minimised.
        optimizer: how weights follow the gradient.
        schedule: how the learning rate changes.
    """
    config = PretrainConfig(data, model, curriculum, loss, optimizer, schedule, run)
    if training.pretrain(config).interrupted:
        raise KeyboardInterrupt("interrupted; the same command with --run.resume=true goes on")
