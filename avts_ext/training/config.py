"""Everything a pretraining run can be told, checked before any work starts."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from avts_ext._files import write_atomically
from avts_ext.models.avts import AVTSConfig
from avts_ext.training.curriculum import Stage, check_stages

register_type(
    Fraction,
    serializer=str,
    deserializer=Fraction,
    deserializer_exceptions=(ValueError, TypeError, ZeroDivisionError),
    fail_already_registered=False,
)


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are varied.

    Attributes:
        root: manifest that `avts index` or `avts shards` made; or a folder, which one process alone
            examines first, into manifest.parquet in its `out_dir`.
        split: of a manifest, the split to train on, such as "train"; all of it by default.
        max_files: use only the first so many usable files, in the order of their paths.
        cache_dir: folder in which decoded media are kept; without one, files are decoded each time.
        workers: processes that read clips; 0 reads them in the training process.
        min_gap_s: least distance, edge to edge, between a clip and its hard negative.
        gain_std_db: standard deviation of a random gain on every stretch of sound.
        flip: mirror half of the clips left to right.
        max_broken_files: the run ends when more files than this turn out to be broken. Those that
            a manifest calls so are left out and do not count, but those of a folder do.
        validation_share: share of the files that are not trained on but measured after each epoch,
            to choose the best model by. A file's side follows from its path below `root` alone.
    """

    root: str = ""
    split: str | None = None
    max_files: int | None = None
    cache_dir: str | None = None
    workers: int = 0
    min_gap_s: float = 0.5
    gain_std_db: float = 1.3
    flip: bool = True
    max_broken_files: int = 100
    validation_share: float = 0.0

    def __post_init__(self) -> None:
        _check_at_least(self, 0, "workers", "min_gap_s", "gain_std_db", "max_broken_files")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share must be in [0, 1), got {self.validation_share}")
        if self.max_files is not None:
            _check_at_least(self, 1, "max_files")


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes:
        objective: "pairs" (margin loss of each clip's positive and its one negative), "mined"
            (margin loss with semi-hard negatives of the batch) or "infonce".
        margin: distance at which a negative pair costs nothing; for "pairs" and "mined".
        temperature: of the softmax over the batch; for "infonce".
        gather: whether a clip's negatives are sought among those of all processes rather than of
            its own; for "mined" and "infonce".
    """

    objective: str = "pairs"
    margin: float = 1.0
    temperature: float = 0.07
    gather: bool = False

    def __post_init__(self) -> None:
        _check_choice(self, "objective", ("pairs", "mined", "infonce"))
        _check_positive(self, "margin", "temperature")
        if self.gather and self.objective == "pairs":
            raise ValueError(
                "gather must be false for objective 'pairs', whose negatives are drawn with the "
                "clips, got true"
            )


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights follow the gradient.

    Attributes:
        name: "adamw" or "sgd" (Nesterov momentum).
        lr: learning rate after warm-up.
        weight_decay: of all weights.
        momentum: of "sgd".
        clip_grad: greatest length of the gradient; longer ones are shortened to it.
    """

    name: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    clip_grad: float = 1.0

    def __post_init__(self) -> None:
        _check_choice(self, "name", ("adamw", "sgd"))
        _check_positive(self, "lr", "clip_grad")
        _check_at_least(self, 0, "weight_decay", "momentum")


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes.

    Attributes:
        name: "cosine" (to zero at the end) or "plateau" (falls when the loss no longer does).
        warmup_steps: steps over which the learning rate rises from zero.
        patience: epochs without a lower loss before the learning rate falls; for "plateau".
        factor: what it is then multiplied by; for "plateau".
    """

    name: str = "cosine"
    warmup_steps: int = 20
    patience: int = 5
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_choice(self, "name", ("cosine", "plateau"))
        _check_at_least(self, 0, "warmup_steps")
        _check_at_least(self, 1, "patience")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be between 0 and 1, got {self.factor}")


@dataclass(frozen=True)
class RunConfig:
    """Length of the run, and what it leaves behind.

    Attributes:
        out_dir: folder for checkpoints and metrics.
        epochs: passes over the media, one clip of each per pass.
        batch_size: clips in a batch, shared by the processes that torchrun started, if any.
        seed: of everything random.
        device: as torch names it, such as "cpu" or "cuda".
        threads: compute threads; two spinning beside another busy process can be slower than one.
        keep_every: models after every so many epochs are kept, beside the untrained one and the
            last; 0 keeps none but those.
        resume: go on with the run found in `out_dir`, if any; otherwise finding one is an error.
    """

    out_dir: str = ""
    epochs: int = 36
    batch_size: int = 32
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    keep_every: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        _check_at_least(self, 1, "epochs", "threads")
        _check_at_least(self, 2, "batch_size")
        _check_at_least(self, 0, "keep_every", "seed")


@dataclass(frozen=True)
class PretrainConfig:
    """A pretraining run.

    Attributes:
        data: where clips come from.
        model: the two towers and the shape of their input.
        curriculum: which negatives are used when.
        loss: what is minimised.
        optimizer: how weights follow the gradient.
        schedule: how the learning rate changes.
        run: length of the run and what it leaves behind.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: AVTSConfig = field(default_factory=AVTSConfig)
    curriculum: tuple[Stage, ...] = (Stage(),)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        for group, name in (("data", "root"), ("run", "out_dir")):
            if not getattr(getattr(self, group), name):
                raise ValueError(f"{group}.{name} must be given")
        check_stages(self.curriculum)
        if self.curriculum[-1].first_epoch >= self.run.epochs:
            raise ValueError(
                f"curriculum must begin its last stage before run.epochs = {self.run.epochs}, "
                f"got first_epoch {self.curriculum[-1].first_epoch}"
            )
        farthest = 1.0 if self.model.normalization == "half_l2" else 2.0
        if self.model.normalization.endswith("l2") and self.loss.margin >= farthest:
            raise ValueError(
                f"loss.margin must be below {farthest}, the greatest distance of two embeddings "
                f"with normalization {self.model.normalization!r}, got {self.loss.margin}"
            )

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], *overrides: str) -> PretrainConfig:
        """The configuration in a YAML file, changed by overrides such as "--run.epochs=2".

        Raises:
            SystemExit: a key is unknown or a value of the wrong type; the message is printed.
            ValueError: values contradict one another.
        """
        parser = ArgumentParser()
        parser.add_argument("--config", action="config")
        parser.add_class_arguments(cls)
        parsed = parser.parse_args([f"--config={os.fspath(path)}", *overrides])
        values = parser.instantiate(parsed)
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})

    def plain(self) -> dict[str, Any]:
        """The same as nested dicts, lists, strings and numbers."""
        return _plain(dataclasses.asdict(self))

    def write_yaml(self, path: Path) -> None:
        """Write a file that `from_yaml` reads back as this configuration."""
        write_atomically(path, yaml.safe_dump(self.plain(), sort_keys=False).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Fraction) else value


def _check_choice(config: Any, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_at_least(config: Any, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(config, name)}")


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")
