"""Models to measure with: random weights (time does not depend on them), in the size of CLIP's ViT-B/32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .case import Context

if TYPE_CHECKING:
    from vtr.export.models import ReferenceModel

VIT_B_32 = {"dim": 512, "vision_width": 768, "text_width": 512, "layers": 12, "image": 224, "patch": 32}
SMALL = {"dim": 128, "vision_width": 192, "text_width": 128, "layers": 3, "image": 224, "patch": 32}
VARIANTS = {"ea": "excitation_aggregation"}  # families whose checkpoints must say more than their name


def sizes(context: Context) -> dict[str, int]:
    """Arguments of `vtr.export.synthetic.random_checkpoint`; a quick run has a small model."""
    return SMALL if context.quick else VIT_B_32


def size_name(context: Context) -> str:
    """What records call the model."""
    return "small ViT, 3 layers of 192" if context.quick else "ViT-B/32-sized"


def checkpoint(context: Context, family: str) -> Path:
    """A checkpoint of a family (``clip4clip``, ``ea``, ``teachclip``, ``xclip``, ``tcmgc``), as a file."""
    import torch

    from vtr.export.synthetic import random_checkpoint

    path = _place(context, family, "checkpoint.pt")
    if not path.exists():
        state = random_checkpoint(family, variant=VARIANTS.get(family), **sizes(context))
        torch.save(state, path)
    return path


def reference(context: Context, family: str) -> ReferenceModel:
    """The same model in float32 PyTorch."""
    import torch

    from vtr.export.models import build_model

    return build_model(torch.load(checkpoint(context, family), weights_only=True)).eval()


def bundle(context: Context, family: str, precision: str = "fp32") -> Path:
    """The same model exported ("fp32", "fp16", "bf16" or "int8"), once in a run."""
    path = _place(context, family, f"bundle-{precision}")
    if not path.exists():
        from vtr.export import export_model

        name = f"{family}, {size_name(context)}, random weights"
        export_model(reference(context, family), path, precision, name=name, trained=False)
    return path


def _place(context: Context, family: str, name: str) -> Path:
    size = "small" if context.quick else "vit-b-32"
    folder = context.folder / "models" / f"{family}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
