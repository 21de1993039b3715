"""The settings of a training run. They are checked when they are given, not an hour later."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from vtr.errors import UsageError

from .losses import LossWeights

PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainOptions:
    """The defaults are the published ones for fine-tuning a CLIP; from scratch, ``coef_lr`` is 1."""

    lr: float = 1e-4  # of new modules, at its highest
    coef_lr: float = 1e-3  # times lr: the learning rate of ``clip.*``
    afa_lr: float = 10.0  # times lr: that of TeachCLIP's frameLinear matrices
    freeze: int = 0  # parts of the image tower, from the pixels on, that do not learn (`freezing`)
    warmup: float = 0.1  # share of the steps that warm up
    weight_decay: float = 0.2
    clip_norm: float = 1.0  # longest gradient, all parameters together
    loss: LossWeights = field(default_factory=LossWeights)
    teacher: str | None = None  # name of the model that teaches the others of the family teachclip
    precision: str = "auto"  # of the towers: bf16 where the processor has matrix units for it, or a GPU
    device: str = "auto"
    compile: bool = False  # the image tower by torch.compile, which needs a C++ compiler
    processes: int = 1  # that train together, a thread each; a step takes one batch for each
    workers: int = 0  # further processes that prepare batches; 0 with several processes
    save_minutes: float = 10.0  # between checkpoints
    save_steps: int | None = None  # also every so many steps
    validate_steps: int | None = None  # also at the end
    log_steps: int = 10  # steps that a line of the log averages

    def __post_init__(self) -> None:
        for name in ("lr", "save_minutes", "clip_norm"):
            self._check(name, "a positive number", _number(getattr(self, name)) and getattr(self, name) > 0)
        for name in ("coef_lr", "afa_lr", "weight_decay"):
            self._check(name, "a number from 0", _number(getattr(self, name)) and getattr(self, name) >= 0)
        self._check("warmup", "a number from 0 to 1", _number(self.warmup) and 0 <= self.warmup <= 1)
        self._check("precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS)
        self._check("device", f"one of {', '.join(DEVICES)}", self.device in DEVICES)
        for name in ("workers", "freeze"):
            value = getattr(self, name)
            self._check(name, "an integer from 0", _whole(value) and value >= 0)
        self._check("processes", "a positive integer", _whole(self.processes) and self.processes > 0)
        if self.processes > 1:
            self._check("workers", "0 with several processes", self.workers == 0)
            self._check("device", "cpu or auto with several processes", self.device != "cuda")
        for name in ("save_steps", "validate_steps"):
            value = getattr(self, name)
            self._check(name, "a positive integer or None", value is None or (_whole(value) and value > 0))
        self._check("log_steps", "a positive integer", _whole(self.log_steps) and self.log_steps > 0)

    def _check(self, name: str, expected: str, good: object) -> None:
        if not good:
            raise UsageError(f"TrainOptions.{name}: expected {expected}, got {getattr(self, name)!r}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
