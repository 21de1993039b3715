"""Clips for training, drawn without a file in between, and sampled as vtr samples files."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

from vtr.decode.sampling import sample_indices
from vtr.types import Sampling

from .augment import augmented
from .captions import captions
from .claims import Claim, full_claim, weaker
from .draw import Stage
from .plan import World, plan
from .scene import Scene
from .splits import says_own

Pixels = NDArray[np.uint8]


def sample_scene(scene: Scene, world: World, frames: int = 12, size: int = 112) -> Pixels:
    """The frames of a scene that a model sees, one a second, uint8 ``[n, size, size, 3]``, n ≤ ``frames``."""
    numbers = sample_indices(scene.frame_count, scene.fps, Sampling(frames=frames, size=size))
    stage = Stage(scene, world.pictures, size, size)
    return np.stack([stage.frame(number / scene.fps) for number in numbers.tolist()])


def claims_of(
    scene: Scene,
    random: Random,
    number: int,
    split: str,
    allowed: Callable[[Claim], bool] = lambda claim: True,
) -> list[Claim]:
    """The full claim of a scene and up to ``number - 1`` weaker ones of the split that are allowed."""
    full = full_claim(scene)
    found = [full]
    for _ in range(6 * (number - 1)):
        if len(found) == number:
            break
        less = weaker(full, random)
        if less not in found and says_own(split, less) and allowed(less):
            found.append(less)
    return found


class Clips:
    """The clips of one split under one seed, by index: an endless list, each entry made when it is asked for.

    Safe to share between forked processes; every entry depends on split, seed and index alone.
    """

    def __init__(self, world: World, split: str = "train", seed: int = 0, augment: bool = True) -> None:
        self.world, self.split, self.seed, self.augment = world, split, seed, augment

    def scene(self, index: int) -> Scene:
        """What clip ``index`` shows."""
        return plan(self.split, self.seed, index, self.world)

    def captions(self, index: int, number: int = 4, scene: Scene | None = None) -> list[str]:
        """True captions of clip ``index``: a full one first, then a less detailed one, and so on in turn."""
        scene = scene or self.scene(index)
        random = Random(f"captions/{self.split}/{self.seed}/{index}")
        claims = claims_of(scene, random, (number + 1) // 2, self.split)
        return captions(claims, self.world.concepts, random, number)

    def sample(self, index: int, frames: int = 12, size: int = 112) -> tuple[Pixels, list[str]]:
        """Frames, uint8 ``[n, size, size, 3]`` with n ≤ ``frames``, and captions of clip ``index``."""
        scene = self.scene(index)
        drawn = sample_scene(scene, self.world, frames, size)
        if self.augment:
            drawn = augmented(drawn, np.random.default_rng([self.seed, index]))
        return drawn, self.captions(index, scene=scene)
