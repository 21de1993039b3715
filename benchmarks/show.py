"""What `vtr-bench` prints: the machine, a table a case, changes, promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vtr.files import printable

if TYPE_CHECKING:
    from .compare import Change
    from .promises import Checked
    from .tables import Table


def header(results: Mapping[str, Any]) -> None:
    """Machine, threads, ceilings."""
    from .ceilings import UNITS
    from .results import name_of
    from .tables import short

    click.echo(f"{name_of(results['machine'])}; threads of every contender: {results['threads']}")
    for name, value in results["ceilings"].items():
        click.echo(f"  {short(value):>7} {UNITS.get(name, name)} ({name})")
    if results["quick"]:
        click.echo("  --quick: small sizes and few rounds; for checking, not for quoting")


def case(name: str, records: list[dict[str, Any]], why: str) -> None:
    """A case's tables, or why there are none; then what its figures leave out and were checked for."""
    from .cases import TITLES
    from .tables import tables

    click.echo(f"\n{name}: {TITLES.get(name, '')}")
    if why:
        click.echo(f"  {printable(why)}")
    for table in tables(records):
        _table(table)
    for line in notes(records):
        click.echo(f"  {line}")


def notes(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What timings leave out, and contenders that were skipped, each said once."""
    lines: dict[str, None] = {}
    for record in records:
        if record.get("leaves_out"):
            lines[f"left out: {record['leaves_out']}"] = None
        for contender, why in record.get("skipped", {}).items():
            lines[f"skipped: {contender}: {why}"] = None
    return list(lines)


def changes(
    found: Sequence[Change],
    differences: Sequence[str],
    missing: Sequence[tuple[str, str, str]],
    everything: bool,
) -> None:
    """Slower and faster measurements, and what makes the runs hard to compare."""
    from .tables import Table, duration, short

    for difference in differences:
        click.echo(f"the runs differ in {printable(difference)}")
    for key in missing:
        click.echo(f"only in the first: {', '.join(key)}")
    shown = [change for change in found if everything or change.verdict != "same"]
    rows = [
        (
            f"{change.case}: {change.measurement}",
            change.contender,
            duration(change.before["p50"]),
            duration(change.after["p50"]),
            f"{short(change.times)}×",
            change.verdict if change.ours else f"{change.verdict} (baseline)",
        )
        for change in shown
    ]
    if rows:
        _table(Table(("what", "contender", "before", "after", "time", "verdict"), rows, 2))
    counts = {
        verdict: sum(c.ours and c.verdict == verdict for c in found)
        for verdict in ("slower", "faster", "same")
    }
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def promises(checked: Sequence[Checked]) -> bool:
    """Print each promise and what was measured; whether all hold."""
    click.echo("\npromises of the documentation")
    for one in checked:
        click.echo(f"  {one.verdict}: {one.text}")
    return all(one.holds for one in checked)


def _table(table: Table) -> None:
    """What was measured on a line of its own, its contenders below it in columns."""
    cells = [[printable(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    last = len(widths) - 1

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(widths[n]) if n < table.text or n == last else cell.rjust(widths[n])
            for n, cell in enumerate(row)
            if n
        )
        return f"    {'  '.join(padded)}".rstrip()

    click.echo(line(cells[0]))
    for row in cells[1:]:
        if row[0]:
            click.echo(click.style(f"  {row[0]}", bold=True))
        click.echo(line(row))
