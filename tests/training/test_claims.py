"""What satisfies what, the splits, and sets whose captions have one answer."""

from collections import Counter
from dataclasses import replace

import pytest

from vtr.errors import UsageError
from vtr.training.clips import full_claim, plan, satisfies
from vtr.training.clips.claims import ActorClaim, Step, keys
from vtr.training.clips.sampling import Clips
from vtr.training.clips.scene import COLOURS, Actor, Background, Scene, Segment
from vtr.training.clips.splits import part_of, styles_of
from vtr.training.clips.testset import build
from vtr.training.pictures import read_concepts

RED = Background("plain", ("red",), 0)
SEA = Background("sea", (), 0)
STRIPES = Background("stripes", ("red", "white"), 0)


def clip(*stretches, background=SEA):
    """A scene of stretches: each an actor, or two with a relation."""
    segments = []
    for number, stretch in enumerate(stretches):
        *actors, last = stretch if isinstance(stretch, tuple) else (stretch, None)
        segments.append(Segment(number, number + 1, background, tuple(actors), True, last))
    return Scene("noto", 320, 240, 8, tuple(segments))


def one(concept, background=None, **said):
    return Step((ActorClaim(concept, **said),), None, background)


CAT, ROCKET = Actor("cat", "1f408", "enter-left"), Actor("rocket", "1f680", "take off")
LEFT = (Actor("cat", "1f408"), Actor("dog", "1f415"), "left of")
TWO = (ActorClaim("cat"), ActorClaim("dog"))


@pytest.mark.parametrize(
    ("scene", "claim", "answer"),
    [
        (clip(CAT, ROCKET), (one("cat"), one("rocket")), True),
        (clip(ROCKET, CAT), (one("cat"), one("rocket")), False),
        (clip(CAT, ROCKET), (one("cat", motion="enter"), one("rocket", motion="take off")), True),
        (clip(CAT), (one("cat", motion="right"),), True),  # coming in from the left is moving right
        (clip(CAT), (one("cat", motion="enter-right"),), False),
        (clip(ROCKET), (one("rocket", motion="exit"),), True),  # it leaves, upwards
        (clip(ROCKET), (one("rocket", motion="spin"),), False),
        (clip(CAT), (one("cat"), one("cat")), False),  # once is not twice
        (clip(CAT, CAT), (one("cat"), one("cat")), True),
        (clip(replace(CAT, count=3)), (one("cat", count=3),), True),
        (clip(replace(CAT, count=3)), (one("cat", count=2),), False),
        (clip(replace(CAT, count=3)), (one("cat"),), False),
        (clip(replace(CAT, tint="red")), (one("cat", tint="red"),), True),
        (clip(replace(CAT, tint="blue")), (one("cat", tint="red"),), False),
        (clip(CAT), (one("cat", tint="orange"),), True),  # it may be orange by itself
        (clip(replace(CAT, size="big")), (one("cat", size="small"),), False),
        (clip(CAT), (one("cat", size="small"),), False),
        (clip(replace(CAT, motion="shrink")), (one("cat", size="small"),), True),
        (clip(replace(CAT, turn="upside down")), (one("cat", turn="upside down"),), True),
        (clip(CAT), (one("cat", turn="upside down"),), False),
        (clip(CAT), (one("cat", "sea"),), True),
        (clip(CAT), (one("cat", "night"),), False),
        (clip(CAT, background=RED), (one("cat", "red"),), True),
        (clip(CAT, background=STRIPES), (one("cat", "red"),), True),  # red and white stripes
        (clip(CAT, background=STRIPES), (one("cat", "stripes"),), True),
        (clip(LEFT), (Step(TWO, "left of"),), True),
        (clip(LEFT), (Step(TWO, "above"),), False),
        (clip(LEFT), (Step(TWO[::-1], "left of"),), False),
        (clip(LEFT), (Step(TWO[::-1]),), True),
        (clip(LEFT), (one("dog"),), True),
        (clip(CAT), (Step(TWO),), False),
        (clip(Actor("eagle", "1f985")), (one("bird"),), True),
        (clip(Actor("bird", "1f426")), (one("eagle"),), True),
        (clip(Actor("eagle", "1f985")), (one("owl"),), False),
    ],
)
def test_satisfies(scene, claim, answer):
    assert satisfies(scene, claim, read_concepts()) is answer


