"""The score matrix of a validation set, while a model is being trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vtr.export.models import ReferenceModel

from .annotated import stack_frames
from .encode import encode_videos
from .scores import score_batch
from .step import arithmetic

TEXTS, VIDEOS = 64, 16  # encoded at a time


@torch.no_grad()
def score_matrix(
    model: ReferenceModel, ids: Tensor, videos: Sequence[Path], precision: str = "fp32"
) -> NDArray[np.float32]:
    """Logits ``[T,V]`` of texts ``ids [T,L]`` with cached videos (`annotated.FrameCache`)."""
    device = model.clip.logit_scale.device
    texts, clips = [], []
    with arithmetic(device.type, precision):
        for part in ids.split(TEXTS):
            sentence, words = model.encode_text(part.to(device))
            texts.append((sentence.float(), words.float()))
        for start in range(0, len(videos), VIDEOS):
            frames, counts = stack_frames(videos[start : start + VIDEOS])
            x, mask = encode_videos(model, frames.to(device), counts.to(device))
            clips.append((x.float(), mask))
    x, mask = (torch.cat(parts) for parts in zip(*clips, strict=True))
    with arithmetic(device.type, "fp32"):
        rows = [score_batch(model, sentence, words, x, mask).logits for sentence, words in texts]
    return torch.cat(rows).cpu().numpy()
