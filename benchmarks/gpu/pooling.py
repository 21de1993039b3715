"""Part "pooling": frames to one vector a video, by each kind of block, and TC-MGC's stored statistics.

Frames are fp16 in device memory, far more than the caches hold. The baselines are the reference modules in
fp16, eager and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vtr.export.families.ea import Gate
from vtr.export.temporal import MeanP, unit

from ..measure import ratio
from . import cases, checks, work
from .place import Place
from .timing import interleave, speed

HIDDEN = {"m=F/4": 0.25, "m=4F": 4.0}  # of the gates: r = 4, and r = 0.25


def measure(place: Place) -> Iterator[dict[str, Any]]:
    frames, mask = checks.frames_and_mask(place, place, pooled(place))
    moved = work.pool_bytes(len(frames), place.frames, place.dim)
    yield timed_record("pool mean", *kind("mean", None, place), frames, mask, place, moved=moved)
    for variant in checks.POOLS[1:]:
        for label, share in HIDDEN.items():
            head = checks.ea_head(variant, place.frames, place.dim, max(1, int(share * place.frames)))
            ours, theirs = kind(variant, head, place)
            yield timed_record(f"pool {variant} {label}", ours, theirs, frames, mask, place, moved=moved)
    yield excite(frames, mask, place)
    yield afa(frames, mask, place)
    yield gram(place)


def pooled(place: Place) -> int:
    """Videos: what fits, with room for what eager PyTorch makes on the way."""
    return place.fitting(place.pooled, 2 * place.frames * place.dim, 0.1)


def kind(variant: str, head: Any, place: Place) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    ours = checks.pool_frames(variant, head, place.device)
    half = None if head is None else head.to(place.device).half()
    return ours, checks.direct_pool(variant, half)


def timed_record(
    name: str,
    ours: Callable[[Tensor, Tensor], Any],
    theirs: Callable[[Tensor, Tensor], Any],
    frames: Tensor,
    mask: Tensor,
    place: Place,
    moved: float | None = None,
    flop: float | None = None,
) -> dict[str, Any]:
    """The kernel's speed, and how many times faster it is than PyTorch, eager and compiled."""
    half, words = mask.half(), {}
    runs: dict[str, Callable[[], Any]] = {"kernel": lambda: ours(frames, mask)}
    for label, form in (("eager", theirs), ("compiled", None if place.tiny else torch.compile(theirs))):
        if form is None:
            continue
        try:
            with torch.inference_mode():
                form(frames, half)
        except Exception as error:  # of memory or of the compiler: the kernel's own time still counts
            words[label] = f"{type(error).__name__}: {error}"[:300]
            continue
        runs[label] = partial(form, frames, half)
    with torch.inference_mode():
        seconds = interleave(runs, place)
    times = {
        f"times_{label}": ratio(seconds[label], seconds["kernel"]) for label in runs if label != "kernel"
    }
    failed = {f"{label}_failed": problem for label, problem in words.items()}
    figures = speed(seconds["kernel"], place, moved=moved, flop=flop)
    return {"name": name, "videos": len(frames), **figures, **times, **failed}


def excite(frames: Tensor, mask: Tensor, place: Place) -> dict[str, Any]:
    from vtr.export.families.ea import excitation
    from vtr.kernels import aggregate

    torch.manual_seed(7)
    gate = Gate(place.frames, max(1, place.frames // 4)).requires_grad_(False)
    ours = checks.kernel_gate(gate, place.device)
    half = gate.to(place.device).half()
    return timed_record(
        "excite",
        lambda x, _: aggregate.excite_frames(x, ours),
        lambda x, _: excitation(half, x),
        frames,
        mask,
        place,
        moved=work.excite_bytes(len(frames), place.frames, place.dim),
    )


def afa(frames: Tensor, mask: Tensor, place: Place) -> dict[str, Any]:
    from vtr.kernels import aggregate

    head, first, bias = checks.afa_parts(place, place.device)
    return timed_record(
        "pool afa",
        lambda x, _: aggregate.aggregate_afa(x, first, bias)[0],
        lambda x, given: unit(head.video(x, given, MeanP())["video"]),
        frames,
        mask,
        place,
        moved=work.pool_bytes(len(frames), place.frames, place.dim, masked=False),
        flop=work.afa_flop(len(frames), place.frames, place.dim, place.dim),
    )


def gram(place: Place) -> dict[str, Any]:
    """Done once a video, when it is indexed; in TF32 pieces, so its bf16 fraction is a lower bound."""
    case = cases.tcmgc_case(place, place.keeps[0])
    y = cases.videos(case, min(pooled(place), cases.BATCH), place.device).half()
    seconds = interleave({"gram": lambda: cases.columns(case, y)}, place)["gram"]
    flop = work.gram_flop(len(y), place.frames, place.dim)
    return {"name": "gram statistics", "videos": len(y), **speed(seconds, place, flop=flop)}
