"""Two files of results side by side: what became slower or faster by more than the noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .case import is_ours

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """How a contender's time of one item moved from A to B; ``verdict`` "slower", "faster" or "same"."""

    case: str
    measurement: str
    contender: str
    before: Numbers
    after: Numbers
    verdict: str

    @property
    def times(self) -> float:
        """B's median over A's."""
        return self.after["p50"] / self.before["p50"]

    @property
    def ours(self) -> bool:
        """Whether vtr is what was timed, in whatever setting; a baseline says how the machine was."""
        return is_ours(self.contender)


def compare(before: Mapping[str, Any], after: Mapping[str, Any], slack: float = 0.1) -> list[Change]:
    """Every measurement that both have, in B's order.

    Args:
        slack: medians that differ by less than this share are the same.
    """
    known = dict(_times(before))
    return [
        Change(*key, known[key], numbers, verdict(known[key], numbers, slack))
        for key, numbers in _times(after)
        if key in known
    ]


def verdict(before: Numbers, after: Numbers, slack: float) -> str:
    """A change counts where the medians differ by more than ``slack`` and the intervals from p20 to p80 do
    not meet: noise that is wider than the difference is no difference."""
    if after["p50"] > before["p50"] * (1 + slack) and after["p20"] > before["p80"]:
        return "slower"
    if after["p50"] * (1 + slack) < before["p50"] and after["p80"] < before["p20"]:
        return "faster"
    return "same"


def missing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What A measured and B did not: case, measurement, contender."""
    known = {key for key, _ in _times(after)}
    return [key for key, _ in _times(before) if key not in known]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What makes the two runs hard to compare, in words."""
    told = []
    for name in ("cpu", "cores", "isa"):
        a, b = before["machine"].get(name), after["machine"].get(name)
        if a != b:
            told.append(f"{name}: {a} and {b}")
    for name in ("threads", "quick"):
        if before[name] != after[name]:
            told.append(f"{name}: {before[name]} and {after[name]}")
    return told


def _times(results: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], Numbers]]:
    for case, records in results["cases"].items():
        for record in records:
            for contender, numbers in record.get("microseconds", {}).items():
                yield (case, record["name"], contender), numbers
