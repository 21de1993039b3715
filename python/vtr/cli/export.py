"""`vtr export`: a trained checkpoint becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vtr.cli.options import json_option, path_type, sampling_options
from vtr.cli.output import print_json
from vtr.errors import BackendError, UsageError


@click.command()
@click.argument("checkpoint")
@click.option("-o", "--output", required=True, type=path_type, help="Bundle directory to make.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
@click.option(
    "--family",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "clip4clip", "ea", "teachclip", "xclip", "tcmgc"]),
)
@click.option(
    "--sim-header",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "meanP", "seqTransf", "seqLSTM", "tightTransf"]),
)
@sampling_options
@click.option(
    "--se-type",
    type=click.Choice(["excitation", "aggregation"]),
    help="EA-CLIP4Clip: what a lone se_block.fc does; its tensors do not say.",
)
@click.option("--keep-rate", type=float, help="TC-MGC: checked against the tensors, which decide.")
@click.option(
    "--activation",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "quick_gelu", "gelu"]),
    help="Of the CLIP towers.",
)
@click.option("--vision-heads", type=click.IntRange(min=1), help="Attention heads  [default: width / 64]")
@click.option("--text-heads", type=click.IntRange(min=1), help="Attention heads  [default: width / 64]")
@click.option("--ignore", multiple=True, metavar="PREFIX", help="Leave tensors out whose names begin so.")
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["fp32", "fp16", "bf16", "int8", "int8-static"]),
    help="Of the towers' weights and arithmetic in the bundle.",
)
@click.option("--name", help="What the bundle calls itself  [default: the checkpoint's name]")
@click.option("--vocab", type=path_type, help="CLIP vocabulary or tokenizer.json to use.")
@click.option("--cuda", is_flag=True, help="Also compile the GPU kernels of this model; needs no GPU.")
@click.option(
    "--cuda-arch",
    "cuda_arches",
    multiple=True,
    type=int,
    help="With --cuda: compute capability, such as 90; may be repeated  [default: 80 86 89 90 100 120]",
)
@json_option
def command(checkpoint: str, output: Path, force: bool, precision: str, as_json: bool, **given: Any) -> None:
    """Turn CHECKPOINT into a bundle, and check the bundle against the PyTorch model.

    CHECKPOINT is a file (.bin, .pt, .pth, .safetensors), a Hugging Face CLIPModel directory or
    hf://organisation/name. The model family and its sizes are read off the tensors.
    """
    cuda = architectures(given.pop("cuda"), given.pop("cuda_arches"))
    try:
        from vtr.export import ExportOptions, export_checkpoint
    except ImportError as error:
        raise BackendError(f"exporting needs more packages ({error}): pip install 'vtr[export]'") from error
    extra = {name: given.pop(name) for name in ("name", "vocab")}
    options = ExportOptions(**{**given, "ignore": tuple(given["ignore"])})
    report = export_checkpoint(
        checkpoint,
        output,
        options,
        precision=precision,
        force=force,
        progress=None if as_json else lambda line: click.echo(line, err=True),
        cuda=cuda,
        **extra,
    )
    if as_json:
        print_json({"path": str(report.path), "notes": report.notes, "manifest": report.manifest})
        return
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{report.path}: {report.manifest['family']}, {report.manifest['sim_header']}; see vtr info")


def architectures(wanted: bool, named: tuple[int, ...]) -> tuple[int, ...] | None:
    """What kernels are compiled for: what was named, else all; ``None`` if no kernels are wanted."""
    if not wanted:
        if named:
            raise UsageError("--cuda-arch says what --cuda compiles for: give --cuda too")
        return None
    from vtr.kernels.config import ARCHES

    return named or ARCHES
