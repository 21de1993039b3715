"""From a checkpoint to a bundle: read, rebuild in PyTorch, export, check the bundle against the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtr.bundle import Bundle
from vtr.errors import UsageError
from vtr.export.bundle import BundleWriter, check_target, new_bundle
from vtr.export.checkpoint import download, load_checkpoint
from vtr.export.cuda import add_kernels, check_arches, kernel_spec
from vtr.export.models import ReferenceModel, build_model
from vtr.export.onnx_graphs import graphs, serialize, to_onnx
from vtr.export.options import ExportOptions
from vtr.export.parity import calibration, check_parity, summary
from vtr.export.precision import PRECISIONS, convert
from vtr.export.tokenizer import has_tokenizer, tokenizer_json
from vtr.manifest import MAX_NAME

Progress = Callable[[str], None]

# The heads stay in float32: they are small, and their softmaxes are the sharpest of the model.
TOWERS = ("text.onnx", "vision.onnx")


@dataclass(frozen=True)
class ExportReport:
    """What an export made. ``notes`` are its assumptions in words, ``parity`` the measured differences."""

    path: Path
    manifest: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    parity: dict[str, Any] = field(default_factory=dict)


def export_checkpoint(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: ExportOptions | None = None,
    precision: str = "fp32",
    force: bool = False,
    progress: Progress | None = None,
    *,
    name: str | None = None,
    vocab: str | os.PathLike[str] | None = None,
    cuda: Sequence[int] | None = None,
) -> ExportReport:
    """Export a trained checkpoint to a bundle.

    Args:
        source: a checkpoint file, a Hugging Face or open_clip directory, or ``hf://organisation/name``.
        output: directory to make; it appears only when the bundle is complete and was checked.
        options: what the tensors cannot say.
        precision: of the towers: "fp32", "fp16", "bf16", "int8" or "int8-static".
        force: replace a bundle that is there already.
        progress: called with a line of text at each stage.
        name: what the bundle calls itself; the checkpoint's name by default.
        vocab: the tokenizer's vocabulary; by default the one beside the checkpoint, else CLIP's own.
        cuda: also compile the kernels for these GPU architectures (of ``vtr.kernels.config.ARCHES``, e.g.
            90); needs Triton, and no GPU.

    Raises:
        BackendError: kernels are wanted, and Triton is not installed.
        CheckpointError: the checkpoint cannot be read or does not say which model it holds.
        BundleError: the bundle would not compute what the checkpoint does.
        UsageError: an option or the output cannot be used.
    """
    say = progress or (lambda line: None)
    _check_arguments(Path(output), precision, force, cuda)
    say(f"reading {source}")
    if name is None:
        name = _name_of(os.fspath(source))
    if os.fspath(source).startswith("hf:"):
        source = download(os.fspath(source))
    model = build_model(load_checkpoint(source), options)
    if vocab is None and has_tokenizer(Path(source)):
        vocab = source
    return export_model(model, output, precision, force, progress, name=name, vocab=vocab, cuda=cuda)


def _name_of(source: str) -> str:
    path = Path(source)
    return path.stem if path.suffix in (".bin", ".pt", ".pth", ".safetensors") else path.name


def export_model(
    model: ReferenceModel,
    output: str | os.PathLike[str],
    precision: str = "fp32",
    force: bool = False,
    progress: Progress | None = None,
    *,
    name: str = "model",
    trained: bool = True,
    vocab: str | os.PathLike[str] | None = None,
    cuda: Sequence[int] | None = None,
) -> ExportReport:
    """Export a reference model, which is left in evaluation; see `export_checkpoint`. ``trained=False`` marks
    random weights as such."""
    say = progress or (lambda line: None)
    model.eval()  # batch norms: the bundle has the running statistics, and the comparison must not move them
    output = Path(os.path.abspath(output))
    arches = _check_arguments(output, precision, force, cuda)
    spec = kernel_spec(model.scoring, model.sizes) if arches else None
    with new_bundle(output, force) as writer:
        _write_files(writer, model, precision, vocab, say)
        entries = _entries(model, precision, name, trained)
        if spec is not None:
            say(f"compiling kernels for {', '.join(f'sm_{arch}' for arch in arches)}")
            entries["cuda"] = add_kernels(writer, spec, arches)
        writer.write_manifest({**entries, "parity": {}})
        say("comparing with the reference model")
        parity = check_parity(Bundle.open(writer.directory), model)
        manifest = writer.write_manifest({**entries, "parity": parity})
        say(summary(parity))
    return ExportReport(output, manifest, list(model.notes), parity)


def _check_arguments(
    output: Path, precision: str, force: bool, cuda: Sequence[int] | None
) -> tuple[int, ...]:
    """Refuse what cannot be done before anything is read; the architectures to compile for, if any."""
    if precision not in PRECISIONS:
        raise UsageError(f"expected a precision of {', '.join(PRECISIONS)}, got {precision!r}")
    check_target(Path(os.path.abspath(output)), force)
    return () if cuda is None else check_arches(cuda)


def _write_files(
    writer: BundleWriter,
    model: ReferenceModel,
    precision: str,
    vocab: str | os.PathLike[str] | None,
    say: Progress,
) -> None:
    source = None if vocab is None else Path(vocab)
    writer.add("tokenizer.json", tokenizer_json(source, model.sizes["vocab"]).encode())
    writer.add_tensors("head.safetensors", {key: tensor.numpy() for key, tensor in model.head().items()})
    for graph in graphs(model):
        say(f"exporting {graph.file}")
        proto = to_onnx(graph)
        if graph.file in TOWERS:
            feeds = calibration(model, graph.file) if precision == "int8-static" else ()
            proto = convert(proto, precision, feeds)
        writer.add(graph.file, serialize(proto, graph.file))


def _entries(model: ReferenceModel, precision: str, name: str, trained: bool) -> dict[str, Any]:
    return {
        "name": name[:MAX_NAME],
        "trained": trained,
        "family": model.family,
        "sim_header": model.sim_header,
        "variant": model.variant,
        "scoring": model.scoring,
        "frame_coupling": model.frame_coupling,
        "precision": precision,
        "sizes": model.sizes,
        "sampling": model.sampling,
        "preprocessing": model.preprocessing,
    }
