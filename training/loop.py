"""The training loop: steps, checkpoints, the log, and a clean stop when it is interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from vtr.errors import UsageError, VtrError
from vtr.export.models import ReferenceModel
from vtr.progress import Progress, make_progress

from .batches import Batch, Source
from .checkpoints import LAST, Progressed, load_run, save_models, save_run
from .freezing import set_training
from .journal import Journal, draw_curves
from .optimizer import clamp_scales, make_optimizer, set_rates
from .options import TrainOptions
from .ranks import Ranks, run_ranks
from .schedule import learning_rate
from .step import check_models, run_batch

# Called with the models now and then; returns figures for the log, of which "score" (higher is better) picks
# the best model.
Validate = Callable[[Mapping[str, ReferenceModel]], Mapping[str, float]]


class TrainingError(VtrError):
    """A run that cannot go on: its numbers are not finite."""


def train(
    models: Mapping[str, ReferenceModel],
    source: Source,
    options: TrainOptions,
    out: Path,
    *,
    teacher: ReferenceModel | None = None,
    validate: Validate | None = None,
    progress: bool | Callable[..., None] | Progress = False,
) -> None:
    """Train ``models`` on the steps of ``source``, or go on where ``out/last.pt`` stands.

    All models share one ``clip`` module and the loss is the mean of theirs; one model is the usual case.
    They are made trainable here and hold the result. ``teacher`` (a model apart) or ``options.teacher`` (one
    of them) teaches those of the family teachclip.

    Writes to ``out``: ``last.pt``; ``model.safetensors``, or ``model-NAME.safetensors`` where there are
    several; ``best.safetensors`` where ``validate`` gives a score; ``log.jsonl`` and ``curves.png``. A run
    that was interrupted and resumed gives the same weights, bit for bit, on the same processor and number of
    threads.

    Raises:
        UsageError: models, teacher or batches that do not go together; fewer parts than to freeze; fewer
            batches than processes.
        CheckpointError: ``out/last.pt`` is damaged or of another run.
        TrainingError: the loss or its gradient is not finite; the message names the step.
        KeyboardInterrupt: after SIGINT or SIGTERM, when the step was finished and saved.
    """
    if teacher is not None and options.teacher is not None:
        raise UsageError("expected a teacher apart or the name of one of the models, got both")
    check_models(models, teacher or options.teacher)
    if len(source) < options.processes:
        raise UsageError(
            f"expected a batch for each of the {options.processes} processes, got {len(source)} in all"
        )
    Path(out).mkdir(parents=True, exist_ok=True)

    def work(ranks: Ranks) -> None:
        prepare_processor()
        run = _Run(models, source, options, Path(out), teacher, validate, ranks)
        shown_here = progress if ranks.first else False
        with make_progress(shown_here, "training") as shown, _interruptible() as stop:
            try:
                run.steps(shown, stop)
            finally:
                torch.set_flush_denormal(False)

    run_ranks(options.processes, work)


def prepare_processor() -> None:
    """Have this thread, and threads that it starts later, take numbers below 1e-38 for zero.

    The gradients of sharp softmaxes are full of them, and processors are slow at them: the backward pass of
    TC-MGC's scores took five times as long. Threads that PyTorch has started already keep their setting:
    call this before any other work.
    """
    torch.set_flush_denormal(True)


def pick_device(device: str, processes: int = 1) -> str:
    """ "auto" becomes "cuda" where there is one. Several processes train on processors: they are forked, as a
    process that has asked for a GPU must not be."""
    if processes > 1:
        return "cpu"
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError("device cuda was asked for, but PyTorch finds no GPU")
    return "cuda" if device != "cpu" and available else "cpu"


def pick_precision(precision: str, device: str) -> str:
    """ "auto" becomes "bf16" on GPUs, and on processors that have matrix units for it (AMX)."""
    if precision != "auto":
        return precision
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else _has_amx()
    return "bf16" if fast else "fp32"


def _has_amx() -> bool:
    with contextlib.suppress(OSError):
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    return False


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        models: Mapping[str, ReferenceModel],
        source: Source,
        options: TrainOptions,
        out: Path,
        teacher: ReferenceModel | None,
        validate: Validate | None,
        ranks: Ranks,
    ):
        self.models, self.source, self.options, self.out = models, source, options, out
        self.validate = validate
        self.ranks = ranks
        self.device = pick_device(options.device, options.processes)
        self.precision = pick_precision(options.precision, self.device)
        self.teacher: ReferenceModel | str | None = options.teacher
        if teacher is not None:
            self.teacher = teacher.to(self.device).requires_grad_(False)
        for model in models.values():
            model.to(self.device)
        set_training(models, options.freeze)
        self.optimizer = make_optimizer(
            models, options.lr, options.coef_lr, options.weight_decay, options.afa_lr
        )
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.progressed = Progressed()
        if (out / LAST).exists():
            self.progressed = load_run(out / LAST, models, self.optimizer)
        self.journal = Journal(out, self.progressed.step, options.log_steps) if ranks.first else None
        visual = next(iter(models.values())).clip.visual
        self.tower = torch.compile(visual) if options.compile else None

    def steps(self, shown: Progress, stop: threading.Event) -> None:
        """Do the remaining steps."""
        total = len(self.source) // self.ranks.size
        shown.total(total)
        shown.step("", "resumed", self.progressed.step)
        saved = started = time.monotonic()
        for step, batch in self._batches(self.progressed.step + 1, total):
            values = self._step(step, total, batch)
            now = time.monotonic()
            seconds = self.progressed.seconds + now - started
            self.progressed = replace(self.progressed, step=step, seconds=seconds)
            stopping = self.ranks.any(stop.is_set())
            ends = step == total or stopping
            if self.journal:
                self.journal.add(step, values, len(batch) * self.ranks.size, now - started, ends)
            shown.step(f"loss {values['loss']:.3f}", "done")
            if self._due(self.options.validate_steps, step) or step == total:
                self._validate(step)
            wanted = self._due(self.options.save_steps, step)
            if ends or wanted or time.monotonic() - saved > 60 * self.options.save_minutes:
                self.save()
                saved = time.monotonic()
            if stopping:
                raise KeyboardInterrupt
            started = time.monotonic()

    def _batches(self, first: int, total: int) -> Iterator[tuple[int, Batch]]:
        """Steps from ``first`` to ``total``, counted from 1, and their batches."""
        loader = DataLoader(
            self.source,
            batch_size=None,
            sampler=range(
                (first - 1) * self.ranks.size + self.ranks.rank, total * self.ranks.size, self.ranks.size
            ),
            num_workers=self.options.workers,
            collate_fn=_same,
            worker_init_fn=_ignore_interrupts,
        )
        return enumerate(loader, first)

    def _step(self, step: int, total: int, batch: Batch) -> dict[str, float]:
        """One update of the weights; returns what to log."""
        batch = batch.to(self.device)
        set_rates(self.optimizer, learning_rate(step - 1, total, self.options.warmup))
        self.optimizer.zero_grad(set_to_none=True)
        found = run_batch(
            self.models,
            batch,
            self.options.loss,
            teacher=self.teacher,
            precision=self.precision,
            tower=self.tower,
            ranks=self.ranks,
        )
        self._add_gradients()
        values = {name: float(value) for name, value in found.items()}
        self._check_finite(step, "loss", values["loss"])
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.options.clip_norm))
        self._check_finite(step, "gradient", norm)
        self.optimizer.step()
        clamp_scales(self.models)
        rates = {
            f"lr.{group['name']}": group["lr"]
            for group in self.optimizer.param_groups
            if group["weight_decay"]
        }
        scale = float(next(iter(self.models.values())).clip.logit_scale.detach().exp())
        return {**values, "gradient": norm, "scale": scale, **rates}

    def _add_gradients(self) -> None:
        """Gradients of all ranks together; a rank has none for the heads that others took."""
        if self.ranks.size > 1:
            for parameter in self.parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.ranks.add([parameter.grad for parameter in self.parameters if parameter.grad is not None])

    def _check_finite(self, step: int, what: str, value: float) -> None:
        if not abs(value) < float("inf"):
            saved = self.out / LAST
            kept = f"{saved} holds an earlier step" if saved.exists() else "nothing was saved yet"
            raise TrainingError(
                f"step {step}: the {what} is {value}, expected a finite number; lower the learning rate "
                f"(now {self.options.lr:g}), or take precision fp32 instead of {self.precision}; {kept}"
            )

    def _validate(self, step: int) -> None:
        if self.validate is None or not self.journal:
            return
        for model in self.models.values():
            model.eval()
        with torch.no_grad():
            found = {name: float(value) for name, value in self.validate(self.models).items()}
        set_training(self.models, self.options.freeze)
        self.journal.write({"step": step, **{f"validation.{name}": value for name, value in found.items()}})
        score, best = found.get("score"), self.progressed.best
        if score is not None and (best is None or score > best):
            self.progressed = replace(self.progressed, best=score)
            save_models(self.models, self.out, best=True)

    def save(self) -> None:
        """Write everything that the run leaves on disk, once."""
        if not self.ranks.first:
            return
        save_run(self.out, self.models, self.optimizer, self.progressed)
        save_models(self.models, self.out)
        draw_curves(self.out)

    @staticmethod
    def _due(every: int | None, step: int) -> bool:
        return every is not None and step % every == 0


def _same(batch: Batch) -> Batch:
    return batch


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the loop ends its workers when it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets; a second signal acts as ever. Elsewhere than in the main thread
    signals are not ours to take."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        for other, handler in before.items():
            signal.signal(other, handler)

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        before[signal_number] = signal.signal(signal_number, ask)
    try:
        yield stop
    finally:
        for other, handler in before.items():
            signal.signal(other, handler)
