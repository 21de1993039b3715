"""Icons, crowds of them, and an image tower that learns their shapes."""

import json
import math

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from vtr.export.models import build_model
from vtr.export.options import ExportOptions
from vtr.export.resnet import ResNetSpec, ResNetTower
from vtr.training.canvas import placed
from vtr.training.clips import World
from vtr.training.clips.claims import ActorClaim, Step, step_keys
from vtr.training.clips.scene import TINTS, TURNS
from vtr.training.clips.splits import part_of
from vtr.training.crowds import TURNED, Crowds, _seen
from vtr.training.fresh import TowerSizes, fresh_towers, with_head
from vtr.training.icons import SMALL, TILT, UNCERTAIN, Icons
from vtr.training.naming import ByName
from vtr.training.pictures import Pictures
from vtr.training.shapes import ShapesOptions, learn_shapes


def test_a_batch_is_decided_by_seed_and_step(world):
    pictures, labels = Icons(world).batch(3, 7)
    assert pictures.dtype == torch.uint8 and pictures.shape == (7, 32, 32, 3)
    assert labels.shape == (7, 1, 1) and labels.min() >= 0 and labels.max() < len(world.concepts)
    again, same = Icons(world).batch(3, 7)
    assert torch.equal(pictures, again) and torch.equal(labels, same)
    for other in (Icons(world, seed=1).batch(3, 7), Icons(world).batch(4, 7)):
        assert not torch.equal(pictures, other[0])


def test_pictures_show_what_labels_say(world):
    """At hardness 0 every concept has its own colour, which most of the picture's middle is of."""
    icons = Icons(world)
    pictures, labels = icons.batch(0, 64, 0.0)
    for picture, label in zip(pictures.float(), labels.flatten(), strict=True):
        own = icons.sprites[0, label, :3, 32, 32].float()
        near = ((picture - own).abs().amax(-1) < 45).float()
        assert near.sum() > 0.25 * SMALL**2


def test_the_held_out_style_is_not_shown(world):
    """Sprites of the other style only: here they are all there is."""
    blank = {code: 0 * sprite for code, sprite in world.pictures._sprites["inked"].items()}
    for style, some in (("twemoji", True), ("inked", False)):
        sprites = dict(world.pictures._sprites) | {style: blank}
        icons = Icons(World(world.concepts, Pictures(sprites)))
        assert bool(icons.sprites.any()) == some
        assert icons.sprites.shape[:2] == (2, len(world.concepts))


def test_only_admitted_tints(world):
    icons = Icons(world)
    for name, row in zip(icons.names, icons._tints, strict=True):
        for tint, admitted in zip(TINTS, row, strict=True):
            keys = list(step_keys(Step((ActorClaim(name, tint=tint),))))
            assert keys and bool(admitted) == all(part_of(key) == "train" for key in keys)
    assert 0 < icons._tints.float().mean() < 1
    icons._tints[:] = False
    plain = icons.batch(0, 32, 1.0)[0]
    icons._tints[:] = True
    assert not torch.equal(plain, icons.batch(0, 32, 1.0)[0])


def test_only_admitted_turns(world):
    crowds = Crowds(world)
    for name, row in zip(crowds.names, crowds._turns, strict=True):
        concept = world.concepts[name]
        claims = [(concept.upright, {"turn": turn}) for turn in TURNS] + [(concept.spins, {"motion": "spin"})]
        for (may, claim), admitted in zip(claims, row, strict=True):
            keys = list(step_keys(Step((ActorClaim(name, **claim),))))
            assert bool(admitted) == (may and all(part_of(key) == "train" for key in keys))
    assert 0 < crowds._turns.float().mean() < 1
    crowds._turns[:] = False
    draw = torch.Generator().manual_seed(0)
    assert crowds._angles(torch.zeros(50, dtype=torch.long), 1.0, draw).abs().max() <= TILT
    crowds._turns[:, 0] = True
    angles = crowds._angles(torch.zeros(2000, dtype=torch.long), 1.0, draw)
    turned = (angles - math.pi).abs() <= TILT
    assert float(turned.float().mean()) == pytest.approx(TURNED, abs=0.03)
    assert (angles[~turned].abs() <= TILT).all()


def test_things_are_turned_clockwise():
    """A mark at the top is on the right after a quarter, around any centre."""
    sprite = torch.zeros(1, 4, 32, 32)
    sprite[:, :, :8, 12:20] = 1
    x, y, pixels = (torch.tensor([value]) for value in (40.0, 52.0, 32.0))
    drawn = placed(sprite, pixels, x, y, torch.tensor([math.pi / 2]), 96)[0, 3]
    rows, columns = torch.nonzero(drawn > 0.5, as_tuple=True)
    assert (rows.min(), rows.max()) == (48, 55)  # 52 ± 4
    assert (columns.min(), columns.max()) == (48, 55)  # the right quarter of 24 to 56


