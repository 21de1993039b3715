"""Captions say all of their claim, in good English and in many ways."""

import re
from random import Random

import pytest

from vtr.training.clips import plan
from vtr.training.clips.captions import JOINED, MOVING, RELATIONS, SAME_ACTOR, STILL, caption
from vtr.training.clips.claims import ActorClaim, Step, full_claim, weaker
from vtr.training.clips.words import COLOUR_PHRASES, NUMBERS, PLACE_PHRASES, SIZE_WORDS, VERBS, gerund, third
from vtr.training.pictures import plural_of

VOWEL_BUT_AN = ("hourglass", "hour")
NO_AN = re.compile(r"(?:uni|use|one-|eu|ufo)", re.I)


def many_captions(world, number=1500):
    """Captions with their claims, full ones and weaker ones."""
    random = Random(7)
    for index in range(number // 3):
        full = full_claim(plan("train", 9, index, world))
        for claim in (full, full, weaker(full, random)):
            yield claim, caption(claim, world.concepts, random)


def check_grammar(text):
    assert text == " ".join(text.split()), text
    assert "{" not in text and "None" not in text
    assert text[-1] not in ".,", text
    for article, word in re.findall(r"\b(an?) ([\w'-]+)", text):
        vowel = word.startswith(VOWEL_BUT_AN) or (word[0] in "aeiouAEIOU" and not NO_AN.match(word))
        assert article == ("an" if vowel else "a"), text


def check_agreement(text, claim, concepts):
    """Numbers stand with plurals and bare verbs, single things with the third person."""
    for actor in (actor for step in claim for actor in step.actors):
        concept = concepts[actor.concept]
        singular = (concept.name, *concept.synonyms)
        plurals = (concept.plural, *map(plural_of, concept.synonyms))
        if actor.count > 1:
            assert any(
                re.search(rf"{NUMBERS[actor.count]} (?:[\w-]+ )*{many}\b", text) for many in plurals
            ), text
        else:
            assert any(re.search(rf"\b(?:an?|the) (?:[\w-]+ )*{noun}\b", text) for noun in singular), text
    counts = {actor.count > 1 for step in claim for actor in step.actors}
    if counts == {True}:
        assert not re.search(r"\b(?:is|it|moves|goes|spins|bounces|falls)\b", text), text
    if counts == {False}:
        assert not re.search(r"\b(?:are|they|move|go|spin|bounce|fall)\b", text), text


def check_completeness(text, claim):
    """Everything that is claimed is said."""
    for step in claim:
        if step.background in PLACE_PHRASES:
            assert any(phrase in text for phrase in PLACE_PHRASES[step.background]), text
        elif step.background:
            assert re.search(rf"\b{step.background} (?:background|wall)", text), text
        for actor in step.actors:
            said = [actor.tint, actor.turn and r"upside|its side|sideways|toppled|its head"]
            said.append(actor.size and "|".join(SIZE_WORDS[actor.size]))
            assert all(re.search(words, text) for words in said if words), text
            if actor.motion:
                forms = [
                    f"{form} {rest}".strip()
                    for verb, rest in VERBS[actor.motion]
                    for go in ("walk", "slide")
                    for word in [verb.format(go=go)]
                    for form in (word, third(word), gerund(word))
                ]
                assert any(form in text for form in forms), (actor.motion, text)


def test_captions_of_the_tiny_world(world):
    for claim, text in many_captions(world):
        check_grammar(text)
        check_agreement(text, claim, world.concepts)
        check_completeness(text, claim)


def test_captions_of_real_concepts(real_world):
    for _, text in many_captions(real_world, 900):
        check_grammar(text)


CAT, TWO_DOGS = ActorClaim("cat", motion="spin"), ActorClaim("dog", count=2, motion="fall")


@pytest.mark.parametrize(
    ("claim", "least"),
    [
        ((Step((CAT,)),), 25),
        ((Step((ActorClaim("dog", count=3),)),), 7),
        ((Step((CAT,)), Step((TWO_DOGS,))), 100),
        ((Step((ActorClaim("dog"), ActorClaim("hat")), "left of"),), 8),
        ((Step((ActorClaim("dog"), ActorClaim("hat")), "above", "night"),), 30),
        ((Step((CAT, ActorClaim("dog", motion="stay"))),), 100),
    ],
)
def test_there_are_many_ways_to_say_it(world, claim, least):
    random = Random(0)
    assert len({caption(claim, world.concepts, random) for _ in range(1500)}) >= least


def test_templates_differ():
    for templates in (MOVING, STILL, JOINED, SAME_ACTOR, *RELATIONS.values(), COLOUR_PHRASES):
        assert len(set(templates)) >= (4 if templates is COLOUR_PHRASES else 5)


def test_order_is_told_the_right_way_round(world):
    claim = (Step((ActorClaim("cat", motion="fall"),)), Step((ActorClaim("dog", motion="grow"),)))
    for seed in range(200):
        text = caption(claim, world.concepts, Random(seed))
        cat_first = re.search(r"\b(?:cat|kitty)\b", text).start() < text.index("dog")
        swapped = re.search(r" after ", text) is not None and not text.startswith("after")
        assert cat_first != swapped, text


def test_left_and_right_are_told_the_right_way_round(world):
    claim = (Step((ActorClaim("dog"), ActorClaim("hat")), "left of"),)
    for seed in range(200):
        text = caption(claim, world.concepts, Random(seed))
        dog_first = text.index("dog") < text.index("hat")
        if "right of" in text:
            assert not dog_first, text
        elif "left of" in text:
            assert dog_first, text
        else:
            assert re.search(r"dog on the left|with the dog on the left|on the left is a dog", text), text
