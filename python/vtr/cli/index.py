"""`vtr index`: decode, encode and store videos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from vtr.cli.options import engine_options, file_type, index_option, json_option, open_engine, path_type
from vtr.cli.output import print_json, short_path
from vtr.errors import UsageError
from vtr.files import printable
from vtr.types import IndexReport


@click.command()
@click.argument("paths", nargs=-1, required=True, type=path_type)
@index_option
@engine_options
@click.option(
    "--metadata",
    type=file_type,
    help="JSON object: file name or absolute path → object of fields, for --where.",
)
@click.option("--retry", is_flag=True, help="Try files again that failed before and have not changed.")
@click.option("--workers", type=click.IntRange(min=1), help="Decoder processes  [default: one a core]")
@click.option(
    "--decoder",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "pyav", "dali"]),
    help="auto is pyav; dali decodes on the GPU's NVDEC what it is known to decode alike.",
)
@json_option
def command(
    paths: tuple[Path, ...],
    index_dir: Path,
    metadata: Path | None,
    retry: bool,
    workers: int | None,
    as_json: bool,
    **engine: Any,
) -> None:
    """Index video files and folders (PATHS).

    Files that are indexed already and have not changed are skipped. A bad file is reported and never
    stops the job; the exit status is 3 if any file failed.
    """
    from vtr.cli import SOME_FAILED

    fields = read_metadata(metadata) if metadata else None
    report = open_engine(index_dir=index_dir, **engine).index(
        paths,
        progress=True,
        metadata=fields,
        retry=retry,
        workers=workers,
    )
    print_json(report_json(report)) if as_json else print_report(report)
    if report.failed:
        sys.exit(SOME_FAILED)


def read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    """The fields of each file, from a JSON object of objects."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path} as JSON: {error}") from error
    if not isinstance(fields, dict) or not all(isinstance(value, dict) for value in fields.values()):
        raise UsageError(f'{path}: expected a JSON object like {{"clip.mp4": {{"camera": "front"}}}}')
    return fields


def report_json(report: IndexReport) -> dict[str, Any]:
    """The report as JSON holds it."""
    return {
        "added": [str(path) for path in report.added],
        "unchanged": [str(path) for path in report.unchanged],
        "failed": [{"path": str(item.path), "reason": item.reason} for item in report.failed],
        "skipped": [{"path": str(item.path), "reason": item.reason} for item in report.skipped],
        "unused_metadata": report.unused_metadata,
        "seconds": {stage: round(value, 4) for stage, value in report.seconds.items()},
    }


def print_report(report: IndexReport) -> None:
    """What happened, a line each; failures with their reasons."""
    counts = [
        f"{len(report.added)} added",
        f"{len(report.unchanged)} unchanged",
        f"{len(report.failed)} failed",
    ]
    if report.skipped:
        counts.append(f"{len(report.skipped)} skipped that failed before (--retry tries them again)")
    total = report.seconds.get("total", 0.0)
    click.echo(f"{', '.join(counts)} in {total:.1f} s")
    stages = [f"{stage} {value:.1f} s" for stage, value in report.seconds.items() if stage != "total"]
    if report.added and stages:
        click.echo(f"  of which {', '.join(stages)} (stages overlap)")
    if not any([report.added, report.unchanged, report.failed, report.skipped]):
        click.echo("no video files were found there", err=True)
    for name in report.unused_metadata:
        click.echo(f"note: metadata for {printable(name)} matches no file", err=True)
    for item in report.failed:
        click.echo(f"failed: {printable(short_path(item.path))}: {printable(item.reason)}", err=True)
