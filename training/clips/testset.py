"""Sets of clips for retrieval: every caption has one right answer, and many near misses.

A candidate clip is refused if any clip in the set satisfies its full claim, or it satisfies theirs
(``claims.satisfies``, on scenes). Near misses are made on purpose: after each clip come variants of it with
the same things in another order, number, motion, colour, size or place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from vtr.errors import UsageError

from .captions import captions
from .claims import Claim, full_claim, related, satisfies
from .motions import LAYOUTS
from .plan import SEVERAL_CAN, World, actor_motions, plan, random_background, settled, timed
from .sampling import claims_of
from .scene import SIZES, TINTS, Actor, Scene, Segment
from .splits import admits

VARIANTS = 3  # of each clip, at most
PATIENCE = 50  # draws a wanted clip, before giving up


@dataclass(frozen=True)
class Entry:
    """One clip of a set."""

    name: str
    scene: Scene
    claims: tuple[Claim, ...]  # of its captions, the full one first
    captions: tuple[str, ...]


class ClipSet:
    """Scenes of which no two could answer the same full caption."""

    def __init__(self, world: World) -> None:
        self.scenes: list[Scene] = []
        self._world = world
        self._by_concept: dict[str, set[int]] = defaultdict(set)

    def add(self, scene: Scene) -> bool:
        """Take a scene in, or refuse it: then another one and it could be mistaken for each other."""
        claim = full_claim(scene)
        concepts = self._world.concepts
        for number in self._sharing(_concepts(scene)):
            other = self.scenes[number]
            if satisfies(other, claim, concepts) or satisfies(scene, full_claim(other), concepts):
                return False
        for name in _concepts(scene):
            self._by_concept[name].add(len(self.scenes))
        self.scenes.append(scene)
        return True

    def answers(self, claim: Claim) -> list[int]:
        """Numbers of the scenes that satisfy a claim."""
        wanted = {actor.concept for step in claim for actor in step.actors}
        return [
            number
            for number in sorted(self._sharing(wanted))
            if satisfies(self.scenes[number], claim, self._world.concepts)
        ]

    def _sharing(self, names: set[str]) -> set[int]:
        return {number for name in names for kin in self._kin[name] for number in self._by_concept[kin]}

    @cached_property
    def _kin(self) -> dict[str, list[str]]:
        concepts = self._world.concepts
        return {one: [other for other in concepts if related(one, other, concepts)] for one in concepts}


def build(split: str, count: int, seed: int, world: World, captions_each: int = 5) -> list[Entry]:
    """A well-posed set of ``count`` clips of a split.

    Raises ``UsageError`` if the split cannot fill it.
    """
    chosen = ClipSet(world)
    for index in range(PATIENCE * count):
        random = Random(f"variants/{split}/{seed}/{index}")
        for scene in family(plan(split, seed, index, world), random, split, world):
            if len(chosen.scenes) < count:
                chosen.add(scene)
        if len(chosen.scenes) == count:
            return list(_entries(chosen, split, seed, world, captions_each))
    raise UsageError(
        f"expected {count} clips of the split {split} that captions tell apart, found {len(chosen.scenes)}: "
        "ask for fewer, or add concepts"
    )


def _entries(chosen: ClipSet, split: str, seed: int, world: World, number: int) -> Iterator[Entry]:
    for place, scene in enumerate(chosen.scenes):
        random = Random(f"captions/{split}/{seed}/{place}")

        def only_this(claim: Claim, place: int = place) -> bool:
            return chosen.answers(claim) == [place]

        claims = claims_of(scene, random, (number + 1) // 2, split, only_this)
        texts = captions(claims, world.concepts, random, number)
        said = tuple(claims[turn % len(claims)] for turn in range(number))
        yield Entry(f"video{place}", scene, said, tuple(texts))


def family(scene: Scene, random: Random, split: str, world: World) -> Iterator[Scene]:
    """A scene and variants of it that the split admits."""
    yield scene
    changes = [*CHANGES, *CHANGES]
    random.shuffle(changes)
    found, wanted = 0, random.randint(0, VARIANTS)
    for change in changes:
        variant = change(scene, random, world)
        if variant is not None and found < wanted and _visible(variant, world) and admits(split, variant):
            found += 1
            yield timed(variant)


def _visible(scene: Scene, world: World) -> bool:
    return all(
        world.stands_out(scene.style, actor, segment.background)
        for segment in scene.segments
        for actor in segment.actors
    )


def _concepts(scene: Scene) -> set[str]:
    return {actor.concept for segment in scene.segments for actor in segment.actors}


def _swap_order(scene: Scene, random: Random, world: World) -> Scene | None:
    if len(scene.told) < 2:
        return None
    turned = iter(reversed(scene.told))
    segments = tuple(next(turned) if segment.told else segment for segment in scene.segments)
    return replace(scene, segments=segments)


def _swap_places(scene: Scene, random: Random, world: World) -> Scene | None:
    """The two actors of a scene change places."""

    def change(segment: Segment) -> Segment | None:
        if len(segment.actors) < 2:
            return None
        one, other = segment.actors
        return replace(segment, actors=(replace(other, x=one.x, y=one.y), replace(one, x=other.x, y=other.y)))

    return _change_segment(scene, change)


def _other_background(scene: Scene, random: Random, world: World) -> Scene | None:
    background = random_background(random)
    return _change_segment(scene, lambda segment: replace(segment, background=background))


def _change_segment(scene: Scene, change: Callable[[Segment], Segment | None]) -> Scene | None:
    """The scene with its first told segment changed."""
    first = scene.told[0]
    changed = change(first)
    if changed is None:
        return None
    return replace(scene, segments=tuple(changed if item is first else item for item in scene.segments))


def _change_actor(scene: Scene, random: Random, change: Callable[[Actor], Actor | None]) -> Scene | None:
    """The scene with the only actor of its last told segment changed."""
    last = scene.told[-1]
    if len(last.actors) != 1:
        return None
    changed = change(last.actors[0])
    if changed is None:
        return None
    after = replace(last, actors=(settled(random, changed),))
    return replace(scene, segments=tuple(after if item is last else item for item in scene.segments))


def _other_motion(scene: Scene, random: Random, world: World) -> Scene | None:
    def change(actor: Actor) -> Actor:
        motions = actor_motions(world.concepts[actor.concept], actor)
        several = [motion for motion in motions if motion in SEVERAL_CAN]
        return replace(actor, motion=random.choice(several if actor.count > 1 else motions))

    return _change_actor(scene, random, change)


def _other_count(scene: Scene, random: Random, world: World) -> Scene | None:
    def change(actor: Actor) -> Actor | None:
        if actor.tint or actor.size or actor.turn or actor.motion not in SEVERAL_CAN:
            return None
        count = random.choice([number for number in LAYOUTS if number not in (1, actor.count)])
        return replace(actor, count=count, layout=random.randrange(len(LAYOUTS[count])))

    return _change_actor(scene, random, change)


def _other_tint(scene: Scene, random: Random, world: World) -> Scene | None:
    def change(actor: Actor) -> Actor | None:
        return replace(actor, tint=random.choice(TINTS)) if actor.tint else None

    return _change_actor(scene, random, change)


def _other_size(scene: Scene, random: Random, world: World) -> Scene | None:
    def change(actor: Actor) -> Actor | None:
        size = SIZES[1 - SIZES.index(actor.size)] if actor.size else None
        allowed = size and actor.motion in ("stay", *actor_motions(world.concepts[actor.concept],
                                                                  replace(actor, size=size)))  # fmt: skip
        return replace(actor, size=size) if allowed else None

    return _change_actor(scene, random, change)


CHANGES = (
    _swap_order, _swap_places, _other_background, _other_motion, _other_count, _other_tint, _other_size,
)  # fmt: skip
