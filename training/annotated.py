"""Training batches from video files and their captions.

Files are decoded once: the frames that a model sees lie as uint8 arrays in a folder, each under the hash of
its file's content and the sampling, so that a run that is resumed or repeated finds them, wherever the files
are then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.decode import DecodePool
from vtr.errors import UsageError
from vtr.files import content_hash
from vtr.progress import Progress, make_progress
from vtr.tokenizer import Tokenizer
from vtr.types import Clip, Failure, Sampling

from .batches import Batch


@dataclass(frozen=True)
class FrameCache:
    """Where the frames of video files lie: path of a video to path of its ``.npy``, and what failed."""

    frames: dict[Path, Path] = field(default_factory=dict)  # uint8 [n,S,S,3] each, n ≤ F
    failed: list[Failure] = field(default_factory=list)


def cache_frames(
    videos: Iterable[Path],
    folder: Path,
    sampling: Sampling,
    *,
    workers: int | None = None,
    progress: bool | Callable[..., None] | Progress = False,
) -> FrameCache:
    """Decode every video whose frames are not in ``folder`` yet. Files that cannot be read are reported."""
    folder.mkdir(parents=True, exist_ok=True)
    cache = FrameCache()
    same: dict[Path, list[Path]] = {}  # the frames of a content: all files of it
    videos = list(dict.fromkeys(videos))
    with make_progress(progress, "decoding") as shown:
        shown.total(len(videos))
        for video in videos:
            try:
                place = folder / f"{content_hash(video)}-{_sampled(sampling)}.npy"
            except OSError as error:
                cache.failed.append(Failure(video, f"cannot be read: {error.strerror or error}"))
                shown.step(video.name, "failed")
                continue
            same.setdefault(place, []).append(video)
        new: dict[Path, Path] = {}  # first file of a content: where its frames shall lie
        for place, files in same.items():
            if place.exists():
                cache.frames.update(dict.fromkeys(files, place))
                shown.step(files[0].name, "known", len(files))
            else:
                new[files[0]] = place
        if new:
            with DecodePool(workers, sampling) as pool:
                for first, result in pool.map(new):
                    _keep(cache, same[new[first]], new[first], result)
                    shown.step(first.name, "decoded", len(same[new[first]]))
    return cache


def _sampled(sampling: Sampling) -> str:
    return f"{sampling.frames}x{sampling.size}-{sampling.fps}fps-{sampling.slice}"


def _keep(cache: FrameCache, videos: Sequence[Path], place: Path, result: Clip | Failure) -> None:
    if isinstance(result, Failure):
        cache.failed.extend(Failure(video, result.reason) for video in videos)
        return
    temporary = place.with_suffix(f".{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.save(file, result.frames)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
    cache.frames.update(dict.fromkeys(videos, place))


class AnnotatedClips:
    """Videos with one caption each, drawn anew every epoch; a source for `vtr.training.loop.train`.

    Every epoch goes through all videos in an order of its own; its last batch is left out where it would be
    short. Order and captions depend on seed and epoch alone.

    Args:
        videos: the frames of each video (`FrameCache`).
        captions: one or more texts for each.
        words: L, the length of the token rows.
    """

    def __init__(
        self,
        videos: Sequence[Path],
        captions: Sequence[Sequence[str]],
        tokenizer: Tokenizer,
        *,
        words: int,
        batch: int,
        epochs: int,
        seed: int = 0,
    ) -> None:
        if len(videos) != len(captions) or not all(captions):
            raise UsageError(f"expected captions for each of the {len(videos)} videos")
        if not 1 <= batch <= len(videos):
            raise UsageError(
                f"expected a batch of 1 to {len(videos)}, as many videos as there are, got {batch}"
            )
        self.videos, self.batch, self.epochs, self.seed = list(videos), batch, epochs, seed
        self.steps = len(videos) // batch  # of an epoch
        texts = [text for several in captions for text in several]
        self.ids = tokenizer.encode(texts, words)  # once: worker processes need no tokenizer
        self.ends = np.cumsum([len(several) for several in captions])
        self.starts = self.ends - np.array([len(several) for several in captions])

    def __len__(self) -> int:
        return self.steps * self.epochs

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(f"expected a step below {len(self)}, got {step}")
        epoch, number = divmod(step, self.steps)
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.videos))
        rows = random.integers(self.starts, self.ends)  # one caption for every video
        chosen = order[number * self.batch : (number + 1) * self.batch]
        frames, counts = stack_frames([self.videos[video] for video in chosen])
        return Batch(frames, counts, torch.from_numpy(self.ids[rows[chosen]]))


def stack_frames(videos: Sequence[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of cached videos one after another, uint8 ``[N,S,S,3]``; how many each has, int64 ``[B]``."""
    arrays: list[NDArray[np.uint8]] = [np.load(video) for video in videos]
    counts = torch.tensor([len(array) for array in arrays])
    return torch.from_numpy(np.concatenate(arrays)), counts
