"""What the machine can do at most, measured in the run that quotes it: matrix products and memory."""

from __future__ import annotations

import torch

from benchmarks.measure import interleave

SIDE = 2048  # of square matrices: far past the caches, a fifth of a second in float32 on one core
BYTES = 1 << 30  # read and copied: past every cache but a server's last


def ceilings(threads: int, repeats: int = 5) -> dict[str, float]:
    """Best of ``repeats``: TFLOP/s of float32 and bfloat16 products, GB/s of reading and of copying.

    Products are PyTorch's (oneDNN: with matrix units where there are any). A copy counts bytes both ways.
    """
    torch.set_num_threads(threads)
    single = torch.randn(SIDE, SIDE)
    half = single.bfloat16()
    source = torch.randn(BYTES // 4)
    target = torch.empty_like(source)
    seconds = interleave(
        {
            "fp32": lambda: single @ single,
            "bf16": lambda: half @ half,
            "read": lambda: torch.sum(source),
            "copy": lambda: target.copy_(source),
        },
        repeats,
    )
    best = {name: min(times) for name, times in seconds.items()}
    flop = 2 * SIDE**3
    return {
        "fp32_tflops": round(flop / best["fp32"] / 1e12, 3),
        "bf16_tflops": round(flop / best["bf16"] / 1e12, 3),
        "read_gb_s": round(BYTES / best["read"] / 1e9, 2),
        "copy_gb_s": round(2 * BYTES / best["copy"] / 1e9, 2),
    }
