"""`vtr remove`: take videos out of an index, or give the space of removed ones back."""

from __future__ import annotations

from pathlib import Path

import click

from vtr.cli.options import index_option, json_option, path_type
from vtr.cli.output import print_json
from vtr.errors import UsageError
from vtr.files import absolute


@click.command()
@click.argument("paths", nargs=-1, type=path_type)
@index_option
@click.option("--id", "ids", multiple=True, type=int, help="Remove by id; may be given several times.")
@click.option("--missing", is_flag=True, help="Remove videos whose file is gone: all, or those at PATHS.")
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
    if unknown := sorted(set(ids) - {video.id for video in store.snapshot().records()}):
        raise UsageError(f"{index_dir} has no video with id {', '.join(map(str, unknown))}")
    roots = {Path(absolute(path)) for path in paths}
    chosen: list[str | int] = list(ids)
    if roots or missing:
        known = [video.path for video in store.snapshot().records()] + [f.path for f in store.failures()]
        chosen += sorted(
            {
                str(path)
                for path in known
                if (not roots or path in roots or not roots.isdisjoint(path.parents))
                and (not missing or not path.exists())
            }
        )
    if roots and not missing and len(chosen) == len(ids):
        raise UsageError(f"{index_dir} has nothing at or below {', '.join(map(str, sorted(roots)))}")
    with store.writer() as writer:
        removed = writer.remove(chosen) if chosen else 0
        if compact:
            writer.compact()
    if as_json:
        print_json({"removed": removed, "compacted": compact})
    else:
        click.echo(f"{removed} removed{', index compacted' if compact else ''}")
