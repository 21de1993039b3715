"""`vtr train`: a model is trained on captioned videos, and exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtr.cli.eval import PROTOCOLS
from vtr.cli.options import sampling_options
from vtr.errors import BackendError, UsageError
from vtr.files import find_videos, printable

if TYPE_CHECKING:
    from vtr.evaluation import Annotations
    from vtr.tokenizer import Tokenizer
    from vtr.training.batches import Source

RUN = "run.json"  # the settings of a run, which it is resumed with
# Options that `TrainOptions` has by the same name and meaning.
SAME = ("lr", "freeze", "warmup", "precision", "device", "compile", "processes", "workers", "save_minutes")

path_type = click.Path(path_type=Path)
file_type = click.Path(path_type=Path, dir_okay=False)
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
@click.option("--keep-rate", type=float, help="TC-MGC: share of the similarities that are kept.")
@click.option("--teacher", help="TeachCLIP: a trained checkpoint, of X-CLIP say, to learn from.")
@sampling_options
@click.option("--vocab", type=path_type, help="CLIP vocabulary or tokenizer.json to use.")
@click.option("--protocol", default="auto", show_default=True, type=click.Choice(PROTOCOLS))
@click.option(
    "--split", help="File that lists the videos to train on; for MSR-VTT's JSON also a split's name."
)
@click.option("--validation", type=file_type, help="Captions that pick the best model, on --videos too.")
@click.option("--epochs", default=5, show_default=True, type=count, help="Times that every video is seen.")
@click.option("--steps", type=count, help="Steps in all; with --clips  [default: 1000]")
@click.option("--batch", default=32, show_default=True, type=count, help="Videos a step.")
@click.option("--lr", default=1e-4, show_default=True, type=float, help="Learning rate of what is new.")
@click.option(
    "--coef-lr", type=float, help="Times --lr: the rate of the CLIP in it  [default: 0.001; with --size 1]"
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
    if given["clips"] and (given["annotations"] or given["videos"] or given["validation"]):
        raise UsageError("expected either --clips or ANNOTATIONS with --videos, got both")
    if not given["clips"] and not (given["annotations"] and given["videos"]):
        raise UsageError("expected ANNOTATIONS and --videos FOLDER to train on (or --clips)")
    if given["steps"] and not given["clips"]:
        raise UsageError("--steps is for --clips; with ANNOTATIONS, --epochs says how long to train")


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is resumed with: every option that changes a number in it, as JSON has it."""
    settings: dict[str, Any] = json.loads(json.dumps(dict(given), default=str))
    for name in ("save_minutes", "workers", "bundle"):
        del settings[name]
    return settings


def check_output(out: Path, resume: bool, settings: Mapping[str, Any]) -> None:
    """Refuse to start over a run that is there, or to go on with another one."""
    record = out / RUN
    if not resume:
        if record.exists():
            raise UsageError(f"{out} holds a run already: go on with it (--resume), or name another folder")
        return
    if not record.exists():
        raise UsageError(f"there is no run to resume in {out}: leave --resume out")
    before = json.loads(record.read_text(encoding="utf-8"))
    other = [name for name in settings if settings[name] != before.get(name)]
    if other:
        told = "; ".join(f"{name} was {before.get(name)!r} and is {settings[name]!r}" for name in other)
        raise UsageError(f"a run is resumed with the settings that it began with: {told}")


def run(out: Path, given: Mapping[str, Any]) -> None:
    """Everything from the first model to the bundle."""
    from vtr.export import ExportOptions, build_model, export_model, load_checkpoint
    from vtr.export.tokenizer import has_tokenizer
    from vtr.training.loop import prepare_processor, train
    from vtr.training.options import TrainOptions
    from vtr.training.start import Start, start_model
    from vtr.training.step import check_models

    prepare_processor()
    vocab = given["vocab"]
    if vocab is None and given["source"] and has_tokenizer(Path(given["source"])):
        vocab = Path(given["source"])
    names = ("source", "size", "family", "header", "se_type", "keep_rate", "frames", "words", "fps", "slice")
    start = Start(**{name: given[name] for name in names}, vocab=tokens_of(vocab), seed=given["seed"])
    model = start_model(start)
    sizes = {"frames": model.sizes["frames"], "words": model.sizes["words"]}
    tokenizer = read_tokenizer(vocab, model.sizes["vocab"])
    teacher = None
    if given["teacher"]:
        teacher = build_model(load_checkpoint(given["teacher"]), ExportOptions(**sizes))
    check_models({"model": model}, teacher)
    coef_lr = given["coef_lr"]
    if coef_lr is None:
        coef_lr = 1.0 if given["size"] else TrainOptions.coef_lr
    options = TrainOptions(coef_lr=coef_lr, **{name: given[name] for name in SAME})
    out.mkdir(parents=True, exist_ok=True)
    source = generated(model, tokenizer, given) if given["clips"] else annotated(model, tokenizer, given, out)
    validate = validation(model, tokenizer, given, out, options) if given["validation"] else None
    (out / RUN).write_text(json.dumps(settings_of(given), indent=2) + "\n", encoding="utf-8")
    train({"model": model}, source, options, out, teacher=teacher, validate=validate, progress=True)
    if not given["bundle"]:
        click.echo(f"{out}: {model.family}, {model.sim_header}; see vtr export")
        return
    best = out / "best.safetensors"
    if best.exists():
        told = ExportOptions(**sizes, fps=given["fps"], slice=given["slice"], se_type=model.variant)
        model = build_model(load_checkpoint(best), told)
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


