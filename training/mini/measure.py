"""How good the built-in models are: every head of every run, on clips that training never saw.

``python -m vtr.training.mini.measure RUN... --sets FOLDER -o RESULTS.json``, where each RUN is a folder of
`recipe` (one seed each) and FOLDER holds the test sets ``combinations`` and ``style`` of ``python -m
vtr.training.clips``. Where RESULTS.json is there, the runs are added to those that it holds. Each clip's full
caption searches all clips of its set, through the engine as users run it; beside it stand the recalls of the
same weights in PyTorch and float32. `table` makes tables of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.engine import Engine
from vtr.errors import UsageError
from vtr.evaluation import Annotations, Evaluation, evaluate, evaluate_index, read_annotations
from vtr.export.checkpoint import load_checkpoint
from vtr.export.models import ReferenceModel, build_model
from vtr.export.options import ExportOptions
from vtr.types import Sampling

from ..annotated import cache_frames
from ..checkpoints import model_file, write_whole
from ..clips.write import ANNOTATIONS, ONE_CAPTION, VIDEOS
from ..command import command
from ..validate import score_matrix
from .recipe import HEADS, RECORD, WORDS

SETS = ("combinations", "style")
FIGURES = ("R@1", "R@5", "R@10", "MdR")


def measure(runs: Sequence[Path], sets: Path, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Results by set, head and run: text to video, video to text, and R@1 in float32 PyTorch; and what each
    run was made with. ``before``: the results of other runs, which come first.

    Raises:
        UsageError: a run is among those before.
    """
    recipes = [json.loads((run / RECORD).read_text(encoding="utf-8")) for run in runs]
    known = before["runs"] if before else []
    if twice := [run for run, recipe in zip(runs, recipes, strict=True) if recipe in known]:
        raise UsageError(f"expected runs that were not measured yet; of {twice[0]} there are results")
    results: dict[str, Any] = {"runs": [*known, *recipes], "sets": {}}
    with tempfile.TemporaryDirectory(prefix="vtr-measure-") as folder:
        for name in SETS:
            test = TestSet(sets / name, Path(folder) / name)
            heads = {head: [test.measure(run, head) for run in runs] for head in HEADS}
            if before:
                heads = {head: before["sets"][name]["heads"][head] + found for head, found in heads.items()}
            results["sets"][name] = {"clips": len(test.captions.videos), "heads": heads}
    return results


class TestSet:
    """One folder that ``python -m vtr.training.clips`` wrote, and room for indexes of it."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.videos, self.scratch = folder / VIDEOS, scratch
        self.captions = read_annotations(folder / ONE_CAPTION, "msrvtt-1ka")
        self.all_captions = read_annotations(folder / ANNOTATIONS)

    def measure(self, run: Path, head: str) -> dict[str, Any]:
        """What one head of one run finds."""
        engine = Engine(run / "bundles" / head)
        indexed = engine.with_index(self.scratch / engine.model.fingerprint[:16])
        indexed.index([self.videos])
        found = evaluate_index(indexed, self.captions)
        several = evaluate_index(indexed, self.all_captions)
        model = load_model(run, head)
        exact = evaluate(self.float32(model, self.captions, indexed), self.captions.targets, resamples=0)
        return {
            "text_to_video": figures(found, "text_to_video") | {"ranks": ranks(found)},
            "video_to_text": figures(found, "video_to_text"),
            "five_captions": figures(several, "text_to_video"),
            "float32": {"R@1": exact["text_to_video"].metrics["R@1"]},
            "encoders": indexed.encoders.description,
        }

    def float32(self, model: ReferenceModel, captions: Annotations, engine: Engine) -> NDArray[np.float32]:
        """Logits of the reference model in float32 on the same frames."""
        sampling = Sampling(**model.sampling)
        cache = cache_frames(sorted(self.videos.iterdir()), self.scratch / "frames", sampling)
        frames = {path.stem: cached for path, cached in cache.frames.items()}
        ids = torch.from_numpy(engine.model.tokenizer.encode(captions.texts, WORDS))
        return score_matrix(model, ids, [frames[name] for name in captions.videos])


def load_model(run: Path, head: str) -> ReferenceModel:
    """The checkpoint that a bundle was exported from."""
    return build_model(load_checkpoint(run / "clips" / model_file(HEADS, head)), ExportOptions(words=WORDS))


def figures(found: Evaluation, direction: str) -> dict[str, Any]:
    """Metrics and the 95 % intervals of the bootstrap."""
    result = found[direction]
    assert result.intervals is not None
    return {name: [result.metrics[name], *result.intervals[name]] for name in FIGURES}


def ranks(found: Evaluation) -> str:
    """The rank of each caption's clip, in one line."""
    return " ".join(map(str, found["text_to_video"].ranks))


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vtr.training.mini.measure", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, one a seed")
    parser.add_argument("--sets", type=Path, required=True, help="folder of the test sets")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write or add to")
    given = parser.parse_args(arguments)
    before = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else None
    results = measure(given.runs, given.sets, before)
    write_whole(given.output, (json.dumps(results, indent=1) + "\n").encode())  # it holds earlier runs


if __name__ == "__main__":
    sys.exit(main())
