"""Arithmetic that the kernels share."""

from __future__ import annotations

import triton
import triton.language as tl
from triton import knobs

LOW = tl.constexpr(-1.0e30)  # where there is nothing: far below any similarity, and finite times λ
INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))


@triton.jit
def product(a, b, acc):
    """``acc + a @ b`` of features in fp16 or bf16, summed in float32 on the matrix units.

    Triton 3.6's interpreter multiplies the bits of bf16 as whole numbers, so there features are widened
    first.
    """
    if INTERPRETED:
        return acc + tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        return tl.dot(a, b, acc)


@triton.jit
def softmax(x, axis: tl.constexpr):
    e = tl.exp(x - tl.max(x, axis, keep_dims=True))
    return e * (1 / tl.sum(e, axis, keep_dims=True))  # one division a row, not one a number
