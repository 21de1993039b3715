"""Training batches of generated clips and stills, made as they are needed: no files, no two alike.

Within a batch come families: a clip, then variants of it with the same things in another order, number,
motion, colour, size or place, as in the test sets, and others with other things and all else the same. So a
model must look at all that a caption says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vtr.errors import UsageError
from vtr.tokenizer import Tokenizer

from .batches import Batch
from .clips import Stage, World, full_claim, plan, sample_scene
from .clips.augment import augmented
from .clips.captions import caption
from .clips.claims import ActorClaim, Claim, Step, weaker
from .clips.draw import placed
from .clips.plan import plan_one
from .clips.scene import Scene, Segment
from .clips.splits import styles_of
from .clips.testset import family
from .recast import recast

Pixels = NDArray[np.uint8]


class Example(NamedTuple):
    """A clip and what is said of it."""

    frames: Pixels  # uint8 [n, size, size, 3]
    text: str


SMALLEST, LARGEST = 0.15, 0.75  # things, in units of the frame's short side
INDICES = 1 << 20  # of scenes, that a step has to itself


class GeneratedClips:
    """Clips with one caption each, batch by batch: ``source[step]`` depends on split, seed and step alone.

    Args:
        frames: most frames a clip, F, one a second.
        size: side of a frame in pixels.
        words: L, the length of the token rows.
        steps: how many batches there are.
        full: share of captions that say all that can be said; the others leave some of it out.
        recasts: scenes a family with other things in the same places (`recast`).
    """

    def __init__(
        self,
        world: World,
        tokenizer: Tokenizer,
        *,
        batch: int,
        steps: int,
        frames: int = 12,
        size: int = 112,
        words: int = 32,
        seed: int = 0,
        split: str = "train",
        full: float = 0.5,
        recasts: int = 3,
    ) -> None:
        self.world, self.tokenizer, self.split, self.seed, self.full = world, tokenizer, split, seed, full
        self.batch, self.steps, self.frames, self.size, self.words = batch, steps, frames, size, words
        self.recasts = recasts

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(f"expected a step below {self.steps}, got {step}")
        random = Random(f"batch/{self.split}/{self.seed}/{step}")
        examples = list(islice(self._examples(step, random), self.batch))
        return Batch(
            frames=torch.from_numpy(np.concatenate([example.frames for example in examples])),
            counts=torch.tensor([len(example.frames) for example in examples]),
            ids=torch.from_numpy(self.tokenizer.encode([example.text for example in examples], self.words)),
        )

    def _examples(self, step: int, random: Random) -> Iterator[Example]:
        """Without end: families one after another."""
        for index in range(step * INDICES, (step + 1) * INDICES):
            seen: set[Claim] = set()
            first = plan(self.split, self.seed, index, self.world)
            scenes: list[Scene | None] = list(family(first, random, self.split, self.world))
            scenes += [recast(first, random, self.split, self.world) for _ in range(self.recasts)]
            for scene in scenes:
                found = None if scene is None else self._example(scene, random, seen)
                if found is not None:
                    yield found

    def _example(self, scene: Scene, random: Random, seen: set[Claim]) -> Example | None:
        claim = full_claim(scene)
        said = claim if random.random() < self.full else weaker(claim, random)
        if said in seen:  # it would be true of two clips of the batch
            said = claim
        seen |= {claim, said}
        frames = sample_scene(scene, self.world, self.frames, self.size)
        return self._made(frames, said, random)

    def _made(self, frames: Pixels, said: Claim, random: Random) -> Example:
        frames = augmented(frames, np.random.default_rng(random.getrandbits(63)))
        return Example(frames, caption(said, self.world.concepts, random))


class GeneratedStills(GeneratedClips):
    """One frame a clip, and a caption of what that frame shows: for towers that know nothing yet."""

    def _example(self, scene: Scene, random: Random, seen: set[Claim]) -> Example | None:
        number = random.randrange(len(scene.told))
        segment, step = scene.told[number], full_claim(scene)[number]
        still: Claim = (_unmoving(step),)
        if still in seen:  # the variant differs in its motion, which a still does not show
            return None
        seen.add(still)
        said: Claim = (step,) if random.random() < 0.3 else still
        if random.random() >= self.full:
            less = weaker(said, random)
            said = less if less and less not in seen else said
        seen.add(said)
        return self._made(self._drawn(scene, segment, random), said, random)

    def _drawn(self, scene: Scene, segment: Segment, random: Random) -> Pixels:
        """One frame of a segment, uint8 ``[1, size, size, 3]``."""
        stage = Stage(scene, self.world.pictures, self.size, self.size)
        return stage.frame(_moment(segment, random))[None]


class GeneratedThings(GeneratedStills):
    """One thing a frame, and its name: for towers that do not know what things are called.

    Every concept comes as often as any other, and none twice until all have come: a step's pictures are of
    different things, so that all their names compete, and so are those of steps that make up one batch.
    ``full``: share of captions that say more than the name.

    Things are as large as clips show them. From these alone towers learned nothing; an image tower that tells
    `icons` apart learns what they are called.
    """

    def _examples(self, step: int, random: Random) -> Iterator[Example]:
        names = list(self._drawable)
        rounds = len(names) // self.batch
        if not rounds:
            raise UsageError(f"expected a batch of at most {len(names)} things, got {self.batch}")
        Random(f"things/{self.seed}/{step // rounds}").shuffle(names)
        for name in names[step % rounds * self.batch :]:
            yield self._thing(name, random.uniform(SMALLEST, LARGEST), random)

    @cached_property
    def _drawable(self) -> tuple[str, ...]:
        """The concepts that a style of the split has a picture of, in a fixed order."""
        styles = styles_of(self.split, self.world.pictures.styles)
        drawn = {name for style in styles for name in self.world.names[style]}
        return tuple(name for name in self.world.concepts if name in drawn)

    def _thing(self, name: str, scale: float, random: Random) -> Example:
        scene = plan_one(self.split, name, scale, random, self.world)
        (segment,), claim = scene.told, full_claim(scene)
        said = claim[0] if random.random() < self.full else Step((ActorClaim(name),))
        return self._made(self._drawn(scene, segment, random), (said,), random)


def _unmoving(step: Step) -> Step:
    actors = tuple(replace(actor, motion=None) for actor in step.actors)
    return Step(actors, step.relation, step.background)


def _moment(segment: Segment, random: Random) -> float:
    """A time at which all of a segment's actors are to be seen."""
    length = segment.end - segment.start
    for _ in range(20):
        u = random.uniform(0.05, 0.95)
        for actor in segment.actors:
            if actor.motion.startswith("enter"):
                u = max(u, random.uniform(0.5, 0.95))
            elif actor.motion.startswith("exit") or actor.motion in ("take off", "fall"):
                u = min(u, random.uniform(0.05, 0.5))
        seconds = segment.start + u * length
        if len({actor for actor, _ in placed(segment, seconds)}) == len(segment.actors):
            break
    return seconds
