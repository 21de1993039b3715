"""`vtr engines`: TensorRT-RTX's plans of a bundle, made ahead of time."""

from __future__ import annotations

import time

import click

from vtr.cli.options import MODEL, json_option
from vtr.cli.output import print_json, size_text
from vtr.files import printable


@click.command()
@click.argument("bundle", type=MODEL)
@click.option(
    "--arch",
    "archs",
    required=True,
    multiple=True,
    type=click.IntRange(min=10),
    help="Compute capability without its point: 89 for 8.9, 120 for 12.0. May be given several times.",
)
@json_option
def command(bundle: str, archs: tuple[int, ...], as_json: bool) -> None:
    """Plan a bundle's encoders for GPUs that need not be here, with TensorRT-RTX.

    Without this, a plan is made when an encoder is first used on a GPU. Plans go into the bundle's folder
    `engines`, or into the user's cache where that cannot be written, and serve the version of TensorRT-RTX
    that made them.
    """
    from vtr.bundle import Bundle
    from vtr.encoders.tensorrt import plan_ahead

    opened = Bundle.open(bundle)
    made = []
    for arch in archs:
        start = time.perf_counter()
        for path in plan_ahead(opened, arch):
            size, seconds = path.stat().st_size, time.perf_counter() - start
            made.append({"path": str(path), "arch": arch, "bytes": size, "seconds": round(seconds, 3)})
            if not as_json:
                click.echo(f"{printable(str(path))}: {size_text(size)}, {seconds:.1f} s")
            start = time.perf_counter()
    if as_json:
        print_json(made)
