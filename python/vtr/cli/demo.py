"""`vtr demo`: from video files to ranked hits and moments, on vtr's own clips or the user's."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from vtr.cli.index import print_report
from vtr.cli.options import MODEL, GivenPath
from vtr.cli.output import clock, moments_text, print_table, short_path
from vtr.cli.search import print_hits
from vtr.errors import UsageError

if TYPE_CHECKING:
    from vtr.demo.clips import DemoClips, DemoSearch, Verdict
    from vtr.engine import Engine
    from vtr.types import Hit

T = TypeVar("T")

OWN_QUERIES = ("a dog", "a car drives to the right", "two people")  # for videos that nothing is known of
SHOWN = 3  # hits of a search
UNTRAINED = "NOTE: this model has random weights: its ranking means nothing. See vtr export --help."
DRAWN = (
    "NOTE: the built-in models learned from drawn clips alone. On filmed videos they show how vtr works\n"
    "      and how fast; for good answers export trained weights, see vtr export --help."
)


@click.command()
@click.option("--videos", type=GivenPath(exists=True), help="Index these, not vtr's clips.")
@click.option("--model", type=MODEL, default="mini", show_default=True, help="Built-in model or bundle.")
@click.option("--query", multiple=True, help="What to search for; may be given several times.")
@click.option(
    "--folder",
    type=GivenPath(file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the index is kept.",
)
def command(videos: Path | None, model: str, query: tuple[str, ...], folder: Path) -> None:
    """Index the clips that come with vtr, search them, and say how long each stage took.

    Beside each hit stands what its clip was made to show, so that anyone can judge.
    """
    from vtr.demo.clips import load_clips
    from vtr.engine import Engine

    clips = load_clips() if videos is None else None
    source = clips.folder if clips else videos
    assert source is not None
    loaded = stage("load the model", lambda: Engine(model))
    click.echo(f"  {loaded.model}: {loaded.model.family}; {loaded.description}")
    engine = loaded.with_index(index_folder(folder, source, loaded.model.fingerprint))
    report = stage("index", lambda: engine.index([source], progress=True))
    click.echo("  ", nl=False)
    print_report(report)
    if not len(engine.bank()):
        raise UsageError(f"nothing to search: no video could be indexed from {source}")
    stage("load the text tower and the index", lambda: engine.search("anything", k=1))
    if clips and not query:
        search_clips(engine, clips)
    else:
        for text in query or OWN_QUERIES:
            click.echo()
            print_hits(timed_search(engine, text)[:5])
    if not engine.model.manifest["trained"]:
        click.secho(f"\n{UNTRAINED}", fg="yellow")
    elif videos is not None and engine.model.builtin:
        click.secho(f"\n{DRAWN}", fg="yellow")
    click.echo(f'\nSearch it yourself: vtr search "…" --index {short_path(engine.store().path)}')


def index_folder(folder: Path, videos: Path, fingerprint: str) -> Path:
    """Where the index of these videos by this model is: one for each pair."""
    pair = f"{videos.resolve()}\n{fingerprint}".encode("utf-8", "surrogateescape")
    return folder / f"index-{hashlib.sha256(pair).hexdigest()[:8]}"


def search_clips(engine: Engine, clips: DemoClips) -> None:
    """Run the searches that the clips were made for, and count how many went as they should."""
    from vtr.demo.clips import judge

    verdicts = []
    for search in clips.searches:
        click.echo()
        hits = timed_search(engine, search.text)
        rows = [
            (str(rank), f"{hit.score:.2f}", hit.path.name, moments_text(hit.moments[:1]),
             clips.captions[hit.path.name])
            for rank, hit in enumerate(hits[:SHOWN], 1)
        ]  # fmt: skip
        print_table(["#", "score", "clip", "best moment", "made to show"], rows)
        verdicts.append(judge(search, hits))
        print_verdict(search, verdicts[-1])
    first = sum(verdict.place == 1 for verdict in verdicts)
    moments = [verdict.moment_fits for verdict in verdicts if verdict.moment_fits is not None]
    click.secho(
        f"\n{first} of {len(verdicts)} searches put the clip that was made for them first, of "
        f"{len(clips.captions)}. In {sum(moments)} of the {len(moments)} clips that show other things too, "
        "the best moment is when they show what was asked for.",
        bold=True,
    )


def print_verdict(search: DemoSearch, verdict: Verdict) -> None:
    """Whether the right clip came first, and when it really shows what was asked for."""
    spans = " and ".join(f"{clock(start)}–{clock(end)}" for start, end in search.spans)
    found = "not found" if verdict.place is None else f"number {verdict.place}"
    right = verdict.place == 1
    words = (
        f"right: it shows this at {spans}" if right else f"made for this: {search.clip} ({found}), at {spans}"
    )
    click.secho(f"  {words}", fg="green" if right else "yellow")


def timed_search(engine: Engine, text: str) -> list[Hit]:
    """Rank all videos for a text."""
    return stage(f"search “{text}”", lambda: engine.search(text, k=len(engine.bank())))


def stage(name: str, work: Callable[[], T]) -> T:
    """Run one stage and print how long it took."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    took = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
    click.secho(f"{name}: {took}", bold=True)
    return result
