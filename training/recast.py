"""Near misses in what things are: a scene with other things in the places of its own.

The variants of `clips.testset` show the same things in another order, number, motion, colour, size or place.
A model that learned from these alone told backgrounds, numbers and motions apart and took a padlock for an
umbrella: where clips differ in all of it, things are the last to be needed.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .clips import World
from .clips.claims import related
from .clips.plan import actor_motions
from .clips.scene import COLOURS, Actor, Scene
from .clips.splits import admits

TRIES = 20


def recast(scene: Scene, random: Random, split: str, world: World) -> Scene | None:
    """The scene with another concept for each that captions speak of, all else being equal.

    ``None`` where the split admits none of those that were tried.
    """
    old = sorted({actor.concept for segment in scene.told for actor in segment.actors})
    for _ in range(TRIES):
        cast = dict(zip(old, random.sample(world.names[scene.style], len(old)), strict=True))
        segments = []
        for segment in scene.segments:
            if segment.told:
                actors = tuple(
                    _in_place(actor, cast[actor.concept], scene, random, world) for actor in segment.actors
                )
                segment = replace(segment, actors=actors)
            segments.append(segment)
        made = replace(scene, segments=tuple(segments))
        if _differs(cast, world) and _works(made, world) and admits(split, made):
            return made
    return None


def _in_place(actor: Actor, concept: str, scene: Scene, random: Random, world: World) -> Actor:
    return replace(actor, concept=concept, code=world.pick_code(random, scene.style, concept))


def _differs(cast: dict[str, str], world: World) -> bool:
    """No new thing could be called by an old one's name."""
    return not any(related(new, old, world.concepts) for new in cast.values() for old in cast)


def _works(scene: Scene, world: World) -> bool:
    """Whether every actor can do what the scene has it do, and is told apart from what else there is."""
    told = {actor.concept for segment in scene.told for actor in segment.actors}
    others = {actor.concept for segment in scene.segments if not segment.told for actor in segment.actors}
    if any(related(one, other, world.concepts) for one in told for other in others):
        return False
    return all(
        _can(actor, world) and world.stands_out(scene.style, actor, segment.background)
        for segment in scene.told
        for actor in segment.actors
    )


def _can(actor: Actor, world: World) -> bool:
    concept = world.concepts[actor.concept]
    if actor.turn and not concept.upright:
        return False
    if actor.tint and any(colour in actor.concept.split() for colour in COLOURS):
        return False
    return actor.motion == "stay" or actor.motion in actor_motions(concept, actor)
