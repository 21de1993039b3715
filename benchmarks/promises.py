"""Ratios that the documentation promises, and whether a run bears them out.

``least`` is what the documentation says was measured on a named machine; ``slack`` is the share of it that
any machine has to reach, at the small sizes of ``--quick`` too. It is generous: processors without matrix
units gain less, and short runs are noisy. What it catches is a path that was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .tables import short


@dataclass(frozen=True)
class Promise:
    """vtr is at least ``least · slack`` times as fast as a contender.

    ``measurement`` is the measurement's name, or its beginning up to a comma: sizes come last in names.
    """

    case: str
    measurement: str
    contender: str
    least: float
    slack: float
    where: str  # the place in the documentation

    @property
    def bound(self) -> float:
        return self.least * self.slack


PROMISES = (
    Promise("score", "TC-MGC K=22, 1 text", "PyTorch eager", 53, 0.25, "README, How fast"),
    Promise("score", "TC-MGC K=3, 1 text", "PyTorch eager", 60, 0.25, "README, How fast"),
    Promise("score", "TC-MGC K=22, 64 texts", "PyTorch eager", 58, 0.25, "README, How fast"),
    Promise("score", "X-CLIP, 1 text", "PyTorch eager", 8.4, 0.25, "README, How fast"),
    Promise("score", "TC-MGC K=22, 1 text", "PyTorch compiled", 48, 0.25, "README, How fast"),
    Promise("score", "TC-MGC K=3, 1 text", "PyTorch compiled", 51, 0.25, "README, How fast"),
    Promise("score", "TC-MGC K=22, 64 texts", "PyTorch compiled", 51, 0.25, "README, How fast"),
    Promise("score", "X-CLIP, 1 text", "PyTorch compiled", 6.6, 0.25, "README, How fast"),
    Promise("score", "one vector, 1 text", "PyTorch eager", 2.9, 0.4, "README, How fast"),
    Promise("score", "one vector, 1 text", "FAISS flat", 5.8, 0.25, "README, How fast"),
    Promise("score", "one vector, 64 texts", "FAISS flat", 18, 0.25, "README, How fast"),
    Promise("decode", "all files in one process", "OpenCV", 3.3, 0.4, "README, How fast"),
    Promise("search", "TC-MGC K=16, alone, 10,000 videos", "published way", 37, 0.25, "README, How fast"),
    Promise("index", "", "published way", 4.6, 0.3, "README, How fast"),
)


@dataclass(frozen=True)
class Checked:
    promise: Promise
    verdict: str  # "holds", "BROKEN" or "not checked"
    text: str

    @property
    def holds(self) -> bool:
        return self.verdict != "BROKEN"


def check(results: Mapping[str, Any], promises: Sequence[Promise] = PROMISES) -> list[Checked]:
    """Each promise against the results. One whose case did not run, or whose contender was skipped by name,
    is not checked; one whose measurement is not there though its case ran is broken: it was renamed."""
    return [checked for promise in promises for checked in _check(promise, results)]


def _check(promise: Promise, results: Mapping[str, Any]) -> Iterator[Checked]:
    what = f"{promise.case}: {promise.measurement or 'all'}, {promise.contender}"
    if promise.case not in results["cases"]:
        why = results["skipped"].get(promise.case) or results["failed"].get(promise.case) or "did not run"
        yield Checked(promise, "not checked", f"{what}: the case {promise.case}: {why}")
        return
    measured = False
    for record in results["cases"][promise.case]:
        if not _named(record["name"], promise.measurement):
            continue
        if (ratio := record.get("times_faster", {}).get(promise.contender)) is not None:
            measured = True
            yield _compared(promise, record["name"], ratio)
        elif (why := record.get("skipped", {}).get(promise.contender)) is not None:
            measured = True
            yield Checked(promise, "not checked", f"{what}: {why}")
    if not measured:
        yield Checked(promise, "BROKEN", f"{what}: no such measurement in this run")


def _named(name: str, wanted: str) -> bool:
    return not wanted or name == wanted or name.startswith(f"{wanted},")


def _compared(promise: Promise, name: str, ratio: Mapping[str, Any]) -> Checked:
    text = (
        f"{promise.case}: {name}: {short(ratio['p50'])} times {promise.contender}; expected at least "
        f"{short(promise.bound)}, {promise.slack:.0%} of the {short(promise.least)} of {promise.where}"
    )
    return Checked(promise, "holds" if ratio["p50"] >= promise.bound else "BROKEN", text)
