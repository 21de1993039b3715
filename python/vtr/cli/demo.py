"""`vtr demo`: the whole way from video files to ranked hits, on clips made on the spot or the user's own."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import click

from vtr.cli.index import print_report
from vtr.cli.output import short_path
from vtr.cli.search import print_hits
from vtr.errors import BackendError, UsageError

QUERIES = ("a red circle moves to the right", "a yellow star", "a shape, then a white star that turns")
UNTRAINED = (
    "NOTE: this model has random weights. It shows the whole path and its speed, but the ranking means\n"
    "      nothing. For real answers export a trained checkpoint: vtr export --help"
)


@click.command()
@click.option("--videos", type=click.Path(path_type=Path, exists=True), help="Index these, not made clips.")
@click.option("--model", type=click.Path(path_type=Path), help="Bundle to use instead of the untrained one.")
@click.option("--query", multiple=True, help="What to search for; may be given several times.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where clips, bundle and index are kept.",
)
def command(videos: Path | None, model: Path | None, query: tuple[str, ...], folder: Path) -> None:
    """Render clips, index them, search them, and say how long each stage took."""
    from vtr.engine import Engine

    if videos is None:
        from vtr.demo.clips import render_clips

        captions = stage("render clips", lambda: render_clips(folder / "clips"))
        click.echo(f"  {len(captions)} clips in {short_path((folder / 'clips').absolute())}")
        videos = folder / "clips"
    if model is None:
        from vtr.demo.model import untrained_bundle

        try:
            model = stage("export a model", lambda: untrained_bundle(folder / "untrained"))
        except ImportError as error:
            raise BackendError(f"making a model needs more ({error}): pip install 'vtr[export]'") from error
    what = hashlib.sha256(f"{videos.resolve()}\n{Path(model).resolve()}".encode("utf-8", "surrogateescape"))
    index = folder / f"index-{what.hexdigest()[:8]}"  # one for each pair of videos and model
    engine = stage("load the model", lambda: Engine(model, index))
    click.echo(f"  {engine.encoders.description}")
    report = stage("index", lambda: engine.index([videos], progress=True))
    click.echo("  ", nl=False)
    print_report(report)
    if not len(engine.bank()):
        raise UsageError(f"nothing to search: no video could be indexed from {videos}")
    for text in query or QUERIES:
        click.echo()
        hits = stage(f"search “{text}”", lambda text=text: engine.search(text, k=5))
        print_hits(hits)
    if not engine.model.manifest.get("trained", True):
        click.secho(f"\n{UNTRAINED}", fg="yellow")
    click.echo(f'\nSearch it yourself: vtr search "…" --index {short_path(engine.store().path)}')


def stage(name: str, work):  # type: ignore[no-untyped-def]
    """Run one stage and print how long it took."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    took = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
    click.secho(f"{name}: {took}", bold=True)
    return result
