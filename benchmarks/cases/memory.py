"""What an index takes, on disk and in memory, per video and at its peak; each in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtr.scoring import make_scorer

from .. import synthetic
from ..baselines.optional import missing
from ..case import Case, Context
from ..synthetic import SIZES

FAMILIES = {  # scoring, K, and the other way to hold its videos
    "TC-MGC K=22": ("tcmgc", 22, "torch"),
    "X-CLIP": ("xclip", 0, "torch"),
    "one vector": ("holistic", 0, "faiss"),
}
OTHERS = {"torch": "float32 frames in PyTorch", "faiss": "FAISS flat"}
VIDEOS, QUICK_VIDEOS = (1_000, 10_000, 100_000), (1_000,)
LEFT_OUT = "in what is in memory: pages of mapped files, which the system can take back; they are in the peak"


def prepare(context: Context) -> Iterator[dict[str, Any]]:
    for label, (scoring, keep, other) in FAMILIES.items():
        scorer = make_scorer(synthetic.head(scoring, keep), scoring, {**SIZES, "keep": keep})
        for videos in QUICK_VIDEOS if context.quick else VIDEOS:
            name = f"{label}, {videos:,} videos"
            if reason := synthetic.shortage(context.folder, scorer, videos):
                yield {"name": name, "skipped": {"vtr": reason}}
                continue
            path = context.folder / f"memory-{scoring}-{videos}"
            synthetic.write_index(
                path, videos, scorer, SIZES["frames"], SIZES["dim"], "0" * 64, {"name": "synthetic"}
            )
            try:
                yield record(name, path, scoring, keep, other, videos, context)
            finally:
                shutil.rmtree(path)


def record(
    name: str, path: Path, scoring: str, keep: int, other: str, videos: int, context: Context
) -> dict[str, Any]:
    """What processes that hold these videos say of themselves."""
    ours = probe(
        {"way": "vtr", "index": str(path), "scoring": scoring, "keep": keep, "threads": context.threads}
    )
    figures = {
        "on disk, KB a video": kilobytes(
            sum(f.stat().st_size for f in path.rglob("*") if f.is_file()), videos
        ),
        "features in float16, KB a video": kilobytes(ours["features"], videos),
        "native bank, KB a video": kilobytes(ours["bank"], videos),
        "vtr, in memory, KB a video": kilobytes(ours["loaded"], videos),
        "vtr, added by ten searches, KB": round(ours["searched"] / 1000, 1),
        "vtr, peak of the process, MB": round(ours["peak"] / 1e6, 1),
    }
    skipped = {}
    if reason := missing(other):
        skipped[OTHERS[other]] = reason
    else:
        theirs = probe({"way": other, "videos": videos})
        figures[f"{OTHERS[other]}, in memory, KB a video"] = kilobytes(theirs["loaded"], videos)
        figures[f"{OTHERS[other]}, peak of the process, MB"] = round(theirs["peak"] / 1e6, 1)
    return {
        "name": name,
        "settings": {"videos": videos},
        "figures": figures,
        "check": {"largest difference of a logit": ours["difference"]},
        "leaves_out": LEFT_OUT,
        "skipped": skipped,
    }


def kilobytes(count: float, videos: int) -> float:
    return round(count / videos / 1000, 3)


def probe(asked: dict[str, Any]) -> dict[str, Any]:
    """Run `vtr.benchmarks.probe` in a fresh process."""
    command = [sys.executable, "-m", "vtr.benchmarks.probe", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process for {asked} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


CASE = Case("memory", prepare)
