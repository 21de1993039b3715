"""Records as tables, the same for a terminal and for the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .case import OURS

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """``rows`` of as many cells as there are ``headings``; from column ``text`` on they are numbers."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: int


def tables(records: Sequence[Record]) -> list[Table]:
    """Of a case: contenders and their times, then figures, then stages; those that it has."""
    found = [
        Table(
            ("what", "contender", "median", "p20 – p80", f"times faster {OURS} is", "of the ceiling"),
            [row for record in records for row in _times(record)],
            2,
        ),
        Table(
            ("what", "contender", "median", "p95", "p99"),
            [row for record in records for row in _tails(record)],
            2,
        ),
        Table(("what", "figure", "value"), [row for record in records for row in _figures(record)], 2),
        Table(
            ("what", "stage", "seconds", "share"), [row for record in records for row in _stages(record)], 2
        ),
    ]
    return [table for table in found if table.rows]


def _times(record: Record) -> Iterator[tuple[str, ...]]:
    label = record["name"]
    for contender, micro in record.get("microseconds", {}).items():
        ours = contender == OURS
        ceiling = record.get("of_ceiling") if ours else None
        item = f" a {record['item']}" if record.get("item") else ""
        yield (
            label,
            contender,
            f"{duration(micro['p50'])}{item}",
            f"{duration(micro['p20'])} – {duration(micro['p80'])}",
            "" if ours else faster(record.get("times_faster", {}).get(contender)),
            f"{ceiling['fraction']:.0%} of {ceiling['peak']}" if ceiling else "",
        )
        label = ""


def _tails(record: Record) -> Iterator[tuple[str, ...]]:
    """Latencies that have more than the usual percentiles."""
    label = record["name"]
    for contender, micro in record.get("microseconds", {}).items():
        if "p99" in micro:
            yield label, contender, *(duration(micro[part]) for part in ("p50", "p95", "p99"))
            label = ""


def _figures(record: Record) -> Iterator[tuple[str, ...]]:
    label = record["name"]
    for name, value in record.get("figures", {}).items():
        yield label, name, number(value)
        label = ""


def _stages(record: Record) -> Iterator[tuple[str, ...]]:
    label, whole = record["name"], sum(record.get("stages", {}).values())
    for stage, seconds in record.get("stages", {}).items():
        yield label, stage, f"{seconds:.3f}", f"{seconds / whole:.0%}" if whole else ""
        label = ""


# ---- numbers in words --------------------------------------------------------------------------------


def faster(ratio: Mapping[str, Any] | None) -> str:
    """ "12×", or that there is no difference where noise is wider than it."""
    if ratio is None:
        return ""
    if not ratio.get("clear", True):
        return f"no difference ({short(ratio['p20'])} – {short(ratio['p80'])}×)"
    return f"{short(ratio['p50'])}× ({short(ratio['p20'])} – {short(ratio['p80'])})"


def duration(microseconds: float) -> str:
    """Three digits, in the unit that suits: "2.94 µs", "48.1 ms", "1.20 s"."""
    value = float(microseconds) * 1000
    for unit in ("ns", "µs", "ms"):
        if abs(value) < 999.5:
            return f"{short(value)} {unit}"
        value /= 1000
    return f"{short(value)} s"


def short(value: float) -> str:
    """A number with three digits that count, no exponent."""
    value = float(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if abs(value) < 1000:
        value = float(f"{value:.3g}")  # 0.9997 has the digits of 1.00
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def number(value: Any) -> str:
    """A figure as it is read: whole numbers as they are, others with three digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if isinstance(value, Mapping):
            return ", ".join(f"{name} {number(part)}" for name, part in value.items())
        return str(value)
    return f"{value:,}" if isinstance(value, int) else short(value)
