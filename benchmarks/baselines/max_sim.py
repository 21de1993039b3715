"""Late interaction in general: every word takes its most similar frame (MaxSim, Khattab and Zaharia 2020).

    score = Σ_words max_frames w·f

It ranks by another formula than X-CLIP and TC-MGC, over features of the same shapes: what it takes is the
price of a simpler model, no baseline of theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NAME = "MaxSim, another model"
LARGEST_DIFFERENCE = 1e-3  # float32 sums of some hundred products of order 1

Floats = NDArray[np.float32]


def plain(words: Floats, frames: Floats) -> Floats:
    """The formula: ``words [T, L, D]``, ``frames [V, F, D]`` → ``[T, V]``."""
    return np.einsum("tld,vfd->tvlf", words, frames).max(-1).sum(-1)


def scorer(words: Floats, frames: Floats, chunk: int) -> Callable[[], Floats]:
    """The same in PyTorch, by one matrix product a text and ``chunk`` videos, as a function of nothing."""
    import torch

    texts, videos = torch.from_numpy(words), torch.from_numpy(frames)
    _, count, dim = videos.shape

    def score() -> Floats:
        with torch.inference_mode():
            rows = []
            for text in texts:
                parts = [
                    (part.reshape(-1, dim) @ text.T).view(len(part), count, -1).amax(1).sum(-1)
                    for part in videos.split(chunk)
                ]
                rows.append(torch.cat(parts))
            return torch.stack(rows).numpy()

    return score
