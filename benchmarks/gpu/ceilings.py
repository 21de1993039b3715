"""What the device can do at most, measured by every part before it starts: copying, and bf16 products."""

from __future__ import annotations

import torch

from .place import Place
from .timing import interleave

SIDE = 8192  # of square matrices: 1.1 TFLOP a product
BYTES = 2 << 30  # copied: past every cache


def ceilings(place: Place, repeats: int = 7) -> dict[str, float]:
    """Best of ``repeats``: GB/s of copying, both ways counted, and TFLOP/s of PyTorch's bf16 product."""
    side, size = (64, 1 << 16) if place.tiny else (SIDE, BYTES)
    a, b = (torch.randn(side, side, device=place.device).bfloat16() for _ in range(2))
    c = torch.empty_like(a)
    source = torch.empty(size, dtype=torch.uint8, device=place.device).random_()
    target = torch.empty_like(source)
    seconds = interleave(
        {"copy": lambda: target.copy_(source), "bf16": lambda: torch.matmul(a, b, out=c)}, place, repeats
    )
    return {
        "copy_gb_s": round(2 * size / min(seconds["copy"]) / 1e9, 3),
        "bf16_tflops": round(2 * side**3 / min(seconds["bf16"]) / 1e12, 5),
    }
