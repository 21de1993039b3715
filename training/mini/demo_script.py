"""The demo's clips and searches as data: what each clip shows, and what each search should find.

Every search has one right answer, which `demo_clips.py` checks on the scenes. Other clips show nearly the
same: another order, motion, colour, number or place. Stretches that no caption speaks of come before or
after what a clip is about, so that moments have something to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..clips.claims import ActorClaim, Claim, Step
from ..clips.scene import Actor, Background, Segment


@dataclass(frozen=True)
class Made:
    """A clip to be made; actors get their picture, and single ones their size and place, when it is."""

    name: str
    style: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Search:
    """A text as people write it, what it claims, and the told segments of a clip that bear it out."""

    text: str
    clip: str
    claim: Claim
    segments: tuple[int, ...] = (0,)


def plain(colour: str) -> Background:
    """A background of one colour."""
    return Background("plain", (colour,), 0)


def stripes(one: str, other: str) -> Background:
    """A striped background."""
    return Background("stripes", (one, other), 3)


NIGHT, SEA, MEADOW, SNOW, DESERT = (
    Background(kind, (), 5) for kind in ("night", "sea", "meadow", "snow", "desert")
)


def a(concept: str, motion: str = "stay", **more: str) -> Actor:
    """One of a concept; ``tint``, ``size`` and ``turn`` as in `Actor`."""
    return Actor(concept, "", motion, pace=0.5, **more)  # type: ignore[arg-type]


def many(count: int, concept: str, motion: str = "stay") -> Actor:
    """Several of a concept."""
    return replace(a(concept, motion), count=count)


def shows(background: Background, *actors: Actor, seconds: float = 4, relation: str | None = None) -> Segment:
    """A stretch that the caption speaks of; two actors stand side by side unless ``relation`` is "above"."""
    if len(actors) == 2:
        relation = relation or "left of"
        actors = _beside(actors[0], relation, -0.26), _beside(actors[1], relation, 0.26)
    return Segment(0.0, seconds, background, actors, True, relation)


def _beside(actor: Actor, relation: str, at: float) -> Actor:
    return replace(actor, scale=0.36, x=at) if relation == "left of" else replace(actor, scale=0.36, y=at)


def passes(background: Background, *actors: Actor, seconds: float = 3) -> Segment:
    """A stretch that no caption speaks of."""
    return Segment(0.0, seconds, background, actors, False)


CLIPS = (
    Made("cat-in-the-meadow", "noto", (shows(MEADOW, a("cat", "enter-left"), seconds=5),)),
    Made("cat-in-the-snow", "fluent-flat", (shows(SNOW, a("cat", "bounce"), seconds=5),)),
    Made("dog", "fluent-3d", (
        passes(plain("white"), a("key", "shake")), shows(plain("blue"), a("dog", "bounce"), seconds=5))),
    Made("rocket", "noto", (
        passes(plain("green"), a("umbrella", "shake")), shows(NIGHT, a("rocket", "take off"), seconds=5))),
    Made("flying-saucer", "fluent-3d", (shows(NIGHT, a("flying saucer", "right"), seconds=5),)),
    Made("red-car", "fluent-flat", (
        shows(DESERT, a("car", "right", tint="red"), seconds=5), passes(plain("white"), a("key", "spin")))),
    Made("blue-car", "fluent-flat", (shows(SNOW, a("car", "left", tint="blue"), seconds=5),)),
    Made("penguin", "blob", (shows(SNOW, a("penguin", "enter-right"), seconds=5),)),
    Made("two-dolphins", "noto", (
        passes(plain("green"), a("bell", "shake")), shows(SEA, many(2, "dolphin", "bounce"), seconds=5))),
    Made("shark", "fluent-3d", (shows(SEA, a("shark", "left"), seconds=5),)),
    Made("sailing-boat", "noto", (shows(SEA, a("sailing boat", "right"), seconds=6),)),
    Made("horse", "fluent-3d", (shows(DESERT, a("horse", "circle"), seconds=6),)),
    Made("butterfly", "fluent-3d", (shows(plain("green"), a("butterfly", "circle"), seconds=6),)),
    Made("elephant", "fluent-flat", (
        shows(plain("yellow"), a("elephant", "stay", turn="upside down"), seconds=5),)),
    Made("elephant-walks", "noto", (shows(plain("green"), a("elephant", "left"), seconds=5),)),
    Made("aeroplane", "fluent-3d", (
        passes(plain("green"), a("trumpet", "shake")), shows(plain("black"), a("aeroplane", "right")))),
    Made("helicopter", "fluent-flat", (shows(plain("white"), a("helicopter", "up"), seconds=5),)),
    Made("three-bananas", "noto", (shows(plain("blue"), many(3, "banana", "spin"), seconds=5),)),
    Made("five-bananas", "fluent-flat", (shows(plain("blue"), many(5, "banana"), seconds=4),)),
    Made("apple-and-banana", "fluent-3d", (shows(plain("white"), a("apple"), a("banana"), seconds=4),)),
    Made("banana-and-apple", "noto", (shows(plain("black"), a("banana"), a("apple"), seconds=4),)),
    Made("four-strawberries", "fluent-flat", (
        shows(plain("white"), many(4, "strawberry"), seconds=4), passes(plain("blue"), a("spoon", "fall")))),
    Made("pizza", "noto", (shows(stripes("blue", "white"), a("slice of pizza", "spin"), seconds=5),)),
    Made("hamburger", "fluent-3d", (shows(plain("purple"), a("hamburger", "grow"), seconds=5),)),
    Made("guitar", "fluent-flat", (
        passes(plain("green"), a("candle", "grow")), shows(plain("white"), a("guitar", "spin")),
        passes(NIGHT, a("lipstick", "left")))),
    Made("football", "noto", (shows(plain("green"), a("football", "fall"), seconds=4),)),
    Made("alarm-clock", "fluent-3d", (shows(plain("yellow"), a("alarm clock", "shake"), seconds=5),)),
    Made("robot", "noto", (
        shows(plain("pink"), a("robot", "blink"), seconds=5), passes(SEA, a("light bulb", "up")))),
    Made("sun-over-a-house", "fluent-flat", (
        shows(plain("purple"), a("sun"), a("house"), seconds=4, relation="above"),)),
    Made("frog-and-rabbit", "noto", (
        shows(plain("purple"), a("frog", "bounce"), a("rabbit", "spin"), seconds=5),)),
    Made("train-then-bus", "noto", (
        shows(plain("white"), a("steam locomotive", "right")), shows(plain("purple"), a("bus", "left")))),
    Made("cake-then-present", "fluent-3d", (
        shows(plain("blue"), a("birthday cake", "grow")),
        shows(plain("white"), a("wrapped present", "fall")))),
    Made("owl-then-chicken", "blob", (
        shows(NIGHT, a("owl", "bounce")), shows(MEADOW, a("chicken", "enter-left")))),
    Made("chicken-then-owl", "blob", (
        shows(MEADOW, a("chicken", "enter-left")), shows(NIGHT, a("owl", "bounce")))),
    Made("ghost-then-crown", "fluent-3d", (
        passes(plain("yellow"), a("hammer", "shake"), seconds=2), shows(NIGHT, a("ghost", "enter-right")),
        passes(plain("green"), a("trophy", "up"), seconds=2), shows(plain("purple"), a("crown", "spin")))),
    Made("snowman-shrinks", "fluent-3d", (
        shows(plain("black"), a("snowman", "shrink"), seconds=5), passes(MEADOW, a("bell", "shake")))),
)  # fmt: skip


def _said(concept: str, motion: str | None = None, background: str | None = None, **more: object) -> Step:
    return Step((ActorClaim(concept, motion=motion, **more),), None, background)  # type: ignore[arg-type]


SEARCHES = (
    Search("a cat walks in from the left", "cat-in-the-meadow", (_said("cat", "enter-left"),)),
    Search("a dog jumps up and down", "dog", (_said("dog", "bounce"),)),
    Search("a rocket takes off at night", "rocket", (_said("rocket", "take off", "night"),)),
    Search("a red car in the desert", "red-car", (_said("car", None, "desert", tint="red"),)),
    Search("two dolphins", "two-dolphins", (_said("dolphin", count=2),)),
    Search("three bananas", "three-bananas", (_said("banana", count=3),)),
    Search("an elephant turned upside down", "elephant", (_said("elephant", turn="upside down"),)),
    Search("an apple to the left of a banana", "apple-and-banana",
           (Step((ActorClaim("apple"), ActorClaim("banana")), "left of"),)),
    Search("a guitar spins", "guitar", (_said("guitar", "spin"),)),
    Search("a bus drives to the left", "train-then-bus", (_said("bus", "left"),), (1,)),
    Search("a wrapped present falls down", "cake-then-present", (_said("wrapped present", "fall"),), (1,)),
    Search("a chicken walks in, then an owl is seen", "chicken-then-owl",
           (_said("chicken", "enter"), _said("owl")), (0, 1)),
    Search("a ghost at night", "ghost-then-crown", (_said("ghost", None, "night"),)),
    Search("a crown", "ghost-then-crown", (_said("crown"),), (1,)),
)  # fmt: skip
