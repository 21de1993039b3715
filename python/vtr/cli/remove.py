"""`vtr remove`: take videos out of an index, or give the space of removed ones back."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vtr.cli.options import index_option, json_option
from vtr.cli.output import print_json
from vtr.errors import UsageError


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@index_option
@click.option("--id", "ids", multiple=True, type=int, help="Remove by id; may be given several times.")
@click.option("--missing", is_flag=True, help="Remove every video whose file is gone.")
@click.option("--compact", is_flag=True, help="Rewrite the index without its removed rows.")
@json_option
def command(
    paths: tuple[Path, ...],
    index_dir: Path,
    ids: tuple[int, ...],
    missing: bool,
    compact: bool,
    as_json: bool,
) -> None:
    """Remove the videos at PATHS (a folder removes all below it) from an index."""
    from vtr.index import IndexStore

    if not (paths or ids or missing or compact):
        raise UsageError("expected PATHS, --id, --missing or --compact: there is nothing to do")
    store = IndexStore.open(index_dir)
    chosen: set[str | int] = set(ids)
    for video in store.snapshot().records() if paths or missing else ():
        below = any(
            str(video.path) == root or str(video.path).startswith(root + os.sep)
            for root in map(os.path.abspath, paths)
        )
        if below or (missing and not video.path.exists()):
            chosen.add(video.id)
    with store.writer() as writer:
        removed = writer.remove(sorted(chosen, key=str)) if chosen else 0
        if compact:
            writer.compact()
    if as_json:
        print_json({"removed": removed, "compacted": compact})
    else:
        click.echo(f"{removed} removed{', index compacted' if compact else ''}")
