"""Procedural video clips with captions: what a scene shows, its frames, its sentences, and what is held out.

``sample`` gives training clips; ``python -m vtr.training.clips`` writes encoded test sets with annotations.
"""

from __future__ import annotations

import os
from functools import cache

from ..pictures import load_pictures, read_concepts
from .captions import caption
from .claims import full_claim, satisfies
from .draw import Stage, draw_frames
from .plan import World, plan
from .sampling import Clips, Pixels, sample_scene
from .scene import Scene, from_json
from .splits import SPLITS

__all__ = [
    "SPLITS",
    "Clips",
    "Scene",
    "Stage",
    "World",
    "caption",
    "draw_frames",
    "from_json",
    "full_claim",
    "load_world",
    "plan",
    "sample",
    "sample_scene",
    "satisfies",
]


def load_world(pictures: str | os.PathLike[str] | None = None) -> World:
    """The concepts and the pictures on this machine. Raises ``UsageError`` where they were not fetched."""
    return World(read_concepts(), load_pictures(pictures))


@cache
def _training_clips(seed: int) -> Clips:
    return Clips(_world(), "train", seed)


@cache
def _world() -> World:
    return load_world()


def sample(seed: int, index: int, frames: int = 12, size: int = 112) -> tuple[Pixels, list[str]]:
    """Training clip ``index`` under ``seed``, from the pictures in their default folder.

    Returns frames, uint8 ``[n, size, size, 3]`` with n ≤ ``frames``, and captions.
    """
    return _training_clips(seed).sample(index, frames, size)
