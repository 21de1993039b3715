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
def exact_product(a, b):
    """``a @ b`` of float32 below 65504 in size, good to about 2^-22 of their size: each is a sum of two fp16.

    Three pieces of TF32 are as good and need twice the registers and the instructions.
    """
    a1, b1 = a.to(tl.float16), b.to(tl.float16)
    a2, b2 = (a - a1.to(tl.float32)).to(tl.float16), (b - b1.to(tl.float32)).to(tl.float16)
    small = product(a2, b1, tl.zeros((a.shape[0], b.shape[1]), tl.float32))
    return product(a1, b1, product(a1, b2, small))


@triton.jit
def softmax(x, axis: tl.constexpr):
    e = tl.exp(x - tl.max(x, axis, keep_dims=True))
    return e * (1 / tl.sum(e, axis, keep_dims=True))  # one division a row, not one a number
