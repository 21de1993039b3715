"""The documentation's page of figures, made of results of named machines: equal results, equal page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtr.errors import UsageError

from .cases import MODULES, TITLES
from .ceilings import UNITS
from .results import name_of
from .show import notes
from .tables import Table, number, tables

HEAD = """# Benchmarks

Written by `vtr-bench document`; every figure comes from the JSON files that the sections name. `vtr-bench`
measures the same on your machine: what vtr does, beside what you might use instead, in one run.

- Results are compared before anything is timed, and nothing is timed where they disagree.
- Contenders are warmed up and take turns, A B A B …. A time is the median, with the 20th and the
  80th percentile behind it. "Times faster" is the median of the ratios of neighbouring rounds, with the same
  percentiles; where these have 1 between them the table says "no difference".
- All contenders have the same number of threads. What a timing leaves out stands below its table.
- "Of the ceiling" is the share of what the same run measured as this machine's limit.
"""


def page(found: Sequence[tuple[Path, Mapping[str, Any]]], out: Path) -> str:
    """Markdown of all results.

    Args:
        found: files and what is in them.
        out: where the page will be; files are linked from there.

    Raises:
        UsageError: results of a quick run, or of one in which a case failed.
    """
    for path, results in found:
        if results["quick"]:
            raise UsageError(f"{path} is of a --quick run: its figures are for checking, not for quoting")
        if results["failed"]:
            raise UsageError(f"{path}: {', '.join(results['failed'])} failed; document a run that is whole")
    return "\n".join([HEAD, *(line for path, results in found for line in _section(path, results, out))])


def _section(path: Path, results: Mapping[str, Any], out: Path) -> Iterator[str]:
    machine = results["machine"]
    link = Path(os.path.relpath(path.absolute(), out.absolute().parent)).as_posix()
    alone = "" if set(MODULES) <= {*results["cases"], *results["skipped"]} else ", ".join(results["cases"])
    yield f"## {name_of(machine)}{alone and f': {alone} alone'}"
    yield ""
    yield (
        f"{number(machine.get('memory_gib', 'unknown'))} GiB of memory, {machine.get('system', 'unknown')}, "
        f"{results['date']}; threads of every contender: {results['threads']}; [{path.name}]({link})."
    )
    yield "Versions: " + ", ".join(f"{name} {is_}" for name, is_ in results["versions"].items()) + "."
    yield ""
    rows = [(UNITS.get(name, name), number(value), str(name)) for name, value in results["ceilings"].items()]
    yield from markdown(Table(("ceiling of this machine", "measured", "called below"), rows, 1))
    for name in [*MODULES, *(name for name in results["cases"] if name not in MODULES)]:
        if name in results["cases"]:
            yield from _case(name, results["cases"][name])
        elif why := results["skipped"].get(name):
            yield from ("", f"### {name}", "", f"Not measured here: {escaped(why)}.")
    yield ""


def _case(name: str, records: list[Mapping[str, Any]]) -> Iterator[str]:
    yield ""
    yield f"### {name}: {TITLES[name]}" if name in TITLES else f"### {name}"
    for table in tables(records):
        yield ""
        yield from markdown(table)
    lines = [*notes(records), *_checks(records)]
    if lines:
        yield ""
        yield from (f"- {escaped(line)}" for line in lines)


def _checks(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What results were compared by, the values of all records together."""
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.get("check", {}).items():
            values.setdefault(name, []).append(value)
    for name, those in values.items():
        low, high = min(those), max(those)
        span = number(low) if low == high else f"{number(low)} to {number(high)}"
        yield f"checked before timing: {name} {span}"


def markdown(table: Table) -> Iterator[str]:
    """A table as Markdown lines."""
    yield _line(table.headings)
    last = len(table.headings) - 1
    yield _line(["---" if n < table.text or n == last else "---:" for n in range(last + 1)])
    for row in table.rows:
        yield _line([escaped(cell) for cell in row])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
