"""Batches of generated clips, stills and things: what they hold, and that steps alone decide it."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from vtr.errors import UsageError
from vtr.training.procedural import GeneratedClips, GeneratedStills, GeneratedThings

SOURCES = (GeneratedClips, GeneratedStills, GeneratedThings)
BATCH, SIZE = 4, 32


class Words:
    """A tokenizer that keeps what it is given."""

    def __init__(self):
        self.texts = []

    def encode(self, texts, words):
        self.texts += texts
        rows = [[len(word) for word in text.split()][:words] for text in texts]
        return np.array([row + [0] * (words - len(row)) for row in rows], np.int64)


def made(kind, world, **options):
    words = Words()
    options = {"batch": BATCH, "steps": 12, "size": SIZE, "words": 20, "frames": 3, **options}
    return kind(world, words, **options), words


@pytest.mark.parametrize("kind", SOURCES)
def test_a_step_alone_decides_a_batch(kind, world):
    source, _ = made(kind, world)
    again, _ = made(kind, world)
    again[1]
    one, other, third = source[3], again[3], source[4]
    assert torch.equal(one.frames, other.frames)
    assert torch.equal(one.ids, other.ids)
    assert one.frames.shape != third.frames.shape or not torch.equal(one.frames, third.frames)


@pytest.mark.parametrize("kind", SOURCES)
def test_shapes(kind, world):
    source, words = made(kind, world)
    batch = source[0]
    assert batch.frames.dtype == torch.uint8
    assert batch.frames.shape == (int(batch.counts.sum()), SIZE, SIZE, 3)
    assert len(batch) == BATCH == len(set(words.texts))
    assert batch.counts.max() <= (3 if kind is GeneratedClips else 1)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("step", [-1, 12])
def test_no_such_step(kind, step, world):
    with pytest.raises(IndexError):
        made(kind, world)[0][step]


def names_in(text, world):
    said = {name for name in world.concepts if name in text.split()}
    return said | ({"cat"} if "kitty" in text.split() else set())


def test_things_come_in_rounds(world):
    """Twelve concepts, four a step: three steps show all of them, each once."""
    source, words = made(GeneratedThings, world, full=0.0)
    for start in (0, 3, 6):
        words.texts.clear()
        for step in range(start, start + 3):
            source[step]
        named = [names_in(text, world) for text in words.texts]
        assert all(len(names) == 1 for names in named)
        assert set.union(*named) == set(world.concepts)


def test_more_things_than_there_are(world):
    with pytest.raises(UsageError, match="at most 12 things, got 13"):
        made(GeneratedThings, world, batch=13)[0][0]


def test_things_have_the_sizes_of_clips(monkeypatch, world):
    import vtr.training.procedural as procedural

    scales, real = [], procedural.plan_one
    monkeypatch.setattr(procedural, "plan_one", lambda *a: scales.append(a[2]) or real(*a))
    source, _ = made(GeneratedThings, world)
    for step in range(12):
        source[step]
    assert procedural.SMALLEST <= min(scales) < 0.3
    assert 0.6 < max(scales) <= procedural.LARGEST


def test_full_captions_say_more(world):
    short, long = (made(GeneratedThings, world, full=full, steps=3) for full in (0.0, 1.0))
    for source, _ in (short, long):
        for step in range(3):
            source[step]
    lengths = [sum(len(text.split()) for text in words.texts) for _, words in (short, long)]
    assert lengths[1] > 1.3 * lengths[0]
