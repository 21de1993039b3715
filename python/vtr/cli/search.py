"""`vtr search`: ranked videos with their moments."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtr.cli.options import GivenPath, engine_options, index_option, json_option, open_engine, path_type
from vtr.cli.output import moments_text, print_json, print_table, short_path
from vtr.errors import UsageError
from vtr.types import Hit

if TYPE_CHECKING:
    from vtr.engine import Engine


@click.command()
@click.argument("text", nargs=-1)
@index_option
@engine_options
@click.option("-k", default=10, show_default=True, type=click.IntRange(min=1), help="How many hits.")
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    help="Score only the best N by one vector a video  [default: all]",
)
@click.option("--where", help="Conditions on fields, such as 'camera=front duration>10'.")
@click.option("--video", type=path_type, help="Search for videos like this file instead.")
@click.option(
    "--texts",
    type=GivenPath(dir_okay=False, exists=True),
    help="With --video: rank the lines of this file for it, instead of the index's videos.",
)
@json_option
def command(
    text: tuple[str, ...],
    index_dir: Path,
    k: int,
    candidates: int | None,
    where: str | None,
    video: Path | None,
    texts: Path | None,
    as_json: bool,
    **engine: Any,
) -> None:
    """Search an index for TEXT, or for videos like --video FILE."""
    if bool(text) == (video is not None) or (texts and not video):
        raise UsageError("expected either TEXT or --video FILE, and --texts only with --video")
    if texts and (candidates or where):
        raise UsageError("--candidates and --where are for videos; with --texts, texts are ranked")
    if not index_dir.exists():
        raise UsageError(
            f"{index_dir} does not exist: make an index with `vtr index PATH… --index {index_dir}`"
        )
    opened = open_engine(index_dir=index_dir, **engine)
    if video is not None and texts is not None:
        rank_texts(opened, video, texts, k, as_json)
        return
    query: str | Path = video if video is not None else " ".join(text)
    start = time.perf_counter()
    hits = opened.search(query, k=k, candidates=candidates, where=where)
    seconds = time.perf_counter() - start
    if as_json:
        print_json([hit.as_json() for hit in hits])
        return
    print_hits(hits)
    click.echo(f"{len(hits)} of {len(opened.bank())} videos in {seconds * 1000:.1f} ms", err=True)


def rank_texts(engine: Engine, video: Path, texts: Path, k: int, as_json: bool) -> None:
    """Print the lines of a file that describe a video best."""
    lines = [
        line for line in texts.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    hits = engine.search(video, k, texts=lines)
    if as_json:
        print_json([{"index": hit.index, "text": hit.text, "score": round(hit.score, 5)} for hit in hits])
    else:
        rows = [(str(rank), f"{hit.score:.2f}", hit.text) for rank, hit in enumerate(hits, 1)]
        print_table(["#", "score", "text"], rows)


def print_hits(hits: list[Hit]) -> None:
    """Rank, score, file, moments."""
    rows = [
        (str(rank), f"{hit.score:.2f}", short_path(hit.path), moments_text(hit.moments))
        for rank, hit in enumerate(hits, 1)
    ]
    print_table(["#", "score", "video", "moments"], rows)
