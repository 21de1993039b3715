"""How the built-in models are trained: ``python -m vtr.training.mini.recipe OUT``.

1. A vocabulary is learned from captions (`vocabulary`).
2. ``icons``: the image tower learns to tell things apart, from small pictures of one thing each.
3. ``crowds``: it does so wherever they are in a picture, and beside others.
4. ``names``: the text tower learns what they are called.
5. ``things``: both learn it of whole frames, which show one thing.
6. ``stills``: they go on with single frames and all that these show, as CLIP learned from pictures.
7. ``clips``: they go on with clips, together with all heads at once; the loss is the mean of the heads'.
8. Each head is exported with the towers, in float16.

When the command is given again, what was interrupted goes on where it stood; the first three stages begin
again if they were not through. `measure` makes the table of results, `package` lays the bundles out for
`vtr.builtin`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vtr.errors import UsageError
from vtr.export.checkpoint import load_checkpoint
from vtr.export.models import ReferenceModel, build_model
from vtr.export.options import ExportOptions
from vtr.export.pipeline import export_model
from vtr.export.resnet import STRIDE
from vtr.export.tokenizer import tokenizer_json
from vtr.tokenizer import Tokenizer

from ..checkpoints import model_file, save_models, write_whole
from ..clips import World, load_world
from ..command import command
from ..crowds import Crowds
from ..fresh import SIZES, fresh_towers, with_head
from ..icons import Icons
from ..loop import train
from ..naming import ByName
from ..options import TrainOptions
from ..procedural import GeneratedClips, GeneratedStills, GeneratedThings
from ..shapes import ShapesOptions, learn_shapes
from .vocabulary import corpus, learn_merges, read_merges, vocabulary_size, write_merges

FRAMES, WORDS = 12, 32
VOCABULARY = "vocabulary.txt"
RECORD = "recipe.json"  # the seed and the stages of a run
LAYERS = 1  # of the temporal transformers
TEACHER = "xclip"
SIZE = SIZES["mini"]


@dataclass(frozen=True)
class Head:
    """A head on the towers; those that are not shipped are there to compare with."""

    family: str
    header: str = "meanP"
    shipped: bool = True


HEADS = {
    "clip4clip": Head("clip4clip"),
    "ea": Head("ea"),
    "teachclip": Head("teachclip", "seqTransf"),
    "clip4clip-seq": Head("clip4clip", "seqTransf", shipped=False),  # costs what TeachCLIP costs
    "xclip": Head("xclip", "seqTransf"),
    "tcmgc": Head("tcmgc", "seqTransf"),
}


@dataclass(frozen=True)
class Stage:
    """How long and how fast a stage learns; a step takes ``batch`` examples."""

    steps: int
    batch: int
    lr: float
    coef_lr: float = 1.0
    freeze: int = 0  # as in `TrainOptions`


STAGES = {
    "icons": Stage(4000, 256, 2e-3),
    "crowds": Stage(4000, 56, 1.5e-3),
    "names": Stage(2000, 56, 1.5e-3),
    "things": Stage(400, 256, 1.5e-3),
    "stills": Stage(1500, 128, 1.5e-3),
    "clips": Stage(2100, 64, 1e-3, coef_lr=0.5, freeze=2),
}


@dataclass(frozen=True)
class Recipe:
    """One training of the built-in models in a folder."""

    out: Path
    seed: int = 0
    processes: int = 1
    stages: Mapping[str, Stage] = field(default_factory=STAGES.copy)

    def run(self) -> None:
        """All stages that are not done yet.

        Raises:
            UsageError: the folder holds a run with another seed or other stages.
        """
        self._record()
        world = load_world()
        tokenizer = self.tokenizer(world)
        state: Mapping[str, Tensor] = fresh_towers(SIZE, len(tokenizer), self.seed)
        state = self.shapes("icons", Icons, STRIDE, state, world)
        state = self.shapes("crowds", Crowds, SIZE.image, state, world)
        state = self.shapes("names", Crowds, SIZE.image, state, world, tokenizer)
        state = self.towers("things", GeneratedThings, state, world, tokenizer)
        state = self.towers("stills", GeneratedStills, state, world, tokenizer)
        self.export(self.clips(world, tokenizer, state))

    def _record(self) -> None:
        """Write what the run is made with, or compare it with what the folder says."""
        path = self.out / RECORD
        made = {"seed": self.seed, "stages": {name: asdict(stage) for name, stage in self.stages.items()}}
        self.out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_whole(path, (json.dumps(made, indent=1) + "\n").encode())
        elif (before := json.loads(path.read_text(encoding="utf-8"))) != made:
            raise UsageError(
                f"expected what {path} says, for a run goes on as it began: {before}; got {made}"
            )

    def tokenizer(self, world: World) -> Tokenizer:
        """The tokenizer of the folder's vocabulary, which is made if it is not there."""
        from tokenizers import Tokenizer as LibraryTokenizer

        path = self.out / VOCABULARY
        if not path.exists():
            write_merges(path, learn_merges(corpus(world)))
        size = vocabulary_size(len(read_merges(path)))
        return Tokenizer(LibraryTokenizer.from_str(tokenizer_json(path, size)))

    def shapes(
        self,
        name: str,
        kind: type[Icons],
        side: int,
        state: Mapping[str, Tensor],
        world: World,
        tokenizer: Tokenizer | None = None,
    ) -> Mapping[str, Tensor]:
        """A stage in which the image tower learns shapes from pictures ``side`` pixels large, and with a
        tokenizer the text tower their names."""
        stage, folder = self.stages[name], self.out / name
        model = build_model(with_head(state, "clip4clip"), ExportOptions(frames=1, words=WORDS))
        path = folder / model_file({name: model}, name)
        if not path.exists():
            options = ShapesOptions(
                stage.steps, stage.batch, stage.lr, processes=self.processes, seed=self.seed
            )
            names = ByName(model.clip, world, tokenizer, WORDS, self.seed) if tokenizer else None
            learn_shapes(
                model.clip.visual, kind(world, side, self.seed), options, folder, names=names, progress=True
            )
            save_models({name: model}, folder)
        return load_checkpoint(path)

    def towers(
        self,
        name: str,
        kind: type[GeneratedClips],
        state: Mapping[str, Tensor],
        world: World,
        tokenizer: Tokenizer,
    ) -> Mapping[str, Tensor]:
        """A stage in which the towers learn from single frames."""
        model = build_model(with_head(state, "clip4clip"), ExportOptions(frames=1, words=WORDS))
        source = kind(world, tokenizer, frames=1, **self._source(self.stages[name]))
        return self._train(name, {"clip4clip": model}, source)["clip4clip"]

    def clips(
        self, world: World, tokenizer: Tokenizer, towers: Mapping[str, Tensor]
    ) -> dict[str, Mapping[str, Tensor]]:
        """All heads on the same towers."""
        source = GeneratedClips(world, tokenizer, frames=FRAMES, **self._source(self.stages["clips"]))
        return self._train("clips", build_heads(towers, self.seed), source, TEACHER)

    def _source(self, stage: Stage) -> dict[str, Any]:
        """What both sources are made with; every process takes its share of a step's batch."""
        return {
            "batch": stage.batch // self.processes,
            "steps": stage.steps * self.processes,
            "size": SIZE.image,
            "words": WORDS,
            "seed": self.seed,
        }

    def _train(
        self,
        name: str,
        models: dict[str, ReferenceModel],
        source: GeneratedClips,
        teacher: str | None = None,
    ) -> dict[str, Mapping[str, Tensor]]:
        """Train what is not trained yet; checkpoints by model."""
        stage, folder = self.stages[name], self.out / name
        options = TrainOptions(
            lr=stage.lr,
            coef_lr=stage.coef_lr,
            afa_lr=1.0,
            freeze=stage.freeze,
            warmup=0.03,
            weight_decay=0.05,
            teacher=teacher,
            processes=self.processes,
        )
        train(models, source, options, folder, progress=True)
        return {key: load_checkpoint(folder / model_file(models, key)) for key in models}

    def export(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """A bundle of every head, in float16."""
        (self.out / "bundles").mkdir(exist_ok=True)
        for name, state in states.items():
            model = build_model(state, ExportOptions(words=WORDS))
            export_model(
                model,
                self.out / "bundles" / name,
                "fp16",
                force=True,
                name=f"mini-{name}",
                vocab=self.out / VOCABULARY,
            )


def build_heads(towers: Mapping[str, Tensor], seed: int) -> dict[str, ReferenceModel]:
    """A model for every head, all with one ``clip`` module."""
    models = {}
    for name, head in HEADS.items():
        state = with_head(
            towers, head.family, header=head.header, words=WORDS, frames=FRAMES, layers=LAYERS, seed=seed
        )
        models[name] = build_model(state, ExportOptions(words=WORDS))
    first = next(iter(models.values()))
    for model in models.values():
        model.clip = first.clip
    return models


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vtr.training.mini.recipe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--processes",
        type=int,
        default=max(1, len(os.sched_getaffinity(0))),
        help="that train together (default: one a core, %(default)s here)",
    )
    for name, stage in STAGES.items():
        parser.add_argument(f"--{name}", type=int, metavar="STEPS", help=f"default: {stage.steps}")
    given = parser.parse_args(arguments)
    stages = {
        name: replace(stage, steps=getattr(given, name) or stage.steps) for name, stage in STAGES.items()
    }
    Recipe(given.out, given.seed, given.processes, stages).run()


if __name__ == "__main__":
    sys.exit(main())
