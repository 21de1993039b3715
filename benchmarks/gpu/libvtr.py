"""Part "libvtr": a text's features in, ten videos out, through the native core's copy of a bank on the GPU.

The time is the wall clock of one call from Python: making the query ready on the host, copying it, the
kernels, copying the answer back, ranking. The core compiles nothing and knows no PyTorch: it is given cubins
as `vtr export --cuda` makes them, compiled here for this GPU. It repeats a search as a CUDA graph when the
same number of texts comes again; alternating between one text and two keeps it from that.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..measure import summary
from . import cases
from .place import Place
from .timing import MILLI

K = 10
VIDEOS = 200_000  # of the bank, whose first copy is in main memory: 3 GB for TC-MGC
BATCH = 1 << 14


def measure(place: Place) -> Iterator[dict[str, Any]]:
    place.require_gpu()
    yield from of_cases(import_core(), place)


def of_cases(core: Any, place: Place) -> Iterator[dict[str, Any]]:
    device = core.Device(place.device.index or 0)
    for case in [*(cases.tcmgc_case(place, keep) for keep in place.keeps), cases.xclip_case(place)]:
        bank = host_bank(core, case, min(VIDEOS, place.videos), place)
        with tempfile.TemporaryDirectory() as folder:
            seconds = compile_kernels(case, Path(folder), device.capability)
            yield {"name": f"{case.name} compiled for one architecture", "seconds": round(seconds, 1)}
            copy = core.DeviceBank(device, bank, folder)
        yield from searches(core, case, bank, copy, place)


def import_core() -> Any:
    try:
        from vtr import _core
    except ImportError as error:
        raise RuntimeError(f"the native core is not built ({error}): pip install .") from error
    if not hasattr(_core, "DeviceBank"):
        raise RuntimeError("the native core that is built here knows no GPUs: build it again")
    return _core


def compile_kernels(case: cases.Case, folder: Path, capability: tuple[int, int]) -> float:
    """Cubins for one architecture; seconds that it took."""
    from vtr.kernels.aot import build

    start = time.perf_counter()
    build(case.spec, folder, [10 * capability[0] + capability[1]], K)
    return time.perf_counter() - start


def host_bank(core: Any, case: cases.Case, count: int, place: Place) -> Any:
    """The core's bank of random videos, made on the GPU a batch at a time."""
    sizes = {name: size for name, size in case.sizes.items() if size is not None}
    bank = core.Bank(core.Model(case.spec.scoring, dict(case.arrays), **sizes, storage="float16"))
    for start in range(0, count, BATCH):
        frames = cases.videos(case, min(BATCH, count - start), place.device, seed=start)
        bank.append(np.arange(start, start + len(frames)), host_columns(case, frames))
    return bank


def host_columns(case: cases.Case, frames: torch.Tensor) -> dict[str, np.ndarray]:
    """What an index stores of videos ``[n, F, D]``."""
    first, second = (column.cpu().numpy() for column in cases.columns(case, frames))
    if case.spec.scoring == "xclip":
        return {"frames": first, "video": second}
    video = torch.nn.functional.normalize(frames.mean(1), dim=-1).half().cpu().numpy()
    return {"frames": first, "gram": second, "video": video}


def searches(core: Any, case: cases.Case, bank: Any, copy: Any, place: Place) -> Iterator[dict[str, Any]]:
    pool = core.Pool(0)
    common = {"videos": len(copy), "target": copy.target}
    yield {
        "name": f"libvtr {case.name} agreement",
        **common,
        **agreement(core, case, bank, copy, place, pool),
    }
    for texts in place.texts:
        text = cases.texts(case, texts)
        times = latencies(lambda text=text: copy.search(text.sentence, text.words, K, pool=pool), place)
        yield {"name": f"libvtr {case.name} {texts} texts", **common, "ms": summary(times, MILLI, digits=4)}
    one, two = cases.texts(case, 1), cases.texts(case, 2)
    times = latencies(
        lambda: copy.search(one.sentence, one.words, K, pool=pool),
        place,
        between=lambda: copy.search(two.sentence, two.words, K, pool=pool),
    )
    name = f"libvtr {case.name} 1 texts without a CUDA graph"
    yield {"name": name, **common, "ms": summary(times, MILLI, digits=4)}
    query = core.Query(bank.model, one.sentence, one.words, pool=pool)
    times = latencies(lambda: bank.search(query, K, pool=pool), place, rounds=place.repeats)
    yield {"name": f"core on the CPU {case.name} 1 texts", **common, "ms": summary(times, MILLI, digits=4)}


def latencies(work: Any, place: Place, between: Any = None, rounds: int | None = None) -> list[float]:
    """Seconds of single calls, some tens of them; ``between`` runs before each and is not timed."""
    seconds = []
    for number in range(3 + (rounds or 10 * place.repeats)):
        if between is not None:
            between()
        start = time.perf_counter()
        work()
        if number >= 3:  # the first make buffers, and the graph
            seconds.append(time.perf_counter() - start)
    return seconds


def agreement(core: Any, case: cases.Case, bank: Any, copy: Any, place: Place, pool: Any) -> dict[str, Any]:
    """With the core on the CPU: the share of its ten best, and the largest difference of their scores."""
    text = cases.texts(case, min(place.judged, 16), seed=9)
    query = core.Query(bank.model, text.sentence, text.words, pool=pool)
    ids, scores, _ = copy.search(text.sentence, text.words, K, pool=pool)
    expected, best, _ = bank.search(query, K, pool=pool)
    shared = [len(np.intersect1d(*pair)) / K for pair in zip(ids, expected, strict=True)]
    return {
        "texts": len(text),
        "top10": round(float(np.mean(shared)), 5),
        "largest_difference": round(float(np.abs(scores - best).max()), 5),
    }
