"""The learning rate as a function of the step and, on a plateau, of past losses."""

from __future__ import annotations

import math
from typing import Any

from avts_ext.training.config import ScheduleConfig


class Schedule:
    """Factor on the learning rate.

    Args:
        config: kind of schedule.
        total_steps: steps of the whole run.
    """

    def __init__(self, config: ScheduleConfig, total_steps: int) -> None:
        self._config = config
        self._total_steps = total_steps
        self._factor, self._best_loss, self._bad_epochs = 1.0, math.inf, 0

    def factor(self, step: int) -> float:
        """What to multiply the learning rate by at `step`, counted from 0."""
        warmup = min(1.0, (step + 1) / max(1, self._config.warmup_steps))
        if self._config.name == "plateau":
            return warmup * self._factor
        return warmup * 0.5 * (1 + math.cos(math.pi * step / self._total_steps))

    def end_epoch(self, loss: float) -> None:
        """Note the mean loss of an epoch; only "plateau" makes use of it."""
        if loss < self._best_loss:
            self._best_loss, self._bad_epochs = loss, 0
            return
        self._bad_epochs += 1
        if self._bad_epochs >= self._config.patience:
            self._factor *= self._config.factor
            self._bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on from here."""
        return {
            "factor": self._factor,
            "best_loss": self._best_loss,
            "bad_epochs": self._bad_epochs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._factor = state["factor"]
        self._best_loss = state["best_loss"]
        self._bad_epochs = state["bad_epochs"]
