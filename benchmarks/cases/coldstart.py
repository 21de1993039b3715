"""A fresh process to its first hit: import, open, search; beside PyTorch loading the same model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import vtr

from .. import models
from ..baselines.optional import missing
from ..case import OURS, Case, Context, Disagreement, Measurement, Work
from ..synthetic import write_index

PUBLISHED = "published way"
BARE = "bare Python"
QUERY = "a man is cooking in a small kitchen"
VIDEOS = 1000
HITS = 10

# Programs: what is told apart is how far each goes. Arguments follow as JSON.
IMPORT = "import vtr"
OPEN = """
import json, sys, vtr
a = json.loads(sys.argv[1])
engine = vtr.Engine(a["bundle"], a["index"], device="cpu", threads=a["threads"])
"""
SEARCH = (
    OPEN
    + """
print(json.dumps([hit.id for hit in engine.search(a["query"], k=a["k"])]))
"""
)
TORCH_IMPORT = "import torch"
TORCH_OPEN = """
import json, sys, torch
a = json.loads(sys.argv[1])
torch.set_num_threads(a["threads"])
from vtr.export.models import build_model
model = build_model(torch.load(a["checkpoint"], weights_only=True)).eval()
"""
TORCH_SEARCH = (
    TORCH_OPEN
    + """
import numpy as np
from vtr.tokenizer import Tokenizer
ids = Tokenizer.load(a["bundle"] + "/tokenizer.json").encode([a["query"]], model.sizes["words"])
videos = torch.from_numpy(np.load(a["features"])).float()
with torch.inference_mode():
    sentence, words = model.encode_text(torch.from_numpy(ids))
    logits = model.score(sentence, words, {"video": videos}, None)[0]
print(json.dumps((logits.topk(a["k"]).indices + 1).tolist()))
"""
)


def prepare(context: Context) -> Iterator[Measurement]:
    """Three distances from the start of a process."""
    given = arguments(context)
    why = missing("torch")
    skipped = {} if why is None else {PUBLISHED: why}
    for name, ours, theirs in (
        ("import", IMPORT, TORCH_IMPORT),
        ("open the engine", OPEN, TORCH_OPEN),
        (f"first hit, {VIDEOS:,} videos", SEARCH, TORCH_SEARCH),
    ):
        contenders: dict[str, Work] = {OURS: partial(run_program, ours, given)}
        if not skipped:
            contenders[PUBLISHED] = partial(run_program, theirs, given)
        check = {}
        if theirs is TORCH_SEARCH and not skipped:
            check["hits that both find"] = agreement(run_program(ours, given), run_program(theirs, given))
        contenders[BARE] = partial(run_program, "pass", given)
        yield Measurement(
            name=name,
            item="process",
            items=1,
            contenders=contenders,
            check=check,
            leaves_out="the first start of all with a model, which compiles its text tower and keeps that; "
            "files are in the page cache. From starting the process to its end",
            skipped=skipped,
            settings={"videos": VIDEOS},
        )


def arguments(context: Context) -> dict[str, object]:
    """What the programs need: a bundle, an index of random features, the same for PyTorch."""
    bundle = models.bundle(context, "clip4clip")
    engine = vtr.Engine(bundle, device="cpu", threads=context.threads)
    engine.encode_text(QUERY)  # as any start before this one, it leaves the compiled text tower on disk
    model = engine.model
    index = context.folder / "coldstart-index"
    if not index.exists():
        where = {"name": model.manifest["name"], "family": model.family, "path": str(bundle)}
        write_index(
            index, VIDEOS, engine.scorer, model.sizes["frames"], model.sizes["dim"], model.fingerprint, where
        )
    features = context.folder / "coldstart-features.npy"
    np.save(features, stored_vectors(engine, index))
    return {
        "bundle": str(bundle),
        "index": str(index),
        "checkpoint": str(models.checkpoint(context, "clip4clip")),
        "features": str(features),
        "threads": context.threads,
        "query": QUERY,
        "k": HITS,
    }


def stored_vectors(engine: vtr.Engine, index: Path) -> np.ndarray:
    """The index's vectors ``[V, D]``, in the order of its videos' ids, which are 1 to V."""
    snapshot = engine.with_index(index).store().snapshot()
    if not np.array_equal(snapshot.ids, np.arange(1, VIDEOS + 1)):
        raise Disagreement(f"expected a fresh index with ids 1 to {VIDEOS}, got {snapshot.ids}")
    return snapshot.gather("video")


def run_program(program: str, given: dict[str, object]) -> str:
    """Run a program in a fresh interpreter, and return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(given)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        raise RuntimeError(f"a fresh process failed: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()


def agreement(ours: str, theirs: str) -> float:
    """The share of hits that both ways find; below 0.8 they do not do the same."""
    common = set(json.loads(ours)) & set(json.loads(theirs))
    if len(common) < 0.8 * HITS:
        raise Disagreement(f"vtr's hits are {ours}, PyTorch's {theirs}")
    return len(common) / HITS


CASE = Case("coldstart", prepare)
