"""What the clips show: concepts with an English noun phrase each, read from the tables in ``concepts/``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vtr.errors import UsageError

FOLDER = Path(__file__).parent / "concepts"
MOVES = ("walk", "fly", "swim", "drive", "sail", "slide")

_TAIL = re.compile(r" (?:of|with|on|in|by|without) ")  # "slice of pizza": the plural goes before it
_SOUNDS_CONSONANT = re.compile(r"(?:uni(?!n)|use|ufo|eu|one\b|once\b)", re.I)
_SOUNDS_VOWEL = re.compile(r"(?:[aeiouAEIOU]|hour|heir|honest|SUV\b|X-)")


@dataclass(frozen=True)
class Concept:
    """Something that people name alike when they see its picture."""

    name: str  # noun phrase without article, singular
    plural: str
    synonyms: tuple[str, ...]  # singular, of the same meaning
    moves: str  # one of MOVES: which verbs suit it
    kinds: frozenset[str]  # wider names that are true of it too
    codes: tuple[str, ...]  # code points of its pictures, hexadecimal
    spins: bool  # that it spins can be seen; not so of a ball
    upright: bool  # it has a clear upright position, so that it can be upside down or on its side


def with_article(phrase: str) -> str:
    """``"an apple"`` for ``"apple"``, by sound."""
    vowel = _SOUNDS_VOWEL.match(phrase) and not _SOUNDS_CONSONANT.match(phrase)
    return f"{'an' if vowel else 'a'} {phrase}"


def plural_of(phrase: str) -> str:
    """The regular plural of a noun phrase: ``"slices of pizza"`` for ``"slice of pizza"``."""
    tail = _TAIL.search(phrase)
    head, rest = (phrase[: tail.start()], phrase[tail.start() :]) if tail else (phrase, "")
    for ending, plural in (("fish", "fish"), ("sheep", "sheep"), ("man", "men"), ("mouse", "mice"),
                           ("leaf", "leaves"), ("loaf", "loaves"), ("knife", "knives")):  # fmt: skip
        if head.endswith(ending):
            return head[: -len(ending)] + plural + rest
    if re.search(r"[^aeiou]y$", head):
        return f"{head[:-1]}ies{rest}"
    return f"{head}{'es' if re.search(r'(?:s|x|z|ch|sh)$', head) else 's'}{rest}"


@cache
def read_concepts(folder: Path = FOLDER) -> dict[str, Concept]:
    """All concepts by name, in the order of the tables.

    Raises ``UsageError`` for a damaged line, and for a name, synonym or picture that two concepts share.
    """
    concepts: dict[str, Concept] = {}
    owners: dict[str, str] = {}
    for path in sorted(folder.glob("*.csv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("#"):
                continue
            concept = _concept(line, f"{path.name}, line {number}")
            for word in (concept.name, *concept.synonyms, *concept.codes):
                if owners.setdefault(word, concept.name) != concept.name or concept.name in concepts:
                    raise UsageError(
                        f"{path.name}, line {number}: {word!r} belongs to {owners[word]!r} already: "
                        "a caption must mean one concept"
                    )
            concepts[concept.name] = concept
    if not concepts:
        raise UsageError(f"expected tables of concepts (*.csv) in {folder}, found none")
    return concepts


def _concept(line: str, where: str) -> Concept:
    fields = [field.strip() for field in line.split(";")]
    if (
        len(fields) != 7
        or not fields[0]
        or not fields[1]
        or fields[4] not in MOVES
        or fields[6] not in ("", "r", "t")
    ):
        raise UsageError(
            f"{where}: expected seven fields separated by semicolons (code points, name, plural, synonyms, "
            f"one of {' '.join(MOVES)}, kinds, r or t or nothing), got {line!r}"
        )
    codes, name, plural, synonyms, moves, kinds, flag = fields
    return Concept(
        name=name,
        plural=plural or plural_of(name),
        synonyms=_listed(synonyms),
        moves=moves,
        kinds=frozenset(_listed(kinds)),
        codes=tuple(codes.split()),
        spins=flag != "r",
        upright=flag == "",
    )


def _listed(field: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in field.split(",") if item.strip())
