"""Part "search": TC-MGC and X-CLIP, every video scored for 1, 8 and 64 texts, the ten best on the device.

The bank is synthetic and lies in device memory whole: a million videos, or as many as fit. The time is that
of the kernels (scores of every slab, the best of each, the best of those), from the query's buffers to the
answer's; making a query ready, which the host does, is in part "libvtr".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from . import cases, work
from .place import Place
from .timing import interleave, speed


def measure(place: Place) -> Iterator[dict[str, Any]]:
    for case in [*(cases.tcmgc_case(place, keep) for keep in place.keeps), cases.xclip_case(place)]:
        yield from searches(case, place)
        if place.device.type == "cuda":
            torch.cuda.empty_cache()


def searches(case: cases.Case, place: Place) -> Iterator[dict[str, Any]]:
    count = place.fitting(place.videos, cases.bytes_a_video(case))
    slabs = cases.bank(case, count, place.device)
    spec = case.spec
    if spec.scoring == "tcmgc":
        moved, flop = work.tcmgc_bytes, work.tcmgc_flop
    else:
        moved, flop = work.xclip_bytes, work.xclip_flop
    read = moved(count, spec.frames, spec.dim)
    for texts in place.texts:
        buffers = cases.query(case, cases.texts(case, texts), place.device)
        seconds = interleave({"search": partial(cases.search, case, slabs, buffers)}, place)["search"]
        done = flop(texts, count, spec.frames, spec.words, spec.dim)
        figures = speed(seconds, place, moved=read, flop=done)
        million = round(figures["ms"]["p50"] * 1e6 / count, 3)
        yield {
            "name": f"{case.name} {texts} texts",
            "videos": count,
            "texts": texts,
            "slabs": len(slabs),
            "ms_a_million": million,
            **figures,
        }
