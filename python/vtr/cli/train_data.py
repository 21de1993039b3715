"""What `vtr train` trains and validates on: generated clips, or annotated videos decoded once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vtr.errors import UsageError
from vtr.files import find_videos, printable

if TYPE_CHECKING:
    from vtr.evaluation import Annotations
    from vtr.tokenizer import Tokenizer
    from vtr.training.annotated import AnnotatedClips
    from vtr.training.batches import Source

EPOCHS = 5
STEPS = 1000  # of generated clips


def generated(model: Any, tokenizer: Tokenizer, given: Mapping[str, Any]) -> Source:
    """Clips that are drawn as they are needed."""
    from vtr.training.clips import load_world
    from vtr.training.procedural import GeneratedClips

    return GeneratedClips(
        load_world(),
        tokenizer,
        batch=given["batch"],
        steps=given["steps"] or STEPS,
        frames=model.sizes["frames"],
        size=model.sizes["image"],
        words=model.sizes["words"],
        seed=given["seed"],
    )


def annotated(model: Any, tokenizer: Tokenizer, given: Mapping[str, Any], out: Path) -> AnnotatedClips:
    """The videos that ANNOTATIONS names, decoded."""
    from vtr.training.annotated import AnnotatedClips

    captions = read_captions(given["annotations"], given["protocol"], given["split"], "train")
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
        epochs=given["epochs"] or EPOCHS,
        seed=given["seed"],
    )


def read_captions(path: Path, protocol: str, split: str | None, default: str) -> Annotations:
    """The captions in a file: of MSR-VTT's JSON, those of the split ``default`` where none is asked for."""
    from vtr.evaluation import read_annotations
    from vtr.evaluation.documents import read_document
    from vtr.evaluation.protocols import PROTOCOLS

    if split is None and protocol in ("auto", "msrvtt") and PROTOCOLS["msrvtt"].matches(read_document(path)):
        split = default
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
    model: Any,
    tokenizer: Tokenizer,
    given: Mapping[str, Any],
    out: Path,
    options: Any,
    trained: Collection[Path],
) -> Callable[..., Mapping[str, float]]:
    """Text-to-video retrieval on other captions; R@1 picks the best model. ``trained``: the frames of the
    videos that are trained on."""
    import torch

    from vtr.evaluation import evaluate
    from vtr.training.loop import pick_device, pick_precision
    from vtr.training.validate import score_matrix

    captions, paths = cached_videos(
        read_captions(given["validation"], "auto", given["validation_split"], "validate"),
        given["videos"],
        model,
        out,
    )
    if both := len({*paths} & {*trained}):
        click.echo(f"{both:,} of the {len(paths):,} videos to validate on are trained on, too", err=True)
    ids = torch.from_numpy(tokenizer.encode(captions.texts, model.sizes["words"]))
    precision = pick_precision(options.precision, pick_device(options.device, options.processes))

    def measure(models: Mapping[str, Any]) -> Mapping[str, float]:
        scores = score_matrix(models["model"], ids, paths, precision)
        metrics = evaluate(scores, captions.targets, resamples=0)["text_to_video"].metrics
        return {"score": metrics["R@1"], **metrics}

    return measure
