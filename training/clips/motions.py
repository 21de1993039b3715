"""Where an actor's pictures are at a time: the definition of every motion word."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .scene import TURNS, Actor

EDGE = 0.5  # from the centre to the border of the square that a model sees

# Arrangements of several pictures: spacing, and positions in units of it.
LAYOUTS: dict[int, tuple[tuple[float, tuple[tuple[float, float], ...]], ...]] = {
    1: ((1.0, ((0, 0),)),),
    2: (
        (0.44, ((-0.5, 0), (0.5, 0))),
        (0.42, ((0, -0.5), (0, 0.5))),
        (0.38, ((-0.5, -0.4), (0.5, 0.4))),
    ),
    3: (
        (0.31, ((-1, 0), (0, 0), (1, 0))),
        (0.38, ((0, -0.5), (-0.5, 0.5), (0.5, 0.5))),
        (0.30, ((-1, -0.9), (0, 0), (1, 0.9))),
    ),
    4: (
        (0.38, ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5))),
        (0.235, ((-1.5, 0), (-0.5, 0), (0.5, 0), (1.5, 0))),
        (0.31, ((0, -1), (-1, 0), (1, 0), (0, 1))),
    ),
    5: (
        (0.31, ((-1, -0.5), (0, -0.5), (1, -0.5), (-0.5, 0.5), (0.5, 0.5))),
        (0.31, ((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1))),
        (0.30, ((-0.5, -0.5), (0.5, -0.5), (-1, 0.5), (0, 0.5), (1, 0.5))),
    ),
}


@dataclass(frozen=True)
class Pose:
    """Where one picture is."""

    x: float
    y: float
    scale: float
    degrees: float  # clockwise


def poses(actor: Actor, seconds: float, length: float) -> list[Pose]:
    """Where the pictures of an actor are, ``seconds`` after its segment of ``length`` seconds began.

    Empty while it blinks off. Copies move together; what turns or changes size does so about its own centre.
    """
    moved = _moved(actor, seconds, min(max(seconds / length, 0.0), 1.0))
    if moved is None:
        return []
    x, y, zoom, degrees = moved
    degrees += TURNS[actor.turn] if actor.turn else 0.0
    spacing, places = LAYOUTS[actor.count][actor.layout % len(LAYOUTS[actor.count])]
    return [Pose(x + spacing * dx, y + spacing * dy, actor.scale * zoom, degrees) for dx, dy in places]


def reach(actor: Actor) -> tuple[float, float]:
    """Half the width and half the height of all copies of an actor together."""
    spacing, places = LAYOUTS[actor.count][actor.layout % len(LAYOUTS[actor.count])]
    half = actor.scale / 2
    return spacing * max(abs(x) for x, _ in places) + half, spacing * max(abs(y) for _, y in places) + half


def _moved(actor: Actor, t: float, u: float) -> tuple[float, float, float, float] | None:
    """x, y, zoom and turn at ``t`` seconds, ``u`` of the way through."""
    x, y, motion = actor.x, actor.y, actor.motion
    wide, high = reach(actor)
    way = 2 * u - 1
    if motion in ("right", "left"):
        span = max(EDGE - wide, 0.12)
        return (way if motion == "right" else -way) * span, y, 1.0, 0.0
    if motion in ("up", "down"):
        span = max(EDGE - high, 0.12)
        return x, (way if motion == "down" else -way) * span, 1.0, 0.0
    if motion.startswith(("enter", "exit")):
        return _past_a_side(actor, u, wide), y, 1.0, 0.0
    if motion == "take off":
        rest = EDGE - high - 0.02
        return x, rest - (rest + EDGE + high + 0.02) * _eased((u - 0.25) / 0.75) ** 2, 1.0, 0.0
    if motion == "fall":
        rest = EDGE - high - 0.02
        return x, -(EDGE + high) + (rest + EDGE + high) * min(_eased(u / 0.65) ** 2, 1.0), 1.0, 0.0
    if motion in ("grow", "shrink"):
        part = u if motion == "grow" else 1 - u
        return x, y, 0.35 + 1.05 * part, 0.0
    return _periodic(actor, t)


def _periodic(actor: Actor, t: float) -> tuple[float, float, float, float] | None:
    """Motions that repeat. Their periods are such that pictures taken a second apart differ."""
    x, y, motion = actor.x, actor.y, actor.motion
    if motion == "bounce":
        height = min(0.3, max(EDGE - reach(actor)[1], 0.08) * 1.2)
        return x, y + height / 2 - height * abs(math.sin(math.pi * t / (1.3 + 0.4 * actor.pace))), 1.0, 0.0
    if motion == "spin":
        return x, y, 1.0, (65 + 40 * actor.pace) * t
    if motion == "circle":
        angle = math.radians((75 + 40 * actor.pace) * t) + 6.28 * actor.pace
        radius = max(EDGE - max(reach(actor)), 0.1)
        return radius * math.cos(angle), radius * math.sin(angle), 1.0, 0.0
    if motion == "shake":
        sway = math.sin(2 * math.pi * (2.27 + 0.12 * actor.pace) * t + 1)
        return x + 0.05 * sway, y, 1.0, 14 * sway
    if motion == "blink" and (t / (1.6 + 0.2 * actor.pace)) % 1 >= 0.5:
        return None
    return x, y, 1.0, 0.0


def _past_a_side(actor: Actor, u: float, wide: float) -> float:
    """x of an actor that comes in from a side or leaves by it."""
    outside = (EDGE + wide) * (-1 if actor.motion.endswith("left") else 1)
    if actor.motion.startswith("enter"):
        return outside + (actor.x - outside) * _eased(u / 0.7)
    return actor.x + (outside - actor.x) * _eased((u - 0.3) / 0.7)


def _eased(u: float) -> float:
    return min(max(u, 0.0), 1.0)
