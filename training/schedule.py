"""The learning rate over a run: linear warm-up, then a cosine down to zero, as CLIP4Clip's code trains."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, warmup: float = 0.1) -> float:
    """The factor on the learning rate in step ``step`` (from 0) of ``steps``, of which the share ``warmup``
    warms up. The first step already learns; the factor would reach 0 in step ``steps``."""
    rise = max(1, round(warmup * steps)) if warmup else 0
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2