def generated(model: Any, tokenizer: Tokenizer, given: Mapping[str, Any]) -> Source:
    """Clips that are drawn as they are needed."""
    from vtr.training.clips import load_world
    from vtr.training.procedural import GeneratedClips

    return GeneratedClips(
        load_world(),
        tokenizer,
        batch=given["batch"],
        steps=given["steps"] or 1000,
        frames=model.sizes["frames"],
        size=model.sizes["image"],
        words=model.sizes["words"],
        seed=given["seed"],
    )


def annotated(model: Any, tokenizer: Tokenizer, given: Mapping[str, Any], out: Path) -> Source:
    """The videos that ANNOTATIONS names, decoded."""
    from vtr.training.annotated import AnnotatedClips

    captions = read_captions(given["annotations"], given["protocol"], given["split"])
    kept, paths = cached_videos(captions, given["videos"], model, out)
    texts: list[list[str]] = [[] for _ in kept.videos]
    for text, video in zip(kept.texts, kept.targets, strict=True):
        texts[video].append(text)
    return AnnotatedClips(
        paths,
        texts,
        tokenizer,
        words=model.sizes["words"],
        batch=given["batch"],
        epochs=given["epochs"],
        seed=given["seed"],
    )


def read_captions(path: Path, protocol: str, split: str | None) -> Annotations:
    """The captions to train on: of MSR-VTT's JSON, the split "train" where nothing else is asked for."""
    from vtr.evaluation import read_annotations
    from vtr.evaluation.documents import read_document
    from vtr.evaluation.protocols import PROTOCOLS

    if split is None and protocol in ("auto", "msrvtt") and PROTOCOLS["msrvtt"].matches(read_document(path)):
        split = "train"
    return read_annotations(path, protocol, split)


def cached_videos(
    captions: Annotations, folders: tuple[Path, ...], model: Any, out: Path
) -> tuple[Annotations, list[Path]]:
    """The captions whose videos can be read, and where their frames lie."""
    from vtr.evaluation.names import list_some, match_videos
    from vtr.training.annotated import cache_frames
    from vtr.types import Sampling

    files = list(find_videos(folders))
    matches = match_videos(captions.videos, files, captions.protocol)
    paths = [None if match is None else files[match] for match in matches]
    missing = [video for video, path in zip(captions.videos, paths, strict=True) if path is None]
    if missing:
        click.echo(
            f"{len(missing):,} annotated videos have no file: {printable(list_some(missing))}", err=True
        )
    sampling = Sampling(**model.sampling)
    cache = cache_frames((path for path in paths if path), out / "frames", sampling, progress=True)
    for failure in cache.failed:
        click.echo(f"failed: {printable(str(failure.path))}: {printable(failure.reason)}", err=True)
    there = [path is not None and path in cache.frames for path in paths]
    if not any(there):
        raise UsageError(
            f"none of the {len(captions.videos):,} annotated videos can be read from {folders[0]}"
        )
    return captions.kept(there), [cache.frames[path] for path in paths if path and path in cache.frames]


def validation(
    model: Any, tokenizer: Tokenizer, given: Mapping[str, Any], out: Path, options: Any
) -> Callable[..., Mapping[str, float]]:
    """Text-to-video retrieval on captions that are not trained on; R@1 picks the best model."""
    import torch

    from vtr.evaluation import evaluate, read_annotations
    from vtr.training.loop import pick_device, pick_precision
    from vtr.training.validate import score_matrix

    captions, paths = cached_videos(
        read_annotations(given["validation"], given["protocol"]), given["videos"], model, out
    )
    ids = torch.from_numpy(tokenizer.encode(captions.texts, model.sizes["words"]))
    precision = pick_precision(options.precision, pick_device(options.device))

    def measure(models: Mapping[str, Any]) -> Mapping[str, float]:
        scores = score_matrix(models["model"], ids, paths, precision)
        metrics = evaluate(scores, captions.targets, resamples=0)["text_to_video"].metrics
        return {"score": metrics["R@1"], **metrics}

    return measure
