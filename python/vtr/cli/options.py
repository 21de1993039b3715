"""Options that several commands share, and how they open an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vtr.engine import Engine

F = TypeVar("F", bound=Callable[..., Any])


class GivenPath(click.Path):
    """A path. An empty text, of a shell's variable that is not set, is none: `Path` takes it for the working
    directory."""

    def __init__(self, **kinds: bool) -> None:
        super().__init__(path_type=Path, **kinds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("expected a path, got an empty text", param, ctx)
        return super().convert(value, param, ctx)


path_type = GivenPath()
file_type = GivenPath(dir_okay=False)
MODEL = click.Path()  # a str: "mini" is a built-in model, "./mini" a directory, and a Path could not tell

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
index_option = click.option(
    "--index",
    "index_dir",
    required=True,
    type=path_type,
    help="Directory of the index.",
)


def sampling_options(command: F) -> F:
    """--frames, --words, --fps, --slice: what a model sees of a video and of a text."""
    return _with_options(
        command,
        [
            click.option(
                "--frames", type=click.IntRange(min=1), help="Most frames of a video, F  [default: 12]"
            ),
            click.option("--words", type=click.IntRange(min=2), help="Tokens of a text, L  [default: 32]"),
            click.option(
                "--fps",
                default=1,
                show_default=True,
                type=click.IntRange(min=1),
                help="Frames sampled a second.",
            ),
            click.option(
                "--slice",
                default="uniform",
                show_default=True,
                type=click.Choice(["uniform", "head", "tail"]),
                help="Which frames stay when there are more than F.",
            ),
        ],
    )


def engine_options(command: F) -> F:
    """--model, --device, --backend, --precision, --scoring, --threads."""
    return _with_options(
        command,
        [
            click.option(
                "--model",
                type=MODEL,
                help="Bundle directory, or built-in model such as mini  [default: the one that the index was "
                "made with]",
            ),
            click.option(
                "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"])
            ),
            click.option(
                "--backend",
                default="auto",
                show_default=True,
                type=click.Choice(["auto", "openvino", "onnxruntime", "tensorrt"]),
                help="What runs the encoders.",
            ),
            click.option(
                "--precision",
                default="auto",
                show_default=True,
                type=click.Choice(["auto", "fp32", "fp16", "bf16"]),
                help="Arithmetic of the encoders; auto is bf16 where the processor multiplies it.",
            ),
            click.option(
                "--scoring",
                default="auto",
                show_default=True,
                type=click.Choice(["auto", "native", "fast", "numpy"]),
                help="What ranks videos: libvtr, exact or with bfloat16 (fast), or the NumPy reference.",
            ),
            click.option(
                "--threads", type=click.IntRange(min=1), help="Threads of the encoders and the native core."
            ),
        ],
    )


def _with_options(command: F, options: Sequence[Callable[[F], F]]) -> F:
    """``command`` with options that its help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def open_engine(
    model: str | None,
    index_dir: Path | None,
    device: str,
    backend: str,
    precision: str,
    scoring: str,
    threads: int | None,
    decoder: str = "auto",
) -> Engine:
    """The engine that the shared options describe, and ``vtr index``'s --decoder."""
    from vtr.engine import Engine

    return Engine(
        model,
        index_dir,
        device,
        precision,
        backend=backend,
        threads=threads,
        scoring=scoring,
        decoder=decoder,
    )
