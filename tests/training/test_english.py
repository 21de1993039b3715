"""Concept tables, articles, plurals and verbs."""

import re

import pytest

from vtr.errors import UsageError
from vtr.training.clips.claims import SATISFIED_BY
from vtr.training.clips.scene import COLOURS, PATTERNS, PLACES
from vtr.training.clips.words import PLACE_PHRASES, VERBS, gerund, third
from vtr.training.pictures import plural_of, read_concepts, with_article

FORMS = {  # by hand: verb → third person, ing-form
    "stay": "stays staying", "remain": "remains remaining", "keep": "keeps keeping", "move": "moves moving",
    "travel": "travels travelling", "go": "goes going", "head": "heads heading", "rise": "rises rising",
    "climb": "climbs climbing", "float": "floats floating", "sink": "sinks sinking",
    "descend": "descends descending", "bounce": "bounces bouncing", "hop": "hops hopping",
    "jump": "jumps jumping", "spin": "spins spinning", "rotate": "rotates rotating", "turn": "turns turning",
    "whirl": "whirls whirling", "grow": "grows growing", "get": "gets getting",
    "become": "becomes becoming", "expand": "expands expanding", "shrink": "shrinks shrinking",
    "dwindle": "dwindles dwindling", "come": "comes coming", "enter": "enters entering",
    "appear": "appears appearing", "leave": "leaves leaving", "exit": "exits exiting",
    "disappear": "disappears disappearing", "take": "takes taking", "lift": "lifts lifting",
    "shoot": "shoots shooting", "fall": "falls falling", "drop": "drops dropping",
    "tumble": "tumbles tumbling", "circle": "circles circling", "shake": "shakes shaking",
    "tremble": "trembles trembling", "wobble": "wobbles wobbling", "blink": "blinks blinking",
    "flash": "flashes flashing", "flicker": "flickers flickering", "walk": "walks walking",
    "fly": "flies flying", "swim": "swims swimming", "drive": "drives driving", "sail": "sails sailing",
    "slide": "slides sliding",
}  # fmt: skip


@pytest.mark.parametrize(
    "phrase",
    [
        "a cat", "an apple", "an Easter egg", "a unicorn", "an umbrella", "an hourglass", "a UFO", "an owl",
        "a house", "an upside-down cat", "an eight ball", "a one-eyed cat", "an auto rickshaw",
        "an orange-coloured dog", "a yo-yo", "a used car",
    ],
)  # fmt: skip
def test_article(phrase):
    assert with_article(phrase.split(" ", 1)[1]) == phrase


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"), ("fox", "foxes"), ("slice of pizza", "slices of pizza"),
        ("box of chips", "boxes of chips"),
        ("cherry", "cherries"), ("toy", "toys"), ("policeman", "policemen"), ("maple leaf", "maple leaves"),
        ("cup with a straw", "cups with a straw"), ("mouse", "mice"), ("brush", "brushes"),
    ],
)  # fmt: skip
def test_plural(one, many):
    assert plural_of(one) == many


def test_every_verb_is_inflected_as_english_does():
    go = {concept.moves for concept in read_concepts().values()}
    verbs = {verb for forms in VERBS.values() for verb, _ in forms} - {"{go}"} | go
    assert {verb: f"{third(verb)} {gerund(verb)}" for verb in verbs} == {verb: FORMS[verb] for verb in verbs}


def test_every_motion_and_place_has_words():
    assert set(VERBS) == set(SATISFIED_BY)
    assert set(PLACE_PHRASES) == {*PATTERNS, *PLACES}
    assert all(len(set(phrases)) >= 3 for phrases in (*VERBS.values(), *PLACE_PHRASES.values()))


def test_the_tables():
    concepts = read_concepts()
    assert len(concepts) >= 400
    for concept in concepts.values():
        for phrase in (concept.name, *concept.synonyms):
            assert re.fullmatch(r"[A-Za-z'-]+(?: [A-Za-z'-]+)*", phrase), phrase
            assert phrase.split()[0] not in ("a", "an", "the", "half")
            # A colour in a name would fight with the colour that a caption gives it.
            assert phrase == "orange" or not set(phrase.split()) & set(COLOURS), phrase


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("1f408;cat;;;walk;\n", "expected seven fields"),
        ("1f408;cat;;;gallop;;\n", "expected seven fields"),
        ("1f408;cat;;;walk;;\n1f415;dog;;cat;walk;;\n", "'cat' belongs to 'cat' already"),
        ("1f408;cat;;;walk;;\n1f408;dog;;;walk;;\n", "'1f408' belongs to 'cat' already"),
        ("# nothing\n", "expected tables of concepts"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, table, message):
    (tmp_path / "things.csv").write_text(table)
    with pytest.raises(UsageError, match=message):
        read_concepts(tmp_path)
