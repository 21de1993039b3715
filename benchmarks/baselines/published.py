"""The published way from files to features: OpenCV seeks for every frame, PIL resizes, PyTorch encodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.export.models import ReferenceModel

from .sampled import Sampled

BATCH = 4  # clips encoded together, as many as vtr takes

LoadAll = Callable[[Sequence[Path]], Iterable[Sampled]]


def features(model: ReferenceModel, paths: Sequence[Path], load: LoadAll) -> list[torch.Tensor]:
    """Frame features ``[B, F, D]`` of batches of files in eager float32, encoded as they are loaded."""
    clips, found = iter(load(paths)), []
    while batch := [clip.frames for clip in islice(clips, BATCH)]:
        found.append(encode(model, batch))
    return found


@torch.inference_mode()
def encode(model: ReferenceModel, clips: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Frame features ``[B, F, D]``; padded frames are encoded like the others."""
    frames, size = model.sizes["frames"], clips[0].shape[1]
    pixels = torch.zeros(len(clips), frames, size, size, 3, dtype=torch.uint8)
    mask = torch.zeros(len(clips), frames)
    for row, clip in enumerate(clips):
        pixels[row, : len(clip)] = torch.from_numpy(clip)
        mask[row, : len(clip)] = 1
    return model.encode_vision(pixels, mask)
