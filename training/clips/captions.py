"""Sentences for claims: every part of a claim is said, in one of many ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from ..pictures import Concept
from .claims import Claim, Step
from .words import Phrase, background_phrase

MOVING = (
    "{a.np} {a.v}",
    "{a.np} {a.v}",
    "{a.np} {a.be} {a.ing}",
    "{a.np} {a.ing}",
    "there {a.be} {a.np} {a.ing}",
    "{a.np} can be seen {a.ing}",
    "{a.np} {a.be} shown {a.ing}",
    "we see {a.np} {a.ing}",
    "the video shows {a.np} {a.ing}",
    "a clip of {a.np} {a.ing}",
    "{a.np} that {a.be} {a.ing}",
)
STILL = (
    "{a.np}",
    "{a.np}",
    "there {a.be} {a.np}",
    "{a.np} {a.be} shown",
    "{a.np} can be seen",
    "a shot of {a.np}",
    "we see {a.np}",
    "the video shows {a.np}",
    "you can see {a.np}",
)
RELATIONS = {
    "left of": (
        "{a.np} to the left of {b.np}",
        "{b.np} to the right of {a.np}",
        "{a.np} {a.be} on the left of {b.np}",
        "{b.np} {b.be} to the right of {a.np}",
        "{a.np} on the left and {b.np} on the right",
        "there {a.be} {a.np} to the left of {b.np}",
        "on the left {a.be} {a.np}, on the right {b.np}",
        "{b.np} and {a.np} side by side, with {a.the} on the left",
    ),
    "above": (
        "{a.np} above {b.np}",
        "{b.np} below {a.np}",
        "{b.np} underneath {a.np}",
        "{a.np} {a.be} above {b.np}",
        "{b.np} {b.be} below {a.np}",
        "{a.np} at the top and {b.np} at the bottom",
        "there {a.be} {a.np} above {b.np}",
        "at the top {a.be} {a.np}, at the bottom {b.np}",
    ),
}
BOTH_MOVE = (
    "{a.np} {a.v} while {b.np} {b.v}",
    "while {b.np} {b.v}, {a.np} {a.v}",
    "{a.np} {a.be} {a.ing} and {b.np} {b.be} {b.ing}",
    "{a.np} {a.ing} and {b.np} {b.ing}",
    "{a.np} {a.v} next to {b.np} that {b.v}",
    "beside {b.np} {b.ing}, {a.np} {a.v}",
    "{a.np} {a.be} seen {a.ing} as {b.np} {b.v}",
)
ONE_MOVES = (
    "{a.np} {a.v} next to {b.np}",
    "{a.np} {a.ing} beside {b.np}",
    "next to {b.np}, {a.np} {a.v}",
    "{b.np} and, beside {b.the}, {a.np} {a.ing}",
    "{a.np} {a.be} {a.ing} by the side of {b.np}",
)
TOGETHER = (
    "{a.np} and {b.np}",
    "{b.np} and {a.np}",
    "{a.np} together with {b.np}",
    "there {a.be} {a.np} and {b.np}",
    "the video shows {b.np} and {a.np}",
)
CLAUSES = ("{a.np} {a.v}", "{a.np} {a.v}", "{a.np} {a.be} seen {a.ing}")  # as parts of a longer sentence
STILL_CLAUSES = ("{a.np} {a.be} shown", "{a.np} {a.be} seen", "{a.np} {a.be} on screen")
JOINED = (
    "{0}, then {1}",
    "first {0}, then {1}",
    "{0} and then {1}",
    "{0} before {1}",
    "{1} after {0}",
    "after {0}, {1}",
    "{0}, and afterwards {1}",
    "at first {0}, later {1}",
)
SAME_ACTOR = (
    "{a.np} {a.v} and then {b.v}",
    "{a.np} {a.v}, then {b.v}",
    "after {a.ing}, {a.np} {b.v}",
    "{a.np} {b.v} after {a.ing}",
    "{a.np} first {a.v} and later {b.v}",
    "{a.np} {a.v} before {b.ing}",
    "first {a.np} {a.v}, then {a.they} {b.v}",
)

Concepts = Mapping[str, Concept]


def caption(claim: Claim, concepts: Concepts, random: Random) -> str:
    """A sentence that says all of a claim and nothing else. Lower case, without a full stop."""
    if len(claim) == 1:
        return _with_background(_step(claim[0], concepts, random), claim[0].background, random)
    first, second = claim
    if _same_actor(first, second):
        start = Random(random.random())  # the same words for both, apart from the verb
        state = start.getstate()
        a = Phrase(first.actors[0], concepts, start)
        start.setstate(state)
        b = Phrase(second.actors[0], concepts, start)
        told = random.choice(SAME_ACTOR).format(a=a, b=b)
        return _with_background(told, first.background, random)
    join = random.choice(JOINED)
    return join.format(_clause(first, concepts, random), _clause(second, concepts, random))


def captions(claims: Sequence[Claim], concepts: Concepts, random: Random, number: int) -> list[str]:
    """``number`` sentences, of the claims in turn; different ones unless the claims have too few."""
    found: list[str] = []
    for place in range(number):
        for _ in range(12):
            text = caption(claims[place % len(claims)], concepts, random)
            if text not in found:
                break
        found.append(text)
    return found


def _same_actor(first: Step, second: Step) -> bool:
    one, other = first.actors[0], second.actors[0]
    return (
        len(first.actors) == len(second.actors) == 1
        and None not in (one.motion, other.motion)
        and first.background == second.background
        and (one.concept, one.count, one.tint, one.size, one.turn)
        == (other.concept, other.count, other.tint, other.size, other.turn)
    )


def _with_background(text: str, background: str | None, random: Random) -> str:
    if background is None:
        return text
    phrase = background_phrase(background, random)
    return f"{phrase}, {text}" if random.random() < 0.2 else f"{text} {phrase}"


def _clause(step: Step, concepts: Concepts, random: Random) -> str:
    """A main clause that can follow "after" or "then"."""
    a = Phrase(step.actors[0], concepts, random)
    text = random.choice(CLAUSES if a.moves else STILL_CLAUSES).format(a=a)
    return text if step.background is None else f"{text} {background_phrase(step.background, random)}"


def _step(step: Step, concepts: Concepts, random: Random) -> str:
    phrases = [Phrase(actor, concepts, random) for actor in step.actors]
    if len(phrases) == 1:
        return random.choice(MOVING if phrases[0].moves else STILL).format(a=phrases[0])
    if step.relation is not None:
        return random.choice(RELATIONS[step.relation]).format(a=phrases[0], b=phrases[1])
    if random.random() < 0.5:
        phrases.reverse()
    moving = [phrase for phrase in phrases if phrase.moves]
    if len(moving) == 1:
        a, b = sorted(phrases, key=lambda phrase: not phrase.moves)
        return random.choice(ONE_MOVES).format(a=a, b=b)
    return random.choice(BOTH_MOVE if moving else TOGETHER).format(a=phrases[0], b=phrases[1])
