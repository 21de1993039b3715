"""A benchmark case: contenders for one piece of work, checked against each other, then timed in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .measure import PAUSE, Seconds, interleave, ratio, summary

Work = Callable[[], Any]
OURS = "vtr"  # name of the contender that ratios are told of


def is_ours(contender: str) -> bool:
    """Whether a contender is vtr, in whatever setting: "vtr", "vtr fast", "vtr, 1,000 candidates"."""
    return contender.split(",")[0].split()[0] == OURS


@dataclass(frozen=True)
class Context:
    """What every case of a run is given.

    ``videos``: files of the user, or the shared clips; empty where there are none. ``folder``: scratch space,
    which goes away with the run. ``ceilings``: as `ceilings.ceilings` gives them.
    """

    threads: int
    quick: bool
    videos: Sequence[Path]
    folder: Path
    ceilings: Mapping[str, float] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        return 3 if self.quick else 7


@dataclass(frozen=True)
class Ceiling:
    """Work of one call against what the machine can do: ``amount`` in 1e9 bytes or 1e12 operations,
    ``peak`` the name of a figure of ``Context.ceilings``."""

    amount: float
    peak: str


@dataclass
class Measurement:
    """One setting of a case: contenders that do the same, how it was checked, and how long they took.

    Args:
        name: of the setting, e.g. "tcmgc K=22, 10,000 videos, 1 text".
        items: pieces of work of one call, and ``item`` what they are: figures are per item.
        contenders: the work of each; `OURS` among them.
        check: what was compared before timing, in figures; a case raises `Disagreement` where it fails.
        leaves_out: what the timing does not contain.
        skipped: contenders that are not here, and why.
        ceiling: of `OURS`, where one applies.
        settings: numbers by which plots arrange measurements, e.g. {"videos": 10_000}; "flop" and "bytes" of
            one item put the measurement into the roofline.
    """

    name: str
    item: str
    items: float
    contenders: Mapping[str, Work]
    check: Mapping[str, float] = field(default_factory=dict)
    leaves_out: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)
    ceiling: Ceiling | None = None
    settings: Mapping[str, float] = field(default_factory=dict)


class Disagreement(Exception):
    """Contenders' results differ: nothing is timed."""


@dataclass(frozen=True)
class Case:
    """A kind of measurement.

    ``prepare`` yields measurements one at a time, so that one's memory is free when the next is made. A case
    that times in its own way, or that is no matter of time, yields records instead. Such a record has a
    "name" and any of

    - "microseconds": ``{contender: {"p20", "p50", "p80", …}}`` of one "item", and "times_faster", as `run`
      makes them: then tables, plots and ``vtr-bench compare`` treat it as one of `run`'s;
    - "figures": ``{label with its unit: number}``, e.g. ``{"peak, MB": 310.5}``;
    - "stages": ``{stage: seconds}``, where the time of one call went: the plot of indexing is made of it;
    - "settings", "check", "leaves_out", "skipped", as a `Measurement` has them.

    A `ModuleNotFoundError` or a `vtr.BackendError` that leaves ``prepare`` means that what the whole case
    needs is not installed: the case is skipped by name and the others run.
    """

    name: str
    prepare: Callable[[Context], Iterator[Measurement | dict[str, Any]]]


def run_case(case: Case, context: Context) -> list[dict[str, Any]]:
    """All records of a case, as they go into the JSON file."""
    records = []
    for found in case.prepare(context):
        records.append(found if isinstance(found, dict) else run(found, context))
    return records


def run(measurement: Measurement, context: Context) -> dict[str, Any]:
    """Time a measurement's contenders, A B A B …"""
    least, pause = (0.02, 0.0) if context.quick else (0.2, PAUSE)
    seconds = interleave(measurement.contenders, context.repeats, least, pause)
    record: dict[str, Any] = {
        "name": measurement.name,
        "item": measurement.item,
        "items": measurement.items,
        "settings": dict(measurement.settings),
        "check": dict(measurement.check),
        "microseconds": {
            name: summary(times, measurement.items * 1e-6, 6) for name, times in seconds.items()
        },
        "times_faster": ratios(seconds),
        "leaves_out": measurement.leaves_out,
        "skipped": dict(measurement.skipped),
    }
    if measurement.ceiling is not None and measurement.ceiling.peak in context.ceilings:
        reached = measurement.ceiling.amount / statistics.median(seconds[OURS])
        record["of_ceiling"] = {
            "peak": measurement.ceiling.peak,
            "fraction": round(reached / context.ceilings[measurement.ceiling.peak], 3),
        }
    return record


def ratios(seconds: Seconds) -> dict[str, dict[str, Any]]:
    """How many times faster `OURS` is than each other, by neighbouring pairs. ``"clear"`` says whether the
    spread of the pairs (p20 to p80) leaves 1 out; where it does not, there is no difference."""
    found: dict[str, dict[str, Any]] = {}
    for name, times in seconds.items():
        if name != OURS and OURS in seconds:
            times_faster = ratio(times, seconds[OURS])
            clear = times_faster["p20"] > 1 or times_faster["p80"] < 1
            found[name] = {**times_faster, "clear": clear}
    return found
