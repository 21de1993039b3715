"""What the machine can do at most, measured in the run that quotes it: matrix products and memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from .measure import interleave

SIDE = 2048  # of square matrices: far past the caches, a fifth of a second in float32 on one core
BYTES = 1 << 30  # read and copied: past every cache but a server's last

UNITS = {
    "fp32_tflops": "TFLOP/s, float32 matrix product",
    "bf16_tflops": "TFLOP/s, bfloat16 matrix product",
    "read_gb_s": "GB/s, reading",
    "copy_gb_s": "GB/s, copying (both ways counted)",
}


def ceilings(threads: int, quick: bool = False) -> dict[str, float]:
    """Best of several: TFLOP/s of float32 and bfloat16 products, GB/s of reading and of copying.

    PyTorch measures (oneDNN: with matrix units where there are any). Where it is not installed NumPy does,
    which has no bfloat16: that figure is then missing. A copy counts bytes both ways.
    """
    size = BYTES >> 2 if quick else BYTES
    works = _torch(size, threads) if find_spec("torch") else _numpy(size)
    best = {name: min(times) for name, times in interleave(works, 3 if quick else 5).items()}
    flop = 2 * SIDE**3
    amounts = {
        "fp32_tflops": flop / 1e12,
        "bf16_tflops": flop / 1e12,
        "read_gb_s": size / 1e9,
        "copy_gb_s": 2 * size / 1e9,
    }
    return {name: round(amounts[name] / seconds, 3) for name, seconds in best.items()}


def _torch(size: int, threads: int) -> dict[str, Callable[[], Any]]:
    import torch

    torch.set_num_threads(threads)
    single = torch.randn(SIDE, SIDE)
    half = single.bfloat16()
    source = torch.randn(size // 4)
    target = torch.empty_like(source)
    return {
        "fp32_tflops": lambda: single @ single,
        "bf16_tflops": lambda: half @ half,
        "read_gb_s": lambda: torch.sum(source),
        "copy_gb_s": lambda: target.copy_(source),
    }


def _numpy(size: int) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    single = rng.standard_normal((SIDE, SIDE), np.float32)
    source = rng.standard_normal(size // 4, np.float32)
    target = np.empty_like(source)
    return {
        "fp32_tflops": lambda: single @ single,
        "read_gb_s": lambda: source.sum(),
        "copy_gb_s": lambda: np.copyto(target, source),
    }
