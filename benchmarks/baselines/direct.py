"""The published scoring, written directly in PyTorch, as a baseline, eager and compiled.

It is the reference model's own head in float32, one text against all videos in chunks. What does not depend
on the text (X-CLIP's normalised frames) is prepared beforehand on both sides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vtr.export.families.tcmgc import TCMGCHead
from vtr.export.families.xclip import XClipHead

SCALE = 100.0  # exp(logit_scale) of every published checkpoint
CHUNKS = (32, 128, 512, 2048)  # videos at a time; the fastest is taken

Score = Callable[[Tensor, Tensor, Tensor], Tensor]  # sentence [D], words [L, D], chunk of videos -> [V]


def random_head(head: nn.Module, noise: float = 0.02, seed: int = 0) -> nn.Module:
    """Parameters as after training: identities and norms, disturbed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        parameter.data += (
            noise / math.sqrt(parameter.shape[-1]) * torch.randn(parameter.shape, generator=generator)
        )
    return head.eval()


def head_arrays(head: nn.Module) -> dict[str, np.ndarray]:
    """The parameters as a bundle's head holds them."""
    arrays = {name: parameter.detach().numpy() for name, parameter in head.scorer_tensors().items()}
    return {**arrays, "logit_scale": np.array([math.log(SCALE)], np.float32)}


def load_head(head: nn.Module, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    """Give a head the parameters of a bundle's."""
    for name, parameter in head.scorer_tensors().items():
        parameter.data.copy_(torch.from_numpy(arrays[name]))
    return head.eval()


def tcmgc(head: TCMGCHead) -> Score:
    def score(sentence: Tensor, words: Tensor, frames: Tensor) -> Tensor:
        scores = SCALE * head.scores(sentence, words, frames)
        return ((scores @ head.logit_weight).softmax(dim=-1) * scores).sum(dim=-1)

    return score


def xclip(head: XClipHead) -> Score:
    def score(sentence: Tensor, words: Tensor, rows: Tensor) -> Tensor:
        return SCALE * head.score_text(sentence, words, rows[:, -1], rows[:, :-1])

    return score


def score_all(score: Score, sentence: Tensor, words: Tensor, videos: Tensor, chunk: int) -> Tensor:
    """Logits ``[T, V]``."""
    with torch.inference_mode():
        return torch.stack(
            [
                torch.cat([score(s, w, part) for part in videos.split(chunk)])
                for s, w in zip(sentence, words, strict=True)
            ]
        )


def compiled(score: Score) -> Score:
    """The same through ``torch.compile``, for shapes that do not change."""
    torch.compiler.reset()  # what was compiled for other heads counts against the limit of recompilations
    made: Score = torch.compile(score, dynamic=False)
    return made


def fastest_chunk(score: Score, sentence: Tensor, words: Tensor, videos: Tensor) -> int:
    """The number of videos at a time with which the baseline is fastest here."""
    times: Mapping[int, float] = {chunk: _time(score, sentence, words, videos, chunk) for chunk in CHUNKS}
    return min(times, key=lambda chunk: times[chunk])


def _time(score: Score, sentence: Tensor, words: Tensor, videos: Tensor, chunk: int) -> float:
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        score_all(score, sentence[:1], words[:1], videos[: max(CHUNKS)], chunk)
        best = min(best, time.perf_counter() - start)
    return best
