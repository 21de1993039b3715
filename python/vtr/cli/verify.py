"""`vtr verify`: every byte of a bundle or an index against its checksums."""

from __future__ import annotations

import sys

import click

from vtr.cli.info import kind_of
from vtr.cli.options import MODEL, json_option
from vtr.cli.output import print_json
from vtr.files import printable


@click.command()
@click.argument("path", type=MODEL)
@json_option
def command(path: str, as_json: bool) -> None:
    """Check the bundle or index at PATH, or a built-in model such as mini.

    Prints what is wrong and exits with 1 if anything is.
    """
    kind = kind_of(path)
    notes: list[str] = []
    if kind == "bundle":
        from vtr.bundle import verify_bundle

        problems = verify_bundle(path)
    else:
        from vtr.index import verify_index

        problems = verify_index(path, notes=notes)
    name = printable(path)
    if as_json:
        print_json({"path": path, "kind": kind, "sound": not problems, "problems": problems, "notes": notes})
    else:
        for line in [*(f"note: {note}" for note in notes), *problems]:
            click.echo(f"{kind} {name}: {printable(line)}", err=True)
        if not problems:
            click.echo(f"{kind} {name}: sound")
    if problems:
        sys.exit(1)