def test_places_of_a_crowd_show_what_labels_say(world):
    """Untinted things have their own colours, which are found in the places that see them."""
    crowds = Crowds(world, side=96)
    pictures, labels = crowds.batch(0, 40, 0.0)
    assert pictures.shape == (40, 96, 96, 3) and labels.shape == (40, 3, 3)
    own = torch.stack([sprite[:3, 32, 32] for sprite in crowds.sprites[0]]).float()
    things = nothing = uncertain = 0
    for picture, row, column in torch.cartesian_prod(torch.arange(40), torch.arange(3), torch.arange(3)):
        label = labels[picture, row, column]
        tile = pictures[picture, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32].float()
        if label == UNCERTAIN:
            uncertain += 1
        elif label < len(crowds.names):
            things += bool((tile - own[label]).abs().amax(-1).min() < 45)
        else:
            nothing += 1
    shown = ((labels >= 0) & (labels < len(crowds.names))).sum()
    assert things > 0.95 * shown > 0
    assert nothing > 20 and uncertain > 20


@pytest.mark.parametrize(
    ("x", "y", "pixels", "expected"),
    [
        (16.0, 16.0, 20.0, [[5, 9, 9], [9, 9, 9], [9, 9, 9]]),
        (30.0, 16.0, 20.0, [[5, -100, 9], [9, 9, 9], [9, 9, 9]]),
        (48.0, 48.0, 76.0, [[-100, -100, -100], [-100, 5, -100], [-100, -100, -100]]),
        (64.0, 80.0, 50.0, [[9, 9, 9], [9, -100, -100], [9, 5, 5]]),
    ],
)
def test_what_places_see(x, y, pixels, expected):
    """Of concept 5 on a picture that held nothing (9)."""
    thing = (torch.tensor([value]) for value in (5, x, y, pixels))
    assert _seen(torch.full((1, 3, 3), 9), *thing)[0].tolist() == expected


def untinted(icons):
    """Here colours are what concepts are told apart by."""
    icons._tints[:] = False
    return icons


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("kind", "side", "processes"), [(Icons, 32, 1), (Icons, 32, 2), (Crowds, 64, 1)])
def test_a_tower_learns_shapes(world, tmp_path, kind, side, processes):
    torch.manual_seed(0)
    tower = ResNetTower(ResNetSpec(16, (1, 1, 1, 1), 8), 1, 64)
    pool = {name: tensor.clone() for name, tensor in tower.attnpool.state_dict().items()}
    options = ShapesOptions(steps=40, batch=32, processes=processes)
    learn_shapes(tower, untinted(kind(world, side)), options, tmp_path)
    first, last = log_of(tmp_path)
    assert (first["step"], last["step"]) == (20, 40)
    assert last["named"] > max(first["named"], 0.3)  # chance: 1 in 12
    assert first["hardness"] < last["hardness"] == pytest.approx(1, abs=0.2)
    assert all(torch.equal(pool[name], tensor) for name, tensor in tower.attnpool.state_dict().items())


VOCAB = 200


class Words:
    """A token a word; the last one is the end of the text."""

    def __init__(self, vocab):
        self.vocab, self.ids = vocab, {}

    def encode(self, texts, words):
        rows = np.zeros((len(texts), words), np.int64)
        for row, text in zip(rows, texts, strict=True):
            known = [self.ids.setdefault(word, len(self.ids) + 1) for word in text.split()][: words - 1]
            row[: len(known) + 1] = [*known, self.vocab - 1]
        assert len(self.ids) < self.vocab - 1
        return rows


def small_clip():
    towers = fresh_towers(TowerSizes(16, (1, 1, 1, 1), 32, 64, 64, 1, 32), VOCAB)
    return build_model(with_head(towers, "clip4clip"), ExportOptions(frames=1, words=16)).clip


def test_a_text_tower_learns_names(world, tmp_path):
    clip = small_clip()
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    names = ByName(clip, world, Words(VOCAB), 16)
    crowds, options = untinted(Crowds(world, 64)), ShapesOptions(steps=100, batch=32, lr=2e-3)
    learn_shapes(clip.visual, crowds, options, tmp_path, names=names)
    assert log_of(tmp_path)[-1]["named"] > 0.3  # chance: 1 in 12
    changed = {name for name, tensor in clip.state_dict().items() if not torch.equal(before[name], tensor)}
    kept = {name.removeprefix("visual.attnpool.").partition(".")[0] for name in set(before) - changed}
    assert kept == {"positional_embedding", "q_proj", "k_proj"}  # how places are pooled


def test_what_names_are_asked(world):
    """Logits are those of things only, against one caption for each that there is."""
    clip = small_clip()
    nothing = len(world.concepts)
    labels = torch.tensor([[[3, nothing], [UNCERTAIN, 5]], [[nothing, 3], [0, 3]]])
    logits, right = ByName(clip, world, Words(VOCAB), 16)(torch.rand(2, 512, 2, 2), labels, 0)
    assert logits.shape == (5, 3) and right.tolist() == [1, 2, 1, 0, 1]
    assert logits.abs().max() <= clip.logit_scale.exp() * 1.0001
