"""Decoding as the published CLIP4Clip loader does it: OpenCV seeks for every candidate frame, PIL resizes."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when cv2 is imported

import cv2
import numpy as np
from PIL import Image

from vtr.types import Sampling

from .sampled import Sampled, prepare


def load(path: Path, sampling: Sampling, threads: int) -> Sampled:
    """Sampled frames of one file: one seek and one read a candidate, of which at most F are kept.

    ``threads`` are FFmpeg's, inside OpenCV. Raises ``ValueError`` for a file of which nothing can be read.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    fps = max(int(capture.get(cv2.CAP_PROP_FPS)), 1)
    step = max(fps // sampling.fps, 1)
    numbers, pictures = [], []
    for second in range((count + fps - 1) // fps + 1):
        for index in range(second * fps, (second + 1) * fps, step)[: sampling.fps]:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            found, frame = capture.read()
            if not found:
                break
            numbers.append(index)
            pictures.append(prepare(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)), sampling.size))
        else:
            continue
        break
    capture.release()
    if not pictures:
        raise ValueError(f"expected a video that OpenCV reads, got {path}")
    kept = np.arange(len(pictures))
    if len(pictures) > sampling.frames:
        kept = np.linspace(0, len(pictures) - 1, sampling.frames, dtype=int)
    return Sampled(np.array(numbers, np.int64)[kept], np.stack([pictures[index] for index in kept]))
