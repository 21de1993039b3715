"""Sorting on chip: one thread holds a whole row and exchanges registers; no shuffles, no index arithmetic.

A row of N numbers is unpacked into N tensors, and Batcher's odd-even merge network (Batcher, 1968) exchanges
them two by two: one minimum and one maximum an exchange, 191 exchanges for N = 32 and 543 for N = 64. Of a
network whose later outputs nobody reads, the compiler drops the halves that feed only these: the 3 best of 32
take about half the operations of the whole sort. Triton's own ``tl.sort`` needs two compares, two selects
and, where a row is spread over lanes, a shuffle for the same exchange.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.constexpr_function
def exchanges(size: int) -> tuple[tuple[int, int], ...]:
    """Batcher's network for ``size`` inputs, a power of two: pairs (i, j), i < j; the larger goes to i."""
    pairs = []
    run = 1
    while run < size:
        step = run
        while step >= 1:
            for start in range(step % run, size - step, 2 * step):
                for i in range(start, start + min(step, size - start - step)):
                    if i // (2 * run) == (i + step) // (2 * run):
                        pairs.append((i, i + step))
            step //= 2
        run *= 2
    return tuple(pairs)


@triton.constexpr_function
def exchange_count(size):
    return len(exchanges(size))


@triton.constexpr_function
def exchange_of(size, number, side):
    return exchanges(size)[number][side]


@triton.jit
def unpack(x, A: tl.constexpr, B: tl.constexpr, N: tl.constexpr):
    """``x [A, B, N]`` as a tuple of N tensors ``[A, B]``, in an order that a sort need not know."""
    if N == 1:
        return (tl.reshape(x, (A, B)),)
    else:
        even, odd = tl.split(tl.reshape(x, (A, B, N // 2, 2)))
        return unpack(even, A, B, N // 2) + unpack(odd, A, B, N // 2)


@triton.jit
def pack(t, A: tl.constexpr, B: tl.constexpr, N: tl.constexpr):
    """The reverse, in order: N tensors ``[A, B]`` -> ``[A, B, N]``."""
    if N == 1:
        return tl.reshape(t[0], (A, B, 1))
    else:
        even = pack(t[::2], A, B, N // 2)
        odd = pack(t[1::2], A, B, N // 2)
        return tl.reshape(tl.join(even, odd), (A, B, N))


@triton.jit
def exchange(t, i: tl.constexpr, j: tl.constexpr):
    high, low = tl.maximum(t[i], t[j]), tl.minimum(t[i], t[j])
    # A jitted body cannot unpack with a star.
    return t[:i] + (high,) + t[i + 1 : j] + (low,) + t[j + 1 :]  # noqa: RUF005


@triton.jit
def descending(x, A: tl.constexpr, B: tl.constexpr, N: tl.constexpr):
    """Each row of ``x [A, B, N]`` sorted downwards, as a tuple of N tensors ``[A, B]``."""
    t = unpack(x, A, B, N)
    for number in tl.static_range(exchange_count(N)):
        t = exchange(t, exchange_of(N, number, 0), exchange_of(N, number, 1))
    return t


@triton.jit
def first_of(t, A: tl.constexpr, B: tl.constexpr, KEEP: tl.constexpr, WIDTH: tl.constexpr, FILL):
    """The first KEEP of a tuple of tensors ``[A, B]``, then FILL: ``[A, B, WIDTH]``."""
    fill = tl.full((A, B), FILL, tl.float32)
    t = t[:KEEP]
    for _ in tl.static_range(WIDTH - KEEP):
        t = t + (fill,)  # noqa: RUF005
    return pack(t, A, B, WIDTH)


@triton.jit
def largest(
    x, A: tl.constexpr, B: tl.constexpr, N: tl.constexpr, KEEP: tl.constexpr, WIDTH: tl.constexpr, FILL
):
    """The KEEP highest of each row of ``x [A, B, N]``, downwards, then FILL: ``[A, B, WIDTH]``."""
    return first_of(descending(x, A, B, N), A, B, KEEP, WIDTH, FILL)
