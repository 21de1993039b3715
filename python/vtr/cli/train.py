"""`vtr train`: a model is trained on captioned videos, and exported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtr.cli.eval import PROTOCOLS
from vtr.cli.options import file_type, path_type, sampling_options
from vtr.errors import BackendError, UsageError

if TYPE_CHECKING:
    from vtr.export.models import ReferenceModel
    from vtr.tokenizer import Tokenizer

RUN = "run.json"  # the settings of a run, which it is resumed with
# Options that `Start` and `TrainOptions` have by the same name and meaning.
OF_START = (
    "source", "size", "family", "header", "se_type", "reduction", "pair", "keep_rate", "frames", "words",
    "fps", "slice", "seed",
)  # fmt: skip
OF_OPTIONS = (
    "lr", "afa_lr", "freeze", "warmup", "precision", "device", "compile", "processes", "workers",
    "save_minutes",
)  # fmt: skip

count = click.IntRange(min=1)
natural = click.IntRange(min=0)


@click.command()
@click.argument("annotations", required=False, type=file_type)
@click.option("--videos", multiple=True, type=path_type, help="Folder with the annotated videos.")
@click.option("--clips", is_flag=True, help="Train on generated clips instead of ANNOTATIONS.")
@click.option("-o", "--output", "out", required=True, type=path_type, help="Folder of the run to make.")
@click.option(
    "--family",
    type=click.Choice(["clip4clip", "ea", "teachclip", "xclip", "tcmgc"]),
    help="Of the model  [default: what --from holds]",
)
@click.option("--from", "source", help="Start from this checkpoint: a CLIP, or a model trained before.")
@click.option("--size", help="Start from nothing, with a model of this size: mini, small or base.")
@click.option("--header", type=click.Choice(["meanP", "seqTransf", "seqLSTM", "tightTransf"]))
@click.option(
    "--se-type",
    type=click.Choice(
        [
            "excitation",
            "aggregation",
            "excitation_aggregation",
            "excitation_seq",
            "excitation_seq_aggregation",
        ]
    ),
    help="EA-CLIP4Clip: the type of its block.",
)
@click.option(
    "--reduction",
    type=float,
    help="EA-CLIP4Clip: frames by hidden units of a new gate; below 1 it expands  [default: 4]",
)
@click.option(
    "--pair",
    type=click.Choice(["unity", "squeeze_expand", "expand_squeeze"]),
    help="EA-CLIP4Clip: how the second of two new gates goes with the first  [default: unity]",
)
@click.option("--keep-rate", type=float, help="TC-MGC: share of the similarities that are kept.")
@click.option("--teacher", help="TeachCLIP: a trained checkpoint, of X-CLIP say, to learn from.")
@sampling_options
@click.option("--vocab", type=path_type, help="CLIP vocabulary or tokenizer.json to use.")
@click.option(
    "--protocol",
    default="auto",
    show_default=True,
    type=click.Choice(PROTOCOLS),
    help="What ANNOTATIONS is; --validation is recognised.",
)
@click.option(
    "--split",
    help="File that lists the videos to train on; for MSR-VTT's JSON also a split's name  [default: train]",
)
@click.option(
    "--validation",
    type=file_type,
    help="Captions, of --videos too, whose R@1 after each epoch picks the best model, which is exported.",
)
@click.option(
    "--validation-split",
    help="As --split, of --validation  [default: validate in MSR-VTT's JSON, else all of it]",
)
@click.option(
    "--epochs",
    type=count,
    help="Times that every video is seen, with one of its captions drawn anew  [default: 5]",
)
@click.option("--steps", type=count, help="Steps in all; with --clips  [default: 1000]")
@click.option("--batch", default=32, show_default=True, type=count, help="Videos a step.")
@click.option("--lr", default=1e-4, show_default=True, type=float, help="Learning rate of what is new.")
@click.option(
    "--coef-lr", type=float, help="Times --lr: the rate of the CLIP in it  [default: 0.001; with --size 1]"
)
@click.option(
    "--afa-lr",
    default=10.0,
    show_default=True,
    type=float,
    help="Times --lr: the rate of TeachCLIP's frame aggregation.",
)
@click.option(
    "--freeze",
    default=0,
    show_default=True,
    type=natural,
    help="Parts of the image tower that stay as they are: its stem or patches, then stages or blocks.",
)
@click.option("--warmup", default=0.1, show_default=True, type=float, help="Share of the steps.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "fp32", "bf16"]),
    help="Arithmetic of the towers.",
)
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--compile", is_flag=True, help="Compile the image tower; needs a C++ compiler.")
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=count,
    help="That train together on processors, a thread and a batch each.",
)
@click.option("--threads", type=count, help="Threads of PyTorch.")
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=natural,
    help="Processes that prepare batches.",
)
@click.option("--seed", default=0, show_default=True, type=natural)
@click.option("--save-minutes", default=10.0, show_default=True, type=float, help="Between checkpoints.")
@click.option("--no-bundle", "bundle", is_flag=True, flag_value=False, default=True, help="Do not export.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
def command(out: Path, resume: bool, threads: int | None, **given: Any) -> None:
    """Train a model on the videos and captions in ANNOTATIONS, and export it to OUTPUT/bundle.

    ANNOTATIONS is a file of MSR-VTT, MSVD, LSMDC, DiDeMo, ActivityNet or VATEX as published, or CSV or
    JSON with videos and captions. Ctrl-C saves the run; the same command with --resume goes on.

    \b
      vtr train captions.csv --videos FOLDER -o RUN --family tcmgc --from openai/clip.pt
      vtr train captions.csv --videos FOLDER -o RUN --family teachclip --from clip.pt --teacher xclip.bin
      vtr train --clips -o RUN --family clip4clip --size mini --steps 2000 --lr 1e-3
    """
    try:
        import torch

        import vtr.training.loop  # noqa: F401
        from vtr.export.pipeline import export_model  # noqa: F401
    except ImportError as error:
        raise BackendError(f"training needs more packages ({error}): pip install 'vtr[export]'") from error
    if threads:
        torch.set_num_threads(threads)
    check_data(given)
    check_output(out, resume, settings_of(given))
    run(out, given)


def check_data(given: Mapping[str, Any]) -> None:
    """Refuse data that contradicts itself, before anything is read."""
    if given["clips"]:
        if any(given[name] for name in ("annotations", "videos", "validation")):
            raise UsageError("expected either --clips or ANNOTATIONS with --videos, got both")
        if any(given[name] for name in ("split", "validation_split", "epochs")):
            raise UsageError("--split, --validation-split and --epochs are for ANNOTATIONS, not for --clips")
        if (given["fps"], given["slice"]) != (1, "uniform"):
            raise UsageError("--clips are sampled once a second, all of them: leave --fps and --slice out")
        return
    if not (given["annotations"] and given["videos"]):
        raise UsageError("expected ANNOTATIONS and --videos FOLDER to train on (or --clips)")
    if given["steps"]:
        raise UsageError("--steps is for --clips; with ANNOTATIONS, --epochs says how long to train")
    if given["validation_split"] and not given["validation"]:
        raise UsageError("--validation-split says what of --validation to take: give --validation too")


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is resumed with: every option that changes a number in it, as JSON has it."""
    settings: dict[str, Any] = json.loads(json.dumps(dict(given), default=str))
    for name in ("save_minutes", "workers", "bundle"):
        del settings[name]
    return settings


