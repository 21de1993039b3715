"""Adam with decoupled weight decay as CLIP4Clip and its successors set it up: none where it makes no sense,
and a smaller learning rate for the CLIP that the model started from than for what is new. TeachCLIP's trainer
gives the matrices of its attentional frame aggregation a larger one. (These trainers' Adam takes its first
averages as they are; PyTorch's, which is used here, corrects them for having begun at zero.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.98)
EPS = 1e-6
LARGEST_SCALE = math.log(100)  # of logit_scale: the published clamp
CLIP = "clip."
AFA = ("frameLinear.weight", "frameLinear2.weight")


def published_name(name: str) -> str:
    """A parameter's name in checkpoints, from its name in a `ReferenceModel`."""
    for place in ("temporal_head.", "cross_encoder.", "family_head."):
        name = name.removeprefix(place)
    return name


def named_parameters(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Trainable parameters of models that share modules, each once: ``"<model>/<published name>"``.

    What is shared has the name that it has in the first model.
    """
    seen: set[int] = set()
    for model_name, model in models.items():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{model_name}/{published_name(name)}", parameter


def decays(name: str, parameter: Tensor) -> bool:
    """Biases, norms, scalars and single embeddings (``logit_scale``, the class token) do not; matrices do."""
    one_row = "embedding" in name and len(parameter) == 1
    return parameter.ndim >= 2 and not one_row


def make_optimizer(
    models: Mapping[str, nn.Module], lr: float, coef_lr: float, weight_decay: float, afa_lr: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over all models. Each group has ``"name"``, ``"names"`` (the parameters in it), ``"initial_lr"``:
    lr, times ``coef_lr`` for ``clip.*`` and ``afa_lr`` for `AFA`. Frozen models and parameters are left out.
    """
    coefficients = {"clip": coef_lr, "afa": afa_lr, "new": 1.0}
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in named_parameters(models):
        kind = _kind(name.partition("/")[2])
        decay = decays(name, parameter)
        rate = lr * coefficients[kind]
        fresh = {
            "name": kind + ("" if decay else ", no decay"),
            "params": [],
            "names": [],
            "lr": rate,
            "initial_lr": rate,
            "weight_decay": weight_decay if decay else 0.0,
        }
        group = groups.setdefault((kind, decay), fresh)
        group["params"].append(parameter)
        group["names"].append(name)
    return torch.optim.AdamW(list(groups.values()), lr=lr, betas=BETAS, eps=EPS)


def _kind(name: str) -> str:
    """What a parameter belongs to, by its published name."""
    if name.startswith(CLIP):
        return "clip"
    return "afa" if name in AFA else "new"


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Each group's learning rate is its initial one times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@torch.no_grad()
def clamp_scales(models: Mapping[str, nn.Module]) -> None:
    """exp(logit_scale) stays at most 100."""
    for model in models.values():
        model.clip.logit_scale.clamp_(max=LARGEST_SCALE)
