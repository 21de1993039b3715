"""Time on the device: CUDA events around enough calls, A B A B, summed up by median and percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..measure import Seconds, summary
from .place import Place

MILLI = 1e-3


def timed(work: Callable[[], Any], calls: int, device: torch.device) -> float:
    """Seconds a call, of ``calls`` in a row: what the device took, or on a CPU the wall clock."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) / calls
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(calls):
        work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * MILLI / calls


def interleave(cases: Mapping[str, Callable[[], Any]], place: Place, repeats: int | None = None) -> Seconds:
    """Seconds a call of every case in ``repeats`` rounds, after two calls that compile and warm up.

    At tiny sizes each is called once, for the interpreter is slow and its time means nothing.
    """
    if place.tiny:
        return {name: [timed(work, 1, place.device)] for name, work in cases.items()}
    calls = {}
    for name, work in cases.items():
        work()
        once = timed(work, 1, place.device)
        calls[name] = max(1, round(place.least / max(once, 1e-6)))
    seconds: Seconds = {name: [] for name in cases}
    for _ in range(place.repeats if repeats is None else repeats):
        for name, work in cases.items():
            seconds[name].append(timed(work, calls[name], place.device))
    return seconds


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Median, 20th and 80th percentile."""
    return summary(seconds, MILLI, digits=4)


def speed(
    seconds: list[float], place: Place, *, moved: float | None = None, flop: float | None = None
) -> dict[str, Any]:
    """A record's figures: time, and what the median makes of ``moved`` bytes and ``flop`` operations."""
    figures: dict[str, Any] = {"ms": milliseconds(seconds)}
    median = figures["ms"]["p50"] * MILLI
    if median <= 0:  # too short for four digits: only where sizes are tiny
        return figures
    for name, amount, unit, ceiling in (
        ("gb_s", moved, 1e9, "copy_gb_s"),
        ("tflops", flop, 1e12, "bf16_tflops"),
    ):
        if amount is not None:
            rate = amount / median / unit
            figures[name] = round(rate, 2)
            figures[f"of_{ceiling}"] = round(rate / place.ceilings[ceiling], 4)
    return figures
