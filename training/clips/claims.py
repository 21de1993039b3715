"""What captions claim, apart from their words, and whether a clip bears a claim out.

Whether two clips of a test set could answer the same caption is decided here, on scenes and not on strings.
Where a person could argue, the answer is "yes, it satisfies": an eagle satisfies "a bird", an untinted car
"a red car" (it may be red by itself), something that spins "upside down". A number is exact: three apples do
not satisfy "an apple" or "two apples".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random

from ..pictures import Concept
from .scene import MOTIONS, Actor, Scene, Segment

# Motion words that say less or that another motion satisfies too.
SATISFIED_BY: dict[str, frozenset[str]] = {
    **{motion: frozenset({motion}) for motion in MOTIONS},
    "enter": frozenset({"enter-left", "enter-right", "fall"}),
    "exit": frozenset({"exit-left", "exit-right", "take off"}),
    "right": frozenset({"right", "enter-left", "exit-right"}),
    "left": frozenset({"left", "enter-right", "exit-left"}),
    "up": frozenset({"up", "take off"}),
    "take off": frozenset({"up", "take off"}),
    "down": frozenset({"down", "fall"}),
    "fall": frozenset({"down", "fall"}),
}

Concepts = Mapping[str, Concept]


@dataclass(frozen=True)
class ActorClaim:
    """What a caption says of one concept; ``None`` where it says nothing."""

    concept: str
    count: int = 1
    motion: str | None = None  # a key of SATISFIED_BY
    tint: str | None = None
    size: str | None = None
    turn: str | None = None


@dataclass(frozen=True)
class Step:
    """What a caption says of one stretch of time."""

    actors: tuple[ActorClaim, ...]  # one or two
    relation: str | None = None  # of the first to the second
    background: str | None = None  # as Background.name


Claim = tuple[Step, ...]  # in order of time


def full_claim(scene: Scene) -> Claim:
    """Everything that a caption could say of the told segments."""
    return tuple(_step(segment) for segment in scene.told)


def _step(segment: Segment) -> Step:
    moving = any(actor.motion != "stay" for actor in segment.actors)
    actors = tuple(
        ActorClaim(
            actor.concept,
            actor.count,
            # That one of two stays still is worth saying; of one alone it is what nobody mentions.
            actor.motion if actor.motion != "stay" or (moving and len(segment.actors) > 1) else None,
            actor.tint,
            actor.size,
            actor.turn,
        )
        for actor in segment.actors
    )
    return Step(actors, None if moving else segment.relation, segment.background.name)


def weaker(claim: Claim, random: Random) -> Claim:
    """A claim that leaves some of what ``claim`` says unsaid."""
    steps = [_weaker_step(step, random) for step in claim]
    if len(steps) > 1 and random.random() < 0.1:
        steps = [random.choice(steps)]
    return tuple(steps)


def _weaker_step(step: Step, random: Random) -> Step:
    actors = []
    for actor in step.actors:
        motion = actor.motion
        if motion and motion.startswith(("enter", "exit")) and random.random() < 0.6:
            motion = motion.partition("-")[0]
        if random.random() < 0.15:
            motion = None
        tint, size, turn = (
            None if random.random() < 0.35 else said for said in (actor.tint, actor.size, actor.turn)
        )
        actors.append(replace(actor, motion=motion, tint=tint, size=size, turn=turn))
    if not any(actor.motion not in (None, "stay") for actor in actors):
        actors = [replace(actor, motion=None) for actor in actors]
    relation = step.relation if random.random() < 0.85 else None
    return Step(tuple(actors), relation, step.background if random.random() < 0.5 else None)


def satisfies(scene: Scene, claim: Claim, concepts: Concepts) -> bool:
    """Whether the clip, distractors included, could be an answer to a caption with this claim."""
    segments = iter(scene.segments)
    return all(any(_shows(segment, step, concepts) for segment in segments) for step in claim)


def _shows(segment: Segment, step: Step, concepts: Concepts) -> bool:
    background = segment.background
    if step.background not in (None, background.name, *background.colours):
        return False
    if len(step.actors) == 1:
        return any(_acts(actor, step.actors[0], concepts) for actor in segment.actors)
    if len(segment.actors) < 2:
        return False
    first, second = segment.actors
    straight = _acts(first, step.actors[0], concepts) and _acts(second, step.actors[1], concepts)
    crossed = _acts(second, step.actors[0], concepts) and _acts(first, step.actors[1], concepts)
    if step.relation is None:
        return straight or crossed
    return straight and segment.relation == step.relation


def _acts(actor: Actor, claim: ActorClaim, concepts: Concepts) -> bool:
    return (
        related(actor.concept, claim.concept, concepts)
        and actor.count == claim.count
        and (claim.motion is None or actor.motion in SATISFIED_BY[claim.motion])
        and (claim.tint is None or actor.tint in (claim.tint, None))
        and (claim.size is None or actor.size == claim.size or actor.motion in ("grow", "shrink"))
        and (claim.turn is None or actor.turn == claim.turn or actor.motion == "spin")
    )


def related(one: str, other: str, concepts: Concepts) -> bool:
    """Whether the name of one concept may be used of the other: the same, or one is a kind of the other."""
    if one == other:
        return True
    first, second = concepts[one], concepts[other]
    return not first.kinds.isdisjoint((second.name, *second.synonyms)) or not second.kinds.isdisjoint(
        (first.name, *first.synonyms)
    )


def keys(claim: Claim) -> Iterator[str]:
    """The combinations that a claim consists of: a concept with each thing said of it, and concept pairs.

    Sides are not told apart (coming in from the left and from the right are one key), nor is the order of
    two concepts.
    """
    for step in claim:
        yield from step_keys(step)
    yield from pair_keys(claim)


def step_keys(step: Step) -> Iterator[str]:
    """The combinations within one step of a claim, concept pairs apart."""
    for actor in step.actors:
        said = {
            "motion": None if actor.motion in (None, "stay") else str(actor.motion).partition("-")[0],
            "count": actor.count if actor.count > 1 else None,
            "tint": actor.tint,
            "size": actor.size,
            "turn": actor.turn,
            "background": step.background,
        }
        yield from (f"{actor.concept}|{name}:{value}" for name, value in said.items() if value is not None)


def pair_keys(claim: Claim) -> Iterator[str]:
    """The pairs of different concepts in a claim."""
    names = sorted({actor.concept for step in claim for actor in step.actors})
    yield from (f"{one}|with:{other}" for place, one in enumerate(names) for other in names[place + 1 :])
