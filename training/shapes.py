"""The convolutions of an image tower learn shapes: each place of the last feature map tells what it sees.

Towers that meet text at once learn backgrounds and colours first and names of things hardly at all, for there
is little to be gained from these until the tower sees shapes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vtr.export.resnet import ResNetTower
from vtr.progress import Progress, make_progress

from .icons import Icons
from .journal import Journal
from .loop import pick_precision, prepare_processor
from .naming import ByLabel, ByName
from .optimizer import BETAS, EPS, decays, set_rates
from .ranks import Ranks, run_ranks
from .schedule import learning_rate
from .step import arithmetic

HARDEST = 0.75  # share of the steps after which pictures do not become harder
SMOOTHING = 0.05
CLIP_NORM = 5.0


@dataclass(frozen=True)
class ShapesOptions:
    """``batch`` pictures a step, of all processes together."""

    steps: int
    batch: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    processes: int = 1
    seed: int = 0


def learn_shapes(
    tower: ResNetTower,
    icons: Icons,
    options: ShapesOptions,
    out: Path,
    *,
    names: ByName | None = None,
    progress: bool = False,
) -> None:
    """Train the tower's convolutions and batch norms, in place, and the text tower of ``names``; without it a
    classifier that is dropped. How places are pooled stays as it is.

    ``out`` gets ``log.jsonl``: the loss and the share of pictures that were named right. What is interrupted
    begins again.
    """
    out.mkdir(parents=True, exist_ok=True)

    def work(ranks: Ranks) -> None:
        prepare_processor()
        with make_progress(progress if ranks.first else False, "shapes") as shown:
            _Run(tower, icons, options, out, names, ranks).steps(shown)
        torch.set_flush_denormal(False)

    run_ranks(options.processes, work)


class _Run:
    def __init__(
        self,
        tower: ResNetTower,
        icons: Icons,
        options: ShapesOptions,
        out: Path,
        names: ByName | None,
        ranks: Ranks,
    ):
        self.tower, self.icons, self.options, self.ranks = tower.train(), icons, options, ranks
        self.precision = pick_precision("auto", "cpu")
        self.classify = names or ByLabel(tower, icons, options.seed)
        named = [each for each in tower.named_parameters() if not each[0].startswith("attnpool")]
        named += self.classify.named_parameters()
        self.parameters = [parameter.requires_grad_(True) for _, parameter in named]
        groups = [
            {
                "params": [p for name, p in named if decays(name, p) == decay],
                "initial_lr": options.lr,
                "weight_decay": options.weight_decay * decay,
            }
            for decay in (True, False)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, betas=BETAS, eps=EPS)
        self.journal = Journal(out, 0, 20) if ranks.first else None

    def steps(self, shown: Progress) -> None:
        steps, ranks = self.options.steps, self.ranks
        shown.total(steps)
        share = self.options.batch // ranks.size
        started = time.monotonic()
        for step in range(steps):
            hardness = min(1.0, step / (HARDEST * steps))
            set_rates(self.optimizer, learning_rate(step, self.options.steps, self.options.warmup))
            number = step * ranks.size + ranks.rank  # of the batch
            loss, right = self._step(number, *self.icons.batch(number, share, hardness))
            values = torch.tensor(ranks.meet((loss, right))).mean(0).tolist()
            now = time.monotonic()
            if self.journal:
                named = {"loss": values[0], "named": values[1], "hardness": hardness}
                self.journal.add(step + 1, named, share * ranks.size, now - started, step + 1 == steps)
            shown.step(f"loss {values[0]:.3f}", "done")
            started = now

    def _step(self, number: int, pictures: Tensor, labels: Tensor) -> tuple[float, float]:
        tower = self.tower
        pixels = ((pictures / 255 - tower.mean) / tower.std).permute(0, 3, 1, 2)
        with arithmetic("cpu", self.precision):
            logits, right = self.classify(tower.last_map(pixels), labels, number)
        loss = nn.functional.cross_entropy(logits, right, label_smoothing=SMOOTHING)
        self.optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.ranks.add(gradients)
        for gradient in gradients:
            gradient /= self.ranks.size
        nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()
        return float(loss.detach()), _named(logits, right, len(self.icons.names))


def _named(logits: Tensor, right: Tensor, concepts: int) -> float:
    """The share of places with a thing that are told right."""
    things = right < concepts
    return float((logits.argmax(1) == right)[things].float().mean())
