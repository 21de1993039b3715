"""`vtr eval`: retrieval quality on captioned videos, from an index, a folder or a score matrix."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from vtr.cli.options import engine_options, file_type, json_option, open_engine, path_type
from vtr.cli.output import print_json
from vtr.errors import UsageError
from vtr.files import check_writable, find_videos, printable
from vtr.progress import make_progress

if TYPE_CHECKING:
    from vtr.engine import Engine
    from vtr.evaluation import Annotations, Evaluation

PROTOCOLS = ["auto", "msrvtt-1ka", "msrvtt", "msvd", "lsmdc", "didemo", "activitynet", "vatex", "csv", "json"]


@click.command()
@click.argument("annotations", required=False, type=file_type)
@click.option("--index", "index_dir", type=path_type, help="Directory of the index.")
@click.option(
    "--videos",
    multiple=True,
    type=path_type,
    help="Folder whose annotated videos are indexed first, into --index or, without it, for this once.",
)
@click.option("--scores", type=file_type, help="Score matrix [texts, videos] (.npy) instead of an index.")
@click.option("--texts", type=file_type, help="For --scores: a line for each row, the video of that text.")
@click.option("--columns", type=file_type, help="For --scores: a line for each column, the video's name.")
@click.option(
    "--protocol",
    default="auto",
    show_default=True,
    type=click.Choice(PROTOCOLS),
    help="Format of ANNOTATIONS.",
)
@click.option("--split", help="File that lists the test videos; for MSR-VTT's JSON also a split's name.")
@click.option("--allow-missing", is_flag=True, help="Leave out captions whose video is not in the index.")
@click.option("--whole-index", is_flag=True, help="All indexed videos compete, not only annotated ones.")
@click.option(
    "--caption-pool",
    "pool",
    default="sets",
    show_default=True,
    type=click.Choice(["sets", "each"]),
    help="Video to text: the captions of a video are one answer, as CLIP4Clip has it, or each is one.",
)
@click.option("--dsl", is_flag=True, help="Also with dual softmax, which sees all queries at once.")
@click.option(
    "--bootstrap",
    "resamples",
    default=1000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Resamples for the confidence intervals; 0 leaves them out.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the resamples.")
@click.option("--plot", type=file_type, help="Picture of R@k to write (.png, .svg, .pdf).")
@click.option("--ranks", type=file_type, help="CSV to write: each caption's rank, and what came first.")
@click.option("--save-scores", type=file_type, help="Score matrix to write (.npy).")
@engine_options
@json_option
def command(
    annotations: Path | None,
    index_dir: Path | None,
    videos: tuple[Path, ...],
    scores: Path | None,
    texts: Path | None,
    columns: Path | None,
    protocol: str,
    split: str | None,
    allow_missing: bool,
    whole_index: bool,
    pool: str,
    dsl: bool,
    resamples: int,
    seed: int,
    plot: Path | None,
    ranks: Path | None,
    save_scores: Path | None,
    as_json: bool,
    **engine: Any,
) -> None:
    """Measure retrieval with the captions in ANNOTATIONS: recall and ranks, in both directions.

    ANNOTATIONS is a file of MSR-VTT, MSVD, LSMDC, DiDeMo, ActivityNet or VATEX as published, or CSV or
    JSON with videos and captions. Videos are matched by file name without suffix.

    \b
      vtr eval captions.csv --index DIR
      vtr eval captions.csv --videos FOLDER --model BUNDLE
      vtr eval captions.csv --scores matrix.npy
    """
    from vtr.evaluation import evaluate, plot_recall, read_annotations
    from vtr.evaluation.report import write_ranks

    check_source(annotations, index_dir, videos, scores, texts, columns, engine["model"])
    check_outputs(annotations, plot, ranks, save_scores)
    given = read_annotations(annotations, protocol, split) if annotations else None
    if scores:
        given, matrix, targets = from_scores(scores, given, texts, columns)
    else:
        assert given is not None
        given, matrix = from_videos(given, index_dir, videos, allow_missing, whole_index, as_json, engine)
        targets = given.targets
    found = evaluate(
        matrix,
        targets,
        protocol=given.protocol if given else "scores",
        notes=given.notes if given else (),
        dsl=dsl,
        resamples=resamples,
        seed=seed,
        pool=pool,
    )
    print_evaluation(found, as_json)
    if save_scores:
        with save_scores.open("wb") as file:  # numpy.save would append .npy to a name
            np.save(file, matrix, allow_pickle=False)
    if ranks and given:
        write_ranks(ranks, given, matrix, found["text_to_video"].ranks)
    if plot:
        plot_recall(found, plot)


def check_source(
    annotations: Path | None,
    index_dir: Path | None,
    videos: tuple[Path, ...],
    scores: Path | None,
    texts: Path | None,
    columns: Path | None,
    model: str | None,
) -> None:
    """Refuse combinations that contradict each other or lack something, before anything is read."""
    if scores and (index_dir or videos or model):
        raise UsageError("expected either --scores or an index (--index, --videos, --model), got both")
    if (texts or columns) and not scores:
        raise UsageError("--texts and --columns describe the rows and columns of --scores, which is missing")
    if texts and annotations:
        raise UsageError("expected either ANNOTATIONS or --texts to say whose the rows are, got both")
    if scores:
        return
    if not annotations:
        raise UsageError("expected ANNOTATIONS, a file of captions and their videos (or --scores)")
    if not (index_dir or videos):
        raise UsageError("expected --index DIR, --videos FOLDER or --scores FILE to measure")
    if videos and not index_dir and not model:
        raise UsageError("--videos without --index needs --model BUNDLE, or a built-in model: --model mini")
    if index_dir and not videos and not index_dir.exists():
        raise UsageError(
            f"{index_dir} does not exist: make it with `vtr index`, or name a folder with --videos"
        )


def check_outputs(
    annotations: Path | None, plot: Path | None, ranks: Path | None, save_scores: Path | None
) -> None:
    """Refuse outputs that could not be written, before hours of work go into them."""
    from vtr.evaluation.plot import check_plot

    if ranks and not annotations:
        raise UsageError("--ranks needs ANNOTATIONS: without them there are no captions to list")
    for output in (ranks, save_scores):
        if output:
            check_writable(output)
    if plot:
        check_plot(plot)


def from_scores(
    scores: Path, given: Annotations | None, texts: Path | None, columns: Path | None
) -> tuple[Annotations | None, NDArray[Any], NDArray[np.int64]]:
    """Annotations rebased on the matrix's columns, if there are any; the matrix; and the rows' columns."""
    from vtr.evaluation import score_files

    matrix = score_files.read_scores(scores)
    names = score_files.read_columns(columns)
    if given:
        targets = score_files.annotated_targets(matrix, given, names)
        return replace(given, videos=names or given.videos, targets=targets), matrix, targets
    if texts:
        return None, matrix, score_files.listed_targets(matrix, texts, names)
    return None, matrix, score_files.diagonal_targets(matrix)


def from_videos(
    given: Annotations,
    index_dir: Path | None,
    videos: tuple[Path, ...],
    allow_missing: bool,
    whole_index: bool,
    quiet: bool,
    engine: dict[str, Any],
) -> tuple[Annotations, NDArray[np.float32]]:
    """Scores of an index that is there, or that is made of ``videos`` now."""
    from vtr.evaluation.from_index import score_index

    with ExitStack() as stack:
        if index_dir is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vtr-eval-"))
            index_dir = Path(folder) / "index"
        opened = open_engine(index_dir=index_dir, **engine)
        if videos:
            index_annotated(opened, given, videos, whole_index)
        return score_index(opened, given, allow_missing, whole_index, make_progress(not quiet, "scoring"))


def index_annotated(engine: Engine, given: Annotations, videos: tuple[Path, ...], everything: bool) -> None:
    """Index the files that the annotations name, or all with ``everything``; say which failed."""
    from vtr.evaluation.names import keys_of, video_key

    wanted = {key for video in given.videos for key in keys_of(video, given.protocol)}
    files = [path for path in find_videos(videos) if everything or video_key(str(path)) in wanted]
    if not files:
        raise UsageError(f"none of the annotated videos is in {', '.join(map(str, videos))}")
    for failure in engine.index(files, progress=True).failed:
        click.echo(f"failed: {printable(str(failure.path))}: {printable(failure.reason)}", err=True)


def print_evaluation(found: Evaluation, as_json: bool) -> None:
    """The table on standard output with its notes below, or everything as JSON."""
    if as_json:
        print_json(found.as_json())
        return
    click.echo(found.table())
    click.echo()
    for note in found.notes:
        click.echo(f"  {printable(note)}")
    if found.settings["bootstrap"]:
        click.echo(
            f"  intervals: {found.settings['bootstrap']:,} bootstrap resamples of the videos, "
            f"seed {found.settings['seed']}"
        )
