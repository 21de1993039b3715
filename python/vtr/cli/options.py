"""Options that several commands share, and how they open an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vtr.engine import Engine

F = TypeVar("F", bound=Callable[..., Any])

MODEL = click.Path()  # a str: "mini" is a built-in model, "./mini" a directory, and a Path could not tell

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
index_option = click.option(
    "--index",
    "index_dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory of the index.",
)


def engine_options(command: F) -> F:
    """--model, --device, --backend, --precision, --threads."""
    for option in reversed(
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
                type=click.Choice(["auto", "openvino", "onnxruntime"]),
                help="What runs the encoders.",
            ),
            click.option(
                "--precision",
                default="auto",
                show_default=True,
                type=click.Choice(["auto", "fp32", "fp16", "bf16"]),
                help="Arithmetic of the encoders.",
            ),
            click.option(
                "--threads", type=click.IntRange(min=1), help="Threads of the encoders and the native core."
            ),
        ]
    ):
        command = option(command)
    return command


def open_engine(
    model: str | None,
    index_dir: Path | None,
    device: str,
    backend: str,
    precision: str,
    threads: int | None,
) -> Engine:
    """The engine that the shared options describe."""
    from vtr.engine import Engine

    return Engine(model, index_dir, device, precision, backend=backend, threads=threads)
