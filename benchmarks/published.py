"""The published way from a file to features: OpenCV seeks for every frame, PIL resizes, PyTorch encodes.

Written as the published CLIP4Clip loader does it, for use as a baseline and as a reference.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from vtr.types import Sampling


def load_frames(path: Path, sampling: Sampling) -> np.ndarray:
    """Sampled frames of one file, uint8 ``[n, size, size, 3]`` RGB: one seek and one read a candidate."""
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    fps = int(capture.get(cv2.CAP_PROP_FPS))
    step = fps // sampling.fps
    pictures = []
    for second in range((count + fps - 1) // fps + 1):
        for index in range(second * fps, (second + 1) * fps, step)[: sampling.fps]:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            found, frame = capture.read()
            if not found:
                break
            pictures.append(prepare(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)), sampling.size))
        else:
            continue
        break
    capture.release()
    if len(pictures) > sampling.frames:
        kept = np.linspace(0, len(pictures) - 1, sampling.frames, dtype=int)
        pictures = [pictures[index] for index in kept]
    return np.stack(pictures)


def prepare(picture: Image.Image, size: int) -> np.ndarray:
    """Short side to ``size`` with bicubic interpolation, then the centre crop."""
    width, height = picture.size
    if width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


@torch.inference_mode()
def encode(model: torch.nn.Module, clips: list[np.ndarray], frames: int) -> torch.Tensor:
    """Frame features ``[B, F, D]`` in eager float32, padded frames encoded like the others."""
    size = clips[0].shape[1]
    pixels = torch.zeros(len(clips), frames, size, size, 3, dtype=torch.uint8)
    mask = torch.zeros(len(clips), frames)
    for row, clip in enumerate(clips):
        pixels[row, : len(clip)] = torch.from_numpy(clip)
        mask[row, : len(clip)] = 1
    return model.encode_vision(pixels, mask)
