"""The `vtr-bench` command. Cases, and whatever they need, are imported once the threads are fixed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import vtr
from vtr.cli.group import FAILED, ReportingGroup
from vtr.errors import UsageError
from vtr.files import find_videos

from . import show

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
SHARED_VIDEOS = "../shared/videos"  # tests look there too; see $VTR_TEST_VIDEOS


class Commands(ReportingGroup):
    """`vtr-bench score` is `vtr-bench run score`."""

    program = "vtr-bench"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "-h", "--help", "--version"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=Commands,
    invoke_without_command=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(vtr.__version__, prog_name="vtr-bench")
def main() -> None:
    """Measure vtr beside what a user would pick instead.

    `vtr-bench` runs all cases and `vtr-bench CASE…` some; `vtr-bench run --help` lists cases and options.
    """


@main.command()
@click.argument("names", metavar="[CASE]...", nargs=-1)
@click.option("--quick", is_flag=True, help="Small sizes and few rounds: what CI runs.")
@click.option("--threads", type=click.IntRange(min=1), help="Of every contender  [default: all cores]")
@click.option("--videos", type=FOLDER, help="Decode and index these files  [default: $VTR_TEST_VIDEOS]")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Results go here.")
@click.option("--plots", type=FOLDER, help="Pictures go into this folder.")
@click.option("--check", is_flag=True, help="Fail unless the ratios that the documentation promises hold.")
def run(
    names: tuple[str, ...],
    quick: bool,
    threads: int | None,
    videos: Path | None,
    json_file: Path | None,
    plots: Path | None,
    check: bool,
) -> None:
    """Run cases, all of them if none is named.

    decode, encode, aggregate, score, search, index, memory, coldstart.

    Each checks its result against the reference before it times. A contender whose package is missing is
    skipped by name; a case that fails says so, the others run, and the exit status is 1.
    """
    threads = fix_threads(threads)
    from . import cases, promises, results, suite

    if unknown := [name for name in names if name not in cases.MODULES]:
        raise UsageError(f"there is no case {unknown[0]!r:.80}: expected some of {', '.join(cases.MODULES)}")
    for path in filter(None, (json_file, plots)):
        if not path.absolute().parent.is_dir():
            raise UsageError(f"cannot write {path}: its folder does not exist")
    if plots is not None:
        from .plots import check_matplotlib

        check_matplotlib()
    found = suite.run_suite(
        names or tuple(cases.MODULES),
        threads=threads,
        quick=quick,
        videos=files(videos),
        begun=show.header,
        told=show.case,
    )
    if json_file is not None:
        results.write(json_file, found)
    if plots is not None:
        draw(found, plots)
    failed = bool(found["failed"])
    if check:
        failed |= not show.promises(promises.check(found))
    sys.exit(FAILED if failed else 0)


@main.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option(
    "--slack", default=0.1, show_default=True, type=click.FloatRange(min=0), help="Share of change."
)
@click.option("--all", "everything", is_flag=True, help="Show what stayed the same, too.")
def compare(before: Path, after: Path, slack: float, everything: bool) -> None:
    """What became slower or faster from BEFORE to AFTER, beyond the noise; status 1 if vtr became slower.

    A change counts where the medians differ by more than the slack and the intervals from p20 to p80 do not
    meet. Baselines are shown too, for they say how the machine was; the status does not depend on them.
    """
    from .compare import compare as changes_of
    from .compare import differences, missing
    from .results import read

    a, b = read(before), read(after)
    changes = changes_of(a, b, slack)
    show.changes(changes, differences(a, b), missing(a, b), everything)
    if not changes:
        raise UsageError(f"{before} and {after} have no measurement in common")
    sys.exit(FAILED if any(change.verdict == "slower" and change.ours for change in changes) else 0)


@main.command()
@click.argument("files", metavar="RESULTS...", nargs=-1, required=True, type=FILE)
@click.option("-o", "out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The page.")
def document(files: tuple[Path, ...], out: Path) -> None:
    """Write the documentation's page of figures from RESULTS of named machines."""
    from .document import page
    from .results import read

    text = page([(path, read(path)) for path in files], out)
    out.write_text(text, encoding="utf-8")
    click.echo(f"wrote {out}")


@main.command()
@click.argument("file", metavar="RESULTS", type=FILE)
@click.option("-o", "out", required=True, type=FOLDER, help="Folder of the pictures.")
def plot(file: Path, out: Path) -> None:
    """Draw RESULTS: latency against the number of videos, roofline, where the time of indexing goes."""
    from .results import read

    draw(read(file), out)


def draw(found: dict[str, Any], folder: Path) -> None:
    from .plots import draw_all

    folder.mkdir(parents=True, exist_ok=True)
    for path in draw_all(found, folder):
        click.echo(f"wrote {path}")


def fix_threads(threads: int | None) -> int:
    """So many threads for every library that is loaded from now on: they read these variables then."""
    chosen = threads or len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(chosen)
    return chosen


def files(folder: Path | None) -> Sequence[Path]:
    """The videos of ``folder``, or of the folder that tests use where there is one."""
    chosen = folder or Path(os.environ.get("VTR_TEST_VIDEOS", SHARED_VIDEOS))
    if not chosen.is_dir():
        if folder is not None:
            raise UsageError(f"expected a folder of videos, got {folder}")
        return []
    found = list(find_videos(chosen))
    if folder is not None and not found:
        raise UsageError(f"no videos under {folder}")
    return found