def check_output(out: Path, resume: bool, settings: Mapping[str, Any]) -> None:
    """Refuse to start over a run that is there, or to go on with another one."""
    from vtr.training.checkpoints import LAST

    there = (out / LAST).exists()  # what ended before its first checkpoint is no run yet
    if not resume:
        if there:
            raise UsageError(f"{out} holds a run already: go on with it (--resume), or name another folder")
        return
    if not there or not (out / RUN).exists():
        raise UsageError(f"there is no run to resume in {out}: leave --resume out")
    try:
        before = json.loads((out / RUN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            f"{out / RUN} is damaged ({error}): name another folder, or remove this one"
        ) from error
    other = [name for name in settings if settings[name] != before.get(name)]
    if other:
        told = "; ".join(f"{name} was {before.get(name)!r} and is {settings[name]!r}" for name in other)
        raise UsageError(f"a run is resumed with the settings that it began with: {told}")


def run(out: Path, given: Mapping[str, Any]) -> None:
    """Everything from the first model to the bundle."""
    from vtr.cli.train_data import annotated, generated, validation
    from vtr.export import ExportOptions, build_model, load_checkpoint
    from vtr.export.tokenizer import has_tokenizer
    from vtr.training.checkpoints import write_whole
    from vtr.training.loop import prepare_processor, train
    from vtr.training.options import TrainOptions
    from vtr.training.start import Start, start_model
    from vtr.training.step import check_models

    prepare_processor()
    vocab = given["vocab"]
    if vocab is None and given["source"] and has_tokenizer(Path(given["source"])):
        vocab = Path(given["source"])
    start = Start(**{name: given[name] for name in OF_START}, vocab=tokens_of(vocab))
    model = start_model(start)
    sizes = {"frames": model.sizes["frames"], "words": model.sizes["words"]}
    tokenizer = read_tokenizer(vocab, model.sizes["vocab"])
    teacher = None
    if given["teacher"]:
        teacher = build_model(load_checkpoint(given["teacher"]), ExportOptions(**sizes))
    check_models({"model": model}, teacher)
    usual = 1.0 if given["size"] else TrainOptions.coef_lr
    coef_lr = usual if given["coef_lr"] is None else given["coef_lr"]
    options = TrainOptions(coef_lr=coef_lr, **{name: given[name] for name in OF_OPTIONS})
    out.mkdir(parents=True, exist_ok=True)
    validate = None
    if given["clips"]:
        source: Any = generated(model, tokenizer, given)
    else:
        source = annotated(model, tokenizer, given, out)
        if given["validation"]:
            validate = validation(model, tokenizer, given, out, options, trained=source.videos)
            options = replace(options, validate_steps=max(1, source.steps // options.processes))
    write_whole(out / RUN, (json.dumps(settings_of(given), indent=2) + "\n").encode())
    train({"model": model}, source, options, out, teacher=teacher, validate=validate, progress=True)
    if given["bundle"]:
        export(model, vocab, out, given)
    else:
        click.echo(f"{out}: {model.family}, {model.sim_header}; see vtr export")


def export(model: ReferenceModel, vocab: Path | None, out: Path, given: Mapping[str, Any]) -> None:
    """The bundle of a run: of the best model where validation picked one, else of the last."""
    from vtr.export import ExportOptions, build_model, export_model, load_checkpoint

    if given["validation"]:
        told = {name: model.sizes[name] for name in ("frames", "words")}
        told |= {"fps": given["fps"], "slice": given["slice"], "se_type": model.variant}
        model = build_model(load_checkpoint(out / "best.safetensors"), ExportOptions(**told))
    export_model(
        model.cpu().eval().requires_grad_(False),
        out / "bundle",
        force=True,
        progress=lambda line: click.echo(line, err=True),
        name=out.resolve().name,
        vocab=vocab,
    )
    click.echo(
        f"{out / 'bundle'}: {model.family}, {model.sim_header}; vtr index FOLDER --model {out / 'bundle'}"
    )


def tokens_of(vocab: Path | None) -> int:
    """How many tokens a new model has: as many as a tokenizer.json, else as many as CLIP."""
    from vtr.export.tokenizer import BUILT_IN_SIZE
    from vtr.tokenizer import Tokenizer

    return len(Tokenizer.load(vocab)) if vocab and vocab.suffix == ".json" else BUILT_IN_SIZE


def read_tokenizer(vocab: Path | None, size: int) -> Tokenizer:
    """The tokenizer of a vocabulary, by default CLIP's, for a model of ``size`` tokens."""
    from tokenizers import Tokenizer as LibraryTokenizer

    from vtr.export.tokenizer import tokenizer_json
    from vtr.tokenizer import Tokenizer

    return Tokenizer(LibraryTokenizer.from_str(tokenizer_json(vocab, size)))
