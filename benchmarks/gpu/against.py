"""Part "against": the same searches by PyTorch's direct forms, eager and compiled, in one run.

Both sides score the same videos for one text and take the ten best. The direct form goes through the videos
in chunks, of the size that is fastest here. It runs in float32, as published, and in fp16, at which GPUs are
fast. Results are compared before anything is timed, with the direct form in float32 for many texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..baselines import direct
from ..measure import ratio
from . import cases
from .place import Place
from .timing import interleave, milliseconds, timed

K = 10
CHUNKS = (512, 2048, 8192, 32768)  # videos at a time
TYPES = {"fp32": torch.float32, "fp16": torch.float16}


def measure(place: Place) -> Iterator[dict[str, Any]]:
    for case in [*(cases.tcmgc_case(place, keep) for keep in place.keeps), cases.xclip_case(place)]:
        yield from compare(case, place)


def compare(case: cases.Case, place: Place) -> Iterator[dict[str, Any]]:
    count = place.fitting(place.compared, 4 * case.spec.frames * case.spec.dim, 0.1)
    count -= count % next((chunk for chunk in reversed(CHUNKS) if chunk <= count), 1)
    y = cases.videos(case, count, place.device)
    slabs = [cases.columns(case, y)]
    yield {"name": f"{case.name} agreement", "videos": count, **agreement(case, y, slabs, place)}
    text = cases.texts(case, 1)
    buffers = cases.query(case, text, place.device)
    runs: dict[str, Callable[[], Any]] = {"kernels": lambda: cases.search(case, slabs, buffers, K)}
    words = {}
    for compiled in (False, True):
        for kind, dtype in TYPES.items():
            name = f"{'compiled' if compiled else 'eager'} {kind}"
            try:
                runs[name] = baseline(case, text, y, dtype, compiled, place)
            except Exception as error:  # no compiler for torch.compile, say: the others still count
                words[name] = f"{type(error).__name__}: {error}"[:300]
    seconds = interleave(runs, place, repeats=max(1, place.repeats // 3))
    for name, times in seconds.items():
        record = {"name": f"{case.name} against {name}", "videos": count, "ms": milliseconds(times)}
        if name != "kernels":
            record["times"] = ratio(times, seconds["kernels"])
        yield record
    for name, problem in words.items():
        yield {"name": f"{case.name} against {name}", "failed": problem}


def baseline(
    case: cases.Case, text: Any, y: Tensor, dtype: torch.dtype, compiled: bool, place: Place
) -> Callable[[], Any]:
    """The search by the direct form, with the chunk that is fastest; raises what its first run raises."""
    sentence, words, rows = cases.direct_inputs(case, text, y, dtype)
    score = cases.direct_score(case, place.device, dtype)
    if compiled:
        if place.tiny:
            raise RuntimeError("left out at tiny sizes")
        score = torch.compile(score)

    def search(chunk: int) -> Tensor:
        return direct.score_all(score, sentence, words, rows, chunk).topk(min(K, len(rows))).indices

    # Equal chunks: a compiled form is compiled for every length.
    chunks = [chunk for chunk in CHUNKS if len(rows) % chunk == 0] or [len(rows)]
    times: dict[int, float] = {}
    for chunk in chunks:
        try:
            search(chunk)
            times[chunk] = timed(partial(search, chunk), 1, place.device)
        except torch.OutOfMemoryError:
            break
    if not times:
        raise torch.OutOfMemoryError(f"{chunks[0]} videos at a time are too many for this GPU")
    best = min(times, key=lambda chunk: times[chunk])
    return lambda: search(best)


def agreement(case: cases.Case, y: Tensor, slabs: list[tuple[Tensor, ...]], place: Place) -> dict[str, Any]:
    """Against the direct form in float32: the largest difference of a logit, and the share of its ten best
    that the kernels find."""
    from vtr.kernels.topk import decode

    text = cases.texts(case, place.judged, seed=9)
    sentence, words, rows = cases.direct_inputs(case, text, y, torch.float32)
    score = cases.direct_score(case, place.device, torch.float32)
    chunk = min(CHUNKS[1], len(rows))
    want = direct.score_all(score, sentence, words, rows, chunk)
    buffers = cases.query(case, text, place.device)
    got = cases.kernel_of(case).score(case.spec, *slabs[0], *buffers)
    best = want.topk(min(K, len(rows)), 1).indices.cpu().numpy()
    found = decode(cases.search(case, slabs, buffers, K).cpu().numpy())
    overlap = [len(np.intersect1d(ids, line)) / len(line) for (ids, _), line in zip(found, best, strict=True)]
    return {
        "texts": len(text),
        "largest_difference": round(float((got - want).abs().max()), 5),
        "top10": round(float(np.mean(overlap)), 5),
    }
