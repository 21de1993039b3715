"""Icons, and an image tower that learns their shapes."""

import json

import pytest

pytest.importorskip("torch")

import torch

from vtr.export.resnet import ResNetSpec, ResNetTower
from vtr.training.clips import World
from vtr.training.clips.claims import ActorClaim, Step, step_keys
from vtr.training.clips.scene import TINTS
from vtr.training.clips.splits import part_of
from vtr.training.icons import SMALL, Icons
from vtr.training.pictures import Pictures
from vtr.training.shapes import ShapesOptions, learn_shapes


def test_a_batch_is_decided_by_seed_and_step(world):
    pictures, labels = Icons(world).batch(3, 7)
    assert pictures.dtype == torch.uint8 and pictures.shape == (7, 32, 32, 3)
    assert labels.shape == (7,) and labels.min() >= 0 and labels.max() < len(world.concepts)
    again, same = Icons(world).batch(3, 7)
    assert torch.equal(pictures, again) and torch.equal(labels, same)
    for other in (Icons(world, seed=1).batch(3, 7), Icons(world).batch(4, 7)):
        assert not torch.equal(pictures, other[0])


def test_pictures_show_what_labels_say(world):
    """At hardness 0 every concept has its own colour, which most of the picture's middle is of."""
    icons = Icons(world)
    pictures, labels = icons.batch(0, 64, 0.0)
    for picture, label in zip(pictures.float(), labels, strict=True):
        own = icons.sprites[label, :3, 32, 32].float()
        near = ((picture - own).abs().amax(-1) < 45).float()
        assert near.sum() > 0.25 * SMALL**2


def test_the_held_out_style_is_not_shown(world):
    """Sprites of the other style only: here they are all there is."""
    blank = {code: 0 * sprite for code, sprite in world.pictures._sprites["inked"].items()}
    for style, some in (("twemoji", True), ("inked", False)):
        sprites = dict(world.pictures._sprites) | {style: blank}
        icons = Icons(World(world.concepts, Pictures(sprites)))
        assert bool(icons.sprites.any()) == some
        assert len(icons.sprites) == len(world.concepts)


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


@pytest.mark.parametrize("processes", [1, 2])
def test_a_tower_learns_shapes(world, tmp_path, processes):
    torch.manual_seed(0)
    tower = ResNetTower(ResNetSpec(16, (1, 1, 1, 1), 8), 1, 64)
    pool = {name: tensor.clone() for name, tensor in tower.attnpool.state_dict().items()}
    options = ShapesOptions(steps=40, batch=32, processes=processes)
    learn_shapes(tower, Icons(world), options, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert min(line["named"] for line in lines) > 0.3  # chance: 1 in 12
    assert lines[0]["hardness"] < lines[1]["hardness"] == pytest.approx(1, abs=0.2)
    assert all(torch.equal(pool[name], tensor) for name, tensor in tower.attnpool.state_dict().items())
