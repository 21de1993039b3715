"""Scenes with other things in the same places."""

from dataclasses import replace
from random import Random

import pytest

pytest.importorskip("torch")

from vtr.training.clips import plan
from vtr.training.clips.splits import admits
from vtr.training.recast import recast


def things(scene):
    return [actor.concept for segment in scene.told for actor in segment.actors]


def without_things(scene):
    segments = [
        replace(segment, actors=tuple(replace(actor, concept="", code="") for actor in segment.actors))
        for segment in scene.segments
    ]
    return replace(scene, segments=tuple(segments))


def test_only_the_things_change(world):
    found = 0
    for index in range(60):
        scene = plan("train", 1, index, world)
        made = recast(scene, Random(index), "train", world)
        if made is None:
            continue
        found += 1
        assert without_things(made) == without_things(scene)
        assert not set(things(made)) & set(things(scene))
        pairs = set(zip(things(scene), things(made), strict=True))
        assert len(pairs) == len(set(things(scene))) == len(set(things(made)))  # one for one
        assert admits("train", made)
        assert made == recast(scene, Random(index), "train", world)
    assert found > 30


def test_things_can_do_what_they_are_to_do(real_world):
    for index in range(200):
        made = recast(plan("train", 2, index, real_world), Random(index), "train", real_world)
        for segment in made.told if made else ():
            for actor in segment.actors:
                concept = real_world.concepts[actor.concept]
                assert concept.spins or actor.motion != "spin"
                assert concept.upright or not actor.turn
