"""Work on all pairs of texts and videos in portions of texts, with bounded memory also for the gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

KEPT_BYTES = 1 << 30  # activations that may be kept for the backward pass; beyond, they are computed again


def over_texts(function: Callable[..., Tensor], tensors: Sequence[Tensor], step: int, size: int) -> Tensor:
    """``function(*tensors)`` over portions of ``step`` texts (the first axis), put together again.

    ``size`` is about how many bytes autograd would keep for all texts: where that is more than
    ``KEPT_BYTES``, a portion's activations are dropped and computed again in the backward pass.
    """
    again = torch.is_grad_enabled() and size > KEPT_BYTES
    results = []
    for portion in zip(*(tensor.split(max(1, step)) for tensor in tensors), strict=True):
        if again:
            results.append(checkpoint(function, *portion, use_reentrant=False, preserve_rng_state=False))
        else:
            results.append(function(*portion))
    return torch.cat(results)
