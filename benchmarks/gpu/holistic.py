"""Part "holistic": the ten best by one vector a video, fused; against PyTorch's product and topk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import normalize

from ..measure import ratio
from . import work
from .place import Place
from .timing import interleave, speed

K = 10


def measure(place: Place) -> Iterator[dict[str, Any]]:
    from vtr.kernels import holistic
    from vtr.kernels.config import Spec

    # Ten times as many as elsewhere: a million vectors are read in a quarter of a millisecond.
    count = place.fitting(10 * place.videos, 3 * work.holistic_bytes(1, place.dim))
    spec = Spec("holistic", 1, 1, place.dim, 1)
    vectors = torch.empty((count, place.dim), dtype=torch.float16, device=place.device)
    for part in vectors.split(1 << 18):
        part.copy_(normalize(torch.randn(part.shape, device=place.device), dim=-1))
    for texts in place.texts:
        probes = normalize(torch.randn((texts, place.dim), device=place.device), dim=-1).half()
        runs = {
            "kernel": lambda p=probes: holistic.search(spec, vectors, p, 100.0, K),
            "eager": lambda p=probes: (p @ vectors.T).topk(min(K, count), 1),
        }
        seconds = interleave(runs, place)
        moved = work.holistic_bytes(count, place.dim)
        flop = work.holistic_flop(texts, count, place.dim)
        yield {
            "name": f"holistic {texts} texts",
            "videos": count,
            "texts": texts,
            **speed(seconds["kernel"], place, moved=moved, flop=flop),
            "times_eager": ratio(seconds["eager"], seconds["kernel"]),
        }
