"""The folder of a run: models for use, and the one file from which training goes on exactly."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from avts_ext._files import write_atomically
from avts_ext.data.fingerprint import decode_fingerprint, decoder_changes
from avts_ext.models.avts import AVTS
from avts_ext.training.config import PretrainConfig
from avts_ext.training.ranks import Ranks
from avts_ext.training.schedule import Schedule

# What may differ when a run goes on: none of it changes what is computed.
_FREE = {
    "data": ("root", "cache_dir", "workers", "max_broken_files"),
    "run": ("out_dir", "keep_every", "resume"),
}


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: of the next step, counted from 0; equally the number of finished epochs.
        batch: of the next step within its epoch.
        sums: running sums of the metrics of an unfinished epoch.
        history: metrics of each finished epoch.
        media: `MediaTable.fingerprint` of the media that it trains on.
        lanes: in how many stretches the batches of a process come, see `ShardBatchSampler`.
        skipped: `SkipReport.plain` of the broken files found so far.
        n_reported: so many of them have been told to the user.
    """

    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    media: str = ""
    lanes: int = 1
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    n_reported: int = 0

    def step(self, n_batches: int) -> int:
        """Number of the next step, counted from 0 over the whole run."""
        return self.epoch * n_batches + self.batch

    def add_step(self, metrics: dict[str, float]) -> None:
        """Note a step that is done."""
        self.batch += 1
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def end_epoch(self, metrics: dict[str, Any]) -> None:
        """Note what an epoch came to."""
        self.history.append(metrics)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}


class RunFolder:
    """Files of one run, written by the first rank. Each is written whole or not at all.

    config.yaml, metrics.jsonl (a line per epoch), models `epoch_000.safetensors` (untrained) and
    so on, `best.safetensors`, `last.safetensors`, `resume.pt`, and TensorBoard's events; of media
    in a folder also their manifest.parquet.

    Args:
        config: of the run.
        ranks: the processes that train together.

    Raises:
        NotADirectoryError: the folder is a file.
        FileExistsError: the folder holds a run and the configuration does not ask to resume it.
        ValueError: it asks to, but differs from that run's configuration in what it computes or in
            the number of processes, or resume.pt is damaged.
    """

    def __init__(self, config: PretrainConfig, ranks: Ranks) -> None:
        self.path = Path(config.run.out_dir)
        self._config, self._ranks = config, ranks
        self._scalars: SummaryWriter | None = None
        self._resume_path = self.path / "resume.pt"
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(
                f"run.out_dir must be a folder, got the file {str(self.path)!r}"
            )
        self.can_resume = self._resume_path.exists()
        if self.can_resume and not config.run.resume:
            raise FileExistsError(
                f"run.out_dir {str(self.path)!r} holds a run: set run.resume to go on with it, "
                "or choose another folder"
            )
        if self.can_resume:
            self._check_same_run()

    @contextlib.contextmanager
    def opened(self, first_step: int) -> Iterator[None]:
        """Make the folder, write config.yaml, and take scalars from `first_step` on."""
        if not self._ranks.is_first:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        self._config.write_yaml(self.path / "config.yaml")
        with SummaryWriter(str(self.path), purge_step=first_step) as self._scalars:
            yield

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add scalars to TensorBoard's events, by name."""
        if self._scalars is not None:
            for name, value in scalars.items():
                self._scalars.add_scalar(name, value, step)

    def save_model(self, model: AVTS, name: str) -> Path:
        """Write the model as `name`.safetensors."""
        path = self.path / f"{name}.safetensors"
        if self._ranks.is_first:
            model.save(path)
        return path

    def save_resume(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        progress: Progress,
    ) -> None:
        """Write metrics.jsonl and resume.pt."""
        if not self._ranks.is_first:
            return
        lines = "".join(json.dumps(metrics) + "\n" for metrics in progress.history)
        write_atomically(self.path / "metrics.jsonl", lines.encode())
        state = {
            "config": self._config.plain(),
            "ranks": self._ranks.size,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "progress": dict(vars(progress)),
            "decoder": decode_fingerprint(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self._resume_path, buffer.getvalue())

    def load_resume(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule
    ) -> Progress:
        """Put everything back into the state of the last `save_resume`.

        Warns if media are decoded otherwise than then: the run goes on, but not exactly.
        """
        state = self._read_resume()
        if changes := decoder_changes(state.get("decoder", {}), decode_fingerprint()):
            warnings.warn(f"{self._resume_path}: {changes}", stacklevel=2)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        return Progress(**state["progress"])

    def _read_resume(self) -> dict[str, Any]:
        try:
            return torch.load(self._resume_path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{self._resume_path} is damaged: delete it to begin the run anew ({error})"
            ) from None

    def _check_same_run(self) -> None:
        state = self._read_resume()
        before, now = state["config"], self._config.plain()
        for group, names in _FREE.items():
            for name in names:
                before[group].pop(name, None)
                now[group].pop(name, None)
        changed = [group for group in now if now[group] != before.get(group)]
        if changed:
            raise ValueError(
                f"the run in {str(self.path)!r} goes on only with its own configuration, "
                f"but {', '.join(changed)} changed; see its config.yaml"
            )
        if state["ranks"] != self._ranks.size:
            raise ValueError(
                f"the run in {str(self.path)!r} goes on only with as many processes as before, "
                f"{state['ranks']}, got {self._ranks.size}"
            )
