"""English for the captions: noun phrases, verbs for every motion, phrases for every background."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from ..pictures import Concept, plural_of, with_article
from .claims import ActorClaim

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
TURN_WORDS = {"upside down": ("upside-down",), "on its side": ("sideways", "toppled")}
TURN_TAILS = {
    "upside down": ("turned upside down", "standing on its head"),
    "on its side": ("lying on its side", "tipped over on its side"),
}

# Motion → verb and what follows it; {go} is the verb that suits the concept.
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "stay": (("stay", "still"), ("stay", "in place"), ("remain", "still"), ("keep", "still")),
    "right": (
        ("move", "to the right"), ("travel", "from left to right"), ("go", "right"), ("{go}", "to the right"),
        ("head", "right"),
    ),
    "left": (
        ("move", "to the left"), ("travel", "from right to left"), ("go", "left"), ("{go}", "to the left"),
        ("head", "left"),
    ),
    "up": (("move", "up"), ("rise", ""), ("go", "upwards"), ("climb", ""), ("float", "up")),
    "down": (("move", "down"), ("sink", ""), ("go", "downwards"), ("descend", ""), ("float", "down")),
    "bounce": (("bounce", ""), ("bounce", "up and down"), ("hop", ""), ("jump", "up and down")),
    "spin": (("spin", ""), ("spin", "around"), ("rotate", ""), ("turn", "on the spot"), ("whirl", "")),
    "grow": (("grow", ""), ("get", "bigger"), ("become", "larger"), ("expand", "")),
    "shrink": (("shrink", ""), ("get", "smaller"), ("become", "smaller"), ("dwindle", "")),
    "enter": (("{go}", "in"), ("come", "in"), ("enter", ""), ("come", "into view")),
    "enter-left": (
        ("{go}", "in from the left"), ("come", "in from the left"), ("enter", "from the left"),
        ("appear", "from the left"),
    ),
    "enter-right": (
        ("{go}", "in from the right"), ("come", "in from the right"), ("enter", "from the right"),
        ("appear", "from the right"),
    ),
    "exit": (("{go}", "away"), ("leave", ""), ("go", "out of view"), ("{go}", "out")),
    "exit-left": (
        ("{go}", "out to the left"), ("leave", "to the left"), ("exit", "on the left"),
        ("disappear", "to the left"),
    ),
    "exit-right": (
        ("{go}", "out to the right"), ("leave", "to the right"), ("exit", "on the right"),
        ("disappear", "to the right"),
    ),
    "take off": (("take", "off"), ("lift", "off"), ("shoot", "up out of view"), ("leave", "upwards")),
    "fall": (("fall", ""), ("fall", "down"), ("drop", "from above"), ("tumble", "down"), ("drop", "down")),
    "circle": (("move", "in a circle"), ("go", "round in circles"), ("{go}", "in circles"), ("circle", "")),
    "shake": (("shake", ""), ("shake", "from side to side"), ("tremble", ""), ("wobble", "")),
    "blink": (
        ("blink", "on and off"), ("flash", "on and off"), ("flicker", ""), ("appear", "again and again"),
    ),
}  # fmt: skip

PLACE_PHRASES = {
    "stripes": ("on a striped background", "in front of stripes", "against stripes"),
    "checks": ("on a checked background", "in front of a checked pattern", "on a chequered background"),
    "night": ("at night", "under a starry sky", "in the dark of night"),
    "sea": ("by the sea", "at sea", "in front of the sea"),
    "meadow": ("in a meadow", "on the grass", "in a grassy field"),
    "snow": ("in the snow", "on a snowy day", "in falling snow"),
    "desert": ("in the desert", "among sand dunes", "on desert sand"),
}
COLOUR_PHRASES = (
    "on {a} background",
    "against {a} background",
    "in front of {a} wall",
    "with {a} background",
)

_DOUBLED = {"spin", "hop", "drop", "get", "swim", "travel"}


def background_phrase(name: str, random: Random) -> str:
    """How a caption says what is behind: a place, a pattern or a colour."""
    if name in PLACE_PHRASES:
        return random.choice(PLACE_PHRASES[name])
    return random.choice(COLOUR_PHRASES).format(a=with_article(name))


def third(verb: str) -> str:
    """The third person singular: "goes" for "go"."""
    if re.search(r"(?:s|x|ch|sh|o)$", verb):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"


def gerund(verb: str) -> str:
    """The ing-form: "moving" for "move"."""
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb[:-1]}ing" if re.search(r"[^eo]e$", verb) else f"{verb}ing"


class Phrase:
    """One actor in words: the choices are made once, so that its forms agree."""

    def __init__(self, claim: ActorClaim, concepts: Mapping[str, Concept], random: Random) -> None:
        concept = concepts[claim.concept]
        self.many = claim.count > 1
        self.be = "are" if self.many else "is"
        self.they = "they" if self.many else "it"
        self.moves = claim.motion is not None
        nouns = (concept.name, concept.name, *concept.synonyms)  # the name is twice as likely as each synonym
        noun = random.choice(nouns)
        adjectives, tail = _attributes(claim, random)
        plural = concept.plural if noun == concept.name else plural_of(noun)
        self.head = " ".join((*adjectives, plural if self.many else noun)) + tail
        self.np = f"{NUMBERS[claim.count]} {self.head}" if self.many else with_article(self.head)
        self.the = f"the {self.head}"
        if claim.motion is not None:
            verb, rest = random.choice(VERBS[claim.motion])
            verb = verb.format(go=concept.moves)
            self.v = f"{verb if self.many else third(verb)} {rest}".rstrip()
            self.ing = f"{gerund(verb)} {rest}".rstrip()


def _attributes(claim: ActorClaim, random: Random) -> tuple[list[str], str]:
    """Adjectives before the noun, and a phrase after it."""
    adjectives, tail = [], ""
    if claim.size:
        adjectives.append(random.choice(SIZE_WORDS[claim.size]))
    if claim.turn and (claim.count > 1 or random.random() < 0.5):
        adjectives.append(random.choice(TURN_WORDS[claim.turn]))
    elif claim.turn:
        tail = f" {random.choice(TURN_TAILS[claim.turn])}"
    if claim.tint:
        adjectives.append(random.choice((claim.tint, claim.tint, f"{claim.tint}-coloured")))
    return adjectives, tail