def test_keys_name_every_combination():
    claim = (one("cat", "night", motion="enter-left", count=2), one("ant", tint="red", motion="stay"))
    assert sorted(keys(claim)) == [
        "ant|tint:red", "ant|with:cat", "cat|background:night", "cat|count:2", "cat|motion:enter",
    ]  # fmt: skip


def test_parts_are_fixed_and_of_the_documented_sizes():
    assert part_of("cat|motion:spin") == part_of("cat|motion:spin")
    found = Counter(part_of(f"{name}|motion:spin") for name in map(str, range(5000)))
    assert found["combinations"] / 5000 == pytest.approx(0.2, abs=0.02)
    assert found["validation"] / 5000 == pytest.approx(0.1, abs=0.02)


def all_keys(scene):
    """Combinations in all of a clip, distractors included."""
    whole = replace(scene, segments=tuple(replace(segment, told=True) for segment in scene.segments))
    by_segment = [full_claim(replace(whole, segments=(segment,))) for segment in whole.segments]
    return {key for claim in (full_claim(scene), *by_segment) for key in keys(claim)}


def test_no_caption_of_a_held_out_clip_could_be_of_a_training_clip(world):
    trained = set().union(*(all_keys(plan("train", 1, index, world)) for index in range(400)))
    for split in ("validation", "combinations"):
        for entry in build(split, 40, 2, world):
            assert entry.scene.style != "twemoji"
            for claim in entry.claims:
                new = [key for key in keys(claim) if part_of(key) == split]
                assert new and trained.isdisjoint(new)


def test_the_held_out_style_is_drawn_by_its_split_alone(world):
    for split, style in (("train", "inked"), ("combinations", "inked"), ("style", "twemoji")):
        assert {plan(split, 0, index, world).style for index in range(20)} == {style}
    with pytest.raises(UsageError, match="needs the style twemoji, got inked"):
        styles_of("style", ["inked"])
    with pytest.raises(UsageError, match="expected a split as one of"):
        plan("test", 0, 0, world)


@pytest.mark.parametrize("split", ["combinations", "style", "train"])
def test_each_caption_of_a_set_has_one_answer(world, split):
    entries = build(split, 60, 4, world)
    assert [entry.name for entry in entries] == [f"video{number}" for number in range(60)]
    for entry in entries:
        assert len(entry.captions) == len(entry.claims) == 5
        for claim in entry.claims:
            found = [other.name for other in entries if satisfies(other.scene, claim, world.concepts)]
            assert found == [entry.name]
    texts = [text for entry in entries for text in entry.captions]
    shared = Counter(texts)
    assert all(
        len({entry.name for entry in entries if text in entry.captions}) == 1
        for text in shared
        if shared[text] > 1
    )


def test_sets_hold_near_misses(world):
    entries = build("style", 60, 4, world)
    told = Counter(
        tuple(sorted({actor.concept for segment in entry.scene.told for actor in segment.actors}))
        for entry in entries
    )
    assert sum(number for number in told.values() if number > 1) > 20


def test_a_set_that_cannot_be_filled_is_refused(world, monkeypatch):
    monkeypatch.setattr("vtr.training.clips.testset.PATIENCE", 1)
    few = replace(world, concepts={"cat": world.concepts["cat"], "dog": world.concepts["dog"]})
    with pytest.raises(UsageError, match="expected 300 clips of the split style that captions tell apart"):
        build("style", 300, 0, few)


def test_real_sets(real_world):
    entries = build("combinations", 200, 0, real_world)
    assert len({entry.captions[0] for entry in entries}) == 200
    styles = {entry.scene.style for entry in entries}
    assert len(styles) >= 4 and "twemoji" not in styles


def test_real_pictures_cover_the_concepts(real_world):
    assert len(real_world.concepts) >= 400
    full = [style for style, names in real_world.names.items() if len(names) >= 400]
    assert len(full) >= 4 and "twemoji" in full
    assert Clips(real_world, "style").scene(0).style == "twemoji"
    assert all(colour in range(256) for rgb in COLOURS.values() for colour in rgb)
