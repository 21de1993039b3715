"""The learning rate over a run: linear warm-up, then a cosine down to zero, as CLIP4Clip and its successors.

In their code the cosine begins with the run and not where the warm-up ends, so that with a warm-up of a tenth
the rate falls by 2 % at once there; half-way through the run it is 0.50 of the highest, here 0.59.
"""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, warmup: float = 0.1) -> float:
    """The factor on the learning rate in step ``step`` (from 0) of ``steps``, of which the share ``warmup``
    warms up. The first step already learns; the factor would reach 0 in step ``steps``."""
    rise = max(1, round(warmup * steps)) if warmup else 0
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2
