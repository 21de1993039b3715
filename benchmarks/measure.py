"""Timing that can be believed: warmed up, interleaved, summed up by medians and by ratios of neighbours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Seconds = dict[str, list[float]]

# Threads of OpenMP and ONNX Runtime that have nothing to do spin for a while before they sleep: they would
# take cores from whoever comes next.
PAUSE = 0.25


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleave(
    cases: Mapping[str, Callable[[], Any]], repeats: int, least: float = 0.0, pause: float = 0.0
) -> Seconds:
    """Seconds a call of every case: A B A B …, so that what disturbs the machine meets all of them.

    Args:
        repeats: rounds that count; one more comes first and warms up.
        least: a case is called as often in one round as fills this many seconds; the round gives the mean.
        pause: seconds of rest before each turn, after which one call warms up.
    """
    calls = {name: max(1, round(least / max(timed(work), 1e-6))) for name, work in cases.items()}
    seconds: Seconds = {name: [] for name in cases}
    for _ in range(repeats):
        for name, work in cases.items():
            if pause and len(cases) > 1:
                time.sleep(pause)
                work()
            start = time.perf_counter()
            for _ in range(calls[name]):
                work()
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return seconds


def summary(values: list[float], unit: float = 1.0, digits: int = 3) -> dict[str, float]:
    """Median and the 20th and 80th percentile, in multiples of ``unit``."""
    low, high = np.percentile(values, [20, 80])
    numbers = {"p20": low, "p50": statistics.median(values), "p80": high}
    return {name: round(float(number) / unit, digits) for name, number in numbers.items()}


def ratio(baseline: list[float], ours: list[float]) -> dict[str, float]:
    """How many times faster, by pairs that ran next to each other."""
    return summary([a / b for a, b in zip(baseline, ours, strict=True)], digits=2)
