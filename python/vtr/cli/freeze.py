"""`vtr freeze`: an index as one file for libvtr."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from vtr.cli.options import MODEL, file_type, index_option, json_option
from vtr.cli.output import print_json, size_text
from vtr.errors import UnsupportedError, UsageError
from vtr.files import printable


@click.command()
@index_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=file_type,
    help="File to write; one that is there is replaced when the new one is whole.",
)
@click.option(
    "--model",
    type=MODEL,
    help="Bundle directory, or built-in model such as mini  [default: the one that the index was made with]",
)
@click.option(
    "--storage",
    default="float16",
    show_default=True,
    type=click.Choice(["float16", "bfloat16"]),
    help="Numbers that features are kept in.",
)
@json_option
def command(index_dir: Path, output: Path, model: str | None, storage: str, as_json: bool) -> None:
    """Write an index and its model's scorer to one file that programs in C can search.

    They map it with vtr_bank_load (vtr/vtr.h). It holds the videos as they are now; later changes of the
    index do not reach it.
    """
    start = time.perf_counter()
    facts = freeze(index_dir, output, model, storage)
    facts["seconds"] = round(time.perf_counter() - start, 3)
    if as_json:
        print_json(facts)
        return
    click.echo(
        f"{facts['videos']} videos, {size_text(facts['bytes'])} of {facts['scoring']} scoring in "
        f"{printable(str(output))}, {facts['seconds']:.1f} s"
    )


def freeze(index_dir: Path, output: Path, model: str | None, storage: str) -> dict[str, Any]:
    """Do it; what there is to say about the file."""
    from vtr.bundle import Bundle
    from vtr.engine import model_of_index
    from vtr.index import IndexStore
    from vtr.native import SIZES, NativeModel
    from vtr.progress import make_progress

    bundle = Bundle.open(model if model is not None else model_of_index(index_dir))
    try:
        native = NativeModel(bundle.scoring, bundle.head, bundle.sizes, storage=storage)
    except UnsupportedError as error:
        raise UsageError(
            f"{bundle} cannot be frozen: expected {', '.join(SIZES)} scoring, 64 frames, 77 words at most, "
            f"a width in steps of 16; got {bundle.scoring}, {bundle.sizes}"
        ) from error
    with IndexStore.open(index_dir) as store:
        store.check_model(bundle.fingerprint, bundle.name)
        snapshot = store.snapshot()
        with make_progress(True, "freezing") as shown:
            shown.total(len(snapshot))
            bank = native.load(snapshot, lambda count: shown.step("", "packed", count))
        paths = [os.fsencode(record.path) for record in snapshot.records()]
    bank.save(output, paths)
    return {
        "path": str(output),
        "videos": len(bank),
        "bytes": os.path.getsize(output),
        "scoring": bundle.scoring,
        "storage": storage,
    }
