"""Drawing scenes: from a seed to what a clip shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from vtr.errors import UsageError

from ..pictures import Concept, Pictures
from . import scene as scenes
from .backgrounds import main_colours
from .claims import related
from .motions import EDGE, LAYOUTS, reach
from .scene import Actor, Background, Colour, Scene, Segment
from .splits import admits, styles_of

FRAME_SIZES = (
    (320, 240), (320, 180), (240, 320), (256, 192), (240, 240), (192, 144), (180, 240), (160, 120),
)  # fmt: skip
RATES = (8, 10, 12, 15, 20, 24, 25)
# Told content of a clip, and how often.
KINDS = {"move": 0.26, "look": 0.14, "count": 0.14, "relation": 0.1, "duo": 0.1, "order": 0.18, "twice": 0.08}
SEVERAL_CAN = ("stay", "bounce", "spin", "shake", "blink", "fall", "take off", "enter-left", "enter-right")
LONGEST = 12.0  # seconds
CONTRAST = 95.0  # least distance of an actor's outline from the background, in RGB levels
TRIES = 4000


@dataclass(frozen=True)
class World:
    """What scenes are made of: the concepts, and the pictures of them."""

    concepts: dict[str, Concept]
    pictures: Pictures

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Concepts that a style has a picture of, in a fixed order."""
        return {
            style: [name for name in self.concepts if self.codes(style, name)]
            for style in self.pictures.styles
        }

    def codes(self, style: str, name: str) -> list[str]:
        """The pictures of a concept in a style."""
        has = self.pictures.codes(style)
        return [code for code in self.concepts[name].codes if code in has]

    def pick_code(self, random: Random, style: str, name: str) -> str:
        """One of the pictures of a concept in a style."""
        return random.choice(self.codes(style, name))

    def stands_out(self, style: str, actor: Actor, background: Background) -> bool:
        """Whether an actor can be seen against a background."""
        edge = self.pictures.colour(style, actor.code)
        if actor.tint:
            light = sum(part * level / 255 for part, level in zip(scenes.LUMINANCE, edge, strict=True))
            shade = scenes.TINT_FLOOR + (1 - scenes.TINT_FLOOR) * light
            red, green, blue = (round(shade * level) for level in scenes.COLOURS[actor.tint])
            edge = red, green, blue
        return all(_distance(edge, colour) >= CONTRAST for colour in main_colours(background))


def plan(split: str, seed: int, index: int, world: World) -> Scene:
    """The scene that a split has under a seed and an index: always the same one."""
    random = Random(f"{split}/{seed}/{index}")
    styles = styles_of(split, world.pictures.styles)
    return draw_until(lambda: _scene(random, random.choice(styles), world), split)


def plan_one(split: str, name: str, scale: float, random: Random, world: World) -> Scene:
    """A scene of the split that shows one concept, ``scale`` of the frame's short side large, in any style
    that has it."""
    styles = [style for style in styles_of(split, world.pictures.styles) if name in world.names[style]]
    room = max(0.5 - scale / 2, 0.0)

    def draw() -> Scene | None:
        style = random.choice(styles)
        segment = _alone(random, "look", style, world, name, length=4.0)
        if segment is None:
            return None
        x, y = random.uniform(-room, room), random.uniform(-room, room)
        actor = replace(segment.actors[0], motion="stay", size=None, scale=scale, x=x, y=y)
        return timed(Scene(style, *FRAME_SIZES[0], RATES[0], (replace(segment, actors=(actor,)),)))

    return draw_until(draw, split)


def draw_until(draw: Callable[[], Scene | None], split: str) -> Scene:
    """Draw scenes until the split admits one."""
    for _ in range(TRIES):
        scene = draw()
        if scene is not None and admits(split, scene):
            return scene
    raise UsageError(
        f"the split {split} admitted none of {TRIES} scenes: expected more concepts or styles than there are"
    )


