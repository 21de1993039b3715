"""Printing results: a table on a terminal, tab-separated lines into a pipe, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from vtr.files import plain, printable
from vtr.types import Moment


def print_json(value: Any) -> None:
    """One JSON document; paths as strings, bytes that are not UTF-8 escaped."""
    text = json.dumps(value, indent=2, default=str, ensure_ascii=False)
    click.echo(plain(text))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table whose first columns keep their width and whose last one may wrap."""
    if sys.stdout is None or not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(printable(cell) for cell in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("#", "score") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    Console().print(table)


def short_path(path: Path) -> str:
    """A path relative to the working directory if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def clock(seconds: float) -> str:
    """1:02:03.4 for a time in seconds."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def moments_text(moments: Sequence[Moment]) -> str:
    """0:02.0–0:06.5 (71%), …"""
    return ", ".join(f"{clock(m.start)}–{clock(m.end)} ({m.weight:.0%})" for m in moments)


def size_text(count: int) -> str:
    """A number of bytes with a binary unit."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
