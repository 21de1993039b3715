"""A process that holds an index's videos in one way and says what they take.

`python -m vtr.benchmarks.probe JSON` is asked ``{"way": "vtr", "index", "scoring", "keep", "threads"}``, or
``{"way": "torch", "videos"}``, or the same with "faiss". It prints bytes: ``loaded`` (anonymous pages that
came with the videos) and ``peak`` (of all pages); of vtr also ``features`` (in float16), ``bank``,
``searched`` (what ten searches added) and ``difference`` (of logits from NumPy's).
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from typing import Any

import numpy as np

from vtr.bank import Bank
from vtr.index import IndexStore
from vtr.native import NativeModel
from vtr.scoring import make_scorer

from . import hits, synthetic
from .machine import memory
from .synthetic import SIZES

K, SEARCHES = 10, 10


def pages() -> int:
    """Anonymous pages in bytes, after what was freed went back to the system."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc's; others give back by themselves
        libc.malloc_trim(0)
    return memory("RssAnon", "self/status")


def vtr_way(asked: dict[str, Any]) -> dict[str, Any]:
    scoring, sizes = asked["scoring"], {**SIZES, "keep": asked["keep"]}
    head = synthetic.head(scoring, asked["keep"])
    scorer = make_scorer(head, scoring, sizes)
    native = NativeModel(scoring, head, sizes, threads=asked["threads"])
    text = synthetic.texts(1)
    native.query(text)  # brings the core and its threads
    before = pages()
    store = IndexStore.open(asked["index"])
    bank = Bank(store.snapshot(), scorer, native)
    core = bank._ranking.bank()  # type: ignore[attr-defined]  # packs the videos, as the first search would
    loaded = pages()
    found = bank.search(text, K, None, None)[0]
    for _ in range(SEARCHES - 1):
        bank.search(text, K, None, None)
    searched, peak = pages(), memory("VmHWM", "self/status")
    expected = hits.reference(scorer, synthetic.block(scorer, len(bank)), text)
    shapes = [scorer.columns[name].shape for name in native.columns if name != "gram"]
    return {
        "loaded": loaded - before,
        "searched": searched - loaded,
        "peak": peak,
        "bank": core.nbytes,
        "features": len(bank) * sum(2 * int(np.prod(shape)) for shape in shapes),
        "difference": round(hits.check(found, expected, len(bank), K, ranked=True), 6),
    }


def torch_way(asked: dict[str, Any]) -> dict[str, Any]:
    """Frames as the published evaluation keeps them between encoding and scoring."""
    import torch

    torch.ones(8, 8) @ torch.ones(8, 8)
    before = pages()
    held = torch.ones(asked["videos"], SIZES["frames"], SIZES["dim"])
    return {"loaded": pages() - before, "peak": memory("VmHWM", "self/status"), "shape": list(held.shape)}


def faiss_way(asked: dict[str, Any]) -> dict[str, Any]:
    import faiss

    index = faiss.IndexFlatIP(SIZES["dim"])
    before = pages()
    for start in range(0, asked["videos"], synthetic.BLOCK):
        index.add(np.ones((min(synthetic.BLOCK, asked["videos"] - start), SIZES["dim"]), np.float32))
    return {"loaded": pages() - before, "peak": memory("VmHWM", "self/status"), "held": index.ntotal}


def main() -> None:
    asked = json.loads(sys.argv[1])
    ways = {"vtr": vtr_way, "torch": torch_way, "faiss": faiss_way}
    print(json.dumps(ways[asked["way"]](asked)))


if __name__ == "__main__":
    main()