def _scene(random: Random, style: str, world: World) -> Scene | None:
    kind = random.choices(list(KINDS), list(KINDS.values()))[0]
    told = _told(random, kind, style, world)
    segments: list[Segment | None] = list(told)
    room = LONGEST - sum(segment.end for segment in told if segment)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        length = round(random.uniform(1.5, 3.0), 2)
        if length <= room:
            room -= length
            segments.insert(random.randint(0, len(segments)), _distractor(random, style, world, length))
    whole = [segment for segment in segments if segment is not None]
    if len(whole) < len(segments) or _distracts_with_the_told(whole, world):
        return None
    width, height = random.choice(FRAME_SIZES)
    return timed(Scene(style, width, height, random.choice(RATES), tuple(whole)))


def _distracts_with_the_told(segments: Sequence[Segment], world: World) -> bool:
    told, others = (
        {actor.concept for segment in segments if segment.told == told for actor in segment.actors}
        for told in (True, False)
    )
    return any(related(one, other, world.concepts) for one in told for other in others)


def timed(scene: Scene) -> Scene:
    """The scene with its segments one after another, whole frames long; ``start`` is taken as 0."""
    placed, begin = [], 0
    for segment in scene.segments:
        end = begin + max(1, round((segment.end - segment.start) * scene.fps))
        placed.append(replace(segment, start=begin / scene.fps, end=end / scene.fps))
        begin = end
    return replace(scene, segments=tuple(placed))


def _told(random: Random, kind: str, style: str, world: World) -> list[Segment | None]:
    names = world.names[style]
    if kind in ("relation", "duo"):
        return [_together(random, kind, style, world, random.sample(names, 2), random.uniform(3, 6))]
    if kind in ("order", "twice"):
        first, second = random.sample(names, 2)
        lengths = [random.uniform(3, 4.5) for _ in range(2)]
        if kind == "order":
            kinds = random.choices(("move", "look", "count"), (0.8, 0.1, 0.1), k=2)
            before, after = (
                _alone(random, what, style, world, name, length)
                for what, name, length in zip(kinds, (first, second), lengths, strict=True)
            )
            if before and after and random.random() < 0.5:
                same = all(world.stands_out(style, actor, before.background) for actor in after.actors)
                after = replace(after, background=before.background) if same else after
            return [before, after]
        return _twice(random, style, world, first, lengths)
    return [_alone(random, kind, style, world, random.choice(names), random.uniform(3, 6))]


def _twice(
    random: Random, style: str, world: World, name: str, lengths: Sequence[float]
) -> list[Segment | None]:
    """One actor that does two things, one after the other, on the same background."""
    before = _alone(random, "move", style, world, name, lengths[0])
    if before is None:
        return [None]
    actor = before.actors[0]
    motions = [motion for motion in actor_motions(world.concepts[name], actor) if motion != actor.motion]
    after = settled(random, replace(actor, motion=random.choice(motions)))
    return [before, replace(before, end=lengths[1], actors=(after,))]


def _alone(random: Random, kind: str, style: str, world: World, name: str, length: float) -> Segment | None:
    concept = world.concepts[name]
    actor = Actor(name, world.pick_code(random, style, name), pace=round(random.random(), 3))
    if kind == "count":
        count = random.randint(2, 5)
        actor = replace(actor, count=count, layout=random.randrange(len(LAYOUTS[count])))
        motions = [motion for motion in SEVERAL_CAN if motion in actor_motions(concept, actor)]
        actor = replace(actor, motion="stay" if random.random() < 0.5 else random.choice(motions))
    else:
        likely = 0.25 if kind == "move" else 0.6
        if random.random() < likely and not any(colour in name.split() for colour in scenes.COLOURS):
            actor = replace(actor, tint=random.choice(scenes.TINTS))
        if random.random() < likely:
            actor = replace(actor, size=random.choice(scenes.SIZES))
        if random.random() < likely / 2 and concept.upright:
            actor = replace(actor, turn=random.choice(list(scenes.TURNS)))
        moves = kind == "move" or random.random() < 0.2
        motions = actor_motions(concept, actor)
        actor = replace(actor, motion=random.choice(motions) if moves else "stay")
    return _staged(random, style, world, (settled(random, actor),), length, True)


