"""What a run leaves on disk: ``last.pt`` to resume from, and models under their published keys to export.

Files appear whole or not at all. ``last.pt`` holds tensors, numbers and strings only, so that
``torch.load(weights_only=True)`` reads it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vtr.errors import CheckpointError
from vtr.files import sync_folder

from .optimizer import published_name

FORMAT = 1
LAST = "last.pt"


def published_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors under the keys that published checkpoints have; what `build_model` takes."""
    return {published_name(name): tensor.detach() for name, tensor in model.state_dict().items()}


def model_file(models: Mapping[str, nn.Module], name: str, best: bool = False) -> str:
    """The file name of one of a run's models."""
    stem = "best" if best else "model"
    return f"{stem}.safetensors" if len(models) == 1 else f"{stem}-{name}.safetensors"


def save_models(models: Mapping[str, nn.Module], folder: Path, best: bool = False) -> None:
    """Write every model as safetensors, for `vtr export`."""
    from safetensors.torch import save

    for name, model in models.items():
        tensors = {key: tensor.cpu().contiguous() for key, tensor in published_state(model).items()}
        data = save(tensors, metadata={"format": "pt"})  # save_file makes files that others may not read
        write_whole(folder / model_file(models, name, best), data)


@dataclass(frozen=True)
class Progressed:
    """Where a run stands: steps done, seconds spent on them, and the best validation score so far."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None


def save_run(
    folder: Path, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, progressed: Progressed
) -> None:
    """Write ``last.pt``. Tensors that models share are written once."""
    state = {
        "format": FORMAT,
        "step": progressed.step,
        "seconds": progressed.seconds,
        "best": progressed.best,
        "models": {name: published_state(model) for name, model in models.items()},
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }
    _write(folder / LAST, partial(torch.save, state))


def load_run(path: Path, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> Progressed:
    """Put what ``last.pt`` holds into models and optimizer. CheckpointError if it is of another run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        raise CheckpointError(f"{path}: cannot be read: {type(error).__name__}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a run saved by vtr train in format {FORMAT}")
    if state["models"].keys() != models.keys():
        raise CheckpointError(
            f"{path}: expected the models {', '.join(models)}, got {', '.join(state['models'])}"
        )
    for name, model in models.items():
        _fill(path, model, state["models"][name])
    given = [group["names"] for group in state["optimizer"]["param_groups"]]
    if given != [group["names"] for group in optimizer.param_groups]:
        raise CheckpointError(
            f"{path}: the run trained other parameters; resume with the options it began with"
        )
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return Progressed(state["step"], state["seconds"], state["best"])


@torch.no_grad()
def _fill(path: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy in place: models of a run share modules."""
    own = published_state(model)
    shapes = {key: tensor.shape for key, tensor in own.items()}
    if shapes != {key: tensor.shape for key, tensor in tensors.items()}:
        raise CheckpointError(
            f"{path}: the run's model has other tensors; resume with the options it began with"
        )
    for key, tensor in own.items():
        tensor.copy_(tensors[key])


def _write(path: Path, write: Callable[[Any], object]) -> None:
    """Let ``write`` make a file beside ``path`` that then takes its place."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the power goes."""
    _write(path, lambda temporary: temporary.write_bytes(data))