def actor_motions(concept: Concept, actor: Actor) -> list[str]:
    """Motions that can be told from the pictures for such an actor."""
    barred = {"stay"}
    if not concept.spins or actor.turn:
        barred.add("spin")
    if actor.size:
        barred |= {"grow", "shrink"}
    if actor.size == "big":
        barred |= set(scenes.MOTIONS) - set(scenes.IN_PLACE)
    return [motion for motion in scenes.MOTIONS if motion not in barred]


def _together(
    random: Random, kind: str, style: str, world: World, names: Sequence[str], length: float
) -> Segment | None:
    """Two actors at once: one left of or above the other, or each with a motion of its own."""
    relation = random.choice(("left of", "above"))
    actors = []
    for sign, name in zip((-1, 1), names, strict=True):
        concept = world.concepts[name]
        actor = Actor(name, world.pick_code(random, style, name), pace=round(random.random(), 3))
        if kind == "duo":
            motions = [motion for motion in scenes.IN_PLACE if motion != "spin" or concept.spins]
            actor = replace(actor, motion=random.choice(motions))
        along, across = sign * random.uniform(0.24, 0.28), random.uniform(-0.08, 0.08)
        x, y = (along, across) if relation == "left of" or kind == "duo" else (across, along)
        scale = random.uniform(0.34, 0.4) if kind == "relation" else 0.32
        actors.append(replace(actor, x=round(x, 3), y=round(y, 3), scale=round(scale, 3)))
    if kind == "duo":
        relation = "left of"
        if actors[0].motion == actors[1].motion:
            return None
    return _staged(random, style, world, tuple(actors), length, True, relation)


def _distractor(random: Random, style: str, world: World, length: float) -> Segment | None:
    """A stretch that no caption speaks of: another thing, or an empty background."""
    if random.random() < 0.25:
        return Segment(0.0, length, random_background(random), (), False)
    segment = _alone(random, "move", style, world, random.choice(world.names[style]), length)
    return None if segment is None else replace(segment, told=False)


def _staged(
    random: Random, style: str, world: World, actors: tuple[Actor, ...], length: float, told: bool,
    relation: str | None = None,
) -> Segment | None:  # fmt: skip
    """A segment on a background against which its actors can be seen; ``None`` if none was met."""
    for _ in range(12):
        background = random_background(random)
        if all(world.stands_out(style, actor, background) for actor in actors):
            return Segment(0.0, round(length, 2), background, actors, told, relation)
    return None


def random_background(random: Random) -> Background:
    """Any background; plain colours are the most frequent."""
    kind = random.choices(
        ("plain", *scenes.PATTERNS, *scenes.PLACES, *scenes.UNNAMED), (8, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3)
    )[0]
    number = 0 if kind in scenes.PLACES else 1 if kind == "plain" else 2
    return Background(kind, tuple(random.sample(list(scenes.COLOURS), number)), random.randrange(1 << 31))


def settled(random: Random, actor: Actor) -> Actor:
    """The actor with a scale that suits its size and number, at a place where it fits the frame."""
    if actor.count > 1:
        spacing, _ = LAYOUTS[actor.count][actor.layout]
        actor = replace(actor, scale=round(0.84 * spacing, 3))
    else:
        low, high = {"small": (0.18, 0.22), "big": (0.66, 0.76)}.get(actor.size or "", (0.36, 0.44))
        actor = replace(actor, scale=round(random.uniform(low, high), 3))
    wide, high = (EDGE - half - 0.01 for half in reach(actor))
    swell = 0.2 * actor.scale if actor.motion == "grow" else 0.0
    room_x, room_y = max(wide - swell, 0.0), max(high - swell - 0.15 * (actor.motion == "bounce"), 0.0)
    x, y = random.uniform(-room_x, room_x), random.uniform(-room_y, room_y)
    return replace(actor, x=round(x, 3), y=round(y, 3))


def _distance(one: Colour, other: Colour) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)
