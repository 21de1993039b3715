"""A tiny world for the clips' mechanics: drawn shapes, each in a colour of its own, in two styles."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vtr.errors import UsageError
from vtr.training.clips import World, load_world
from vtr.training.pictures import Concept, Pictures, plural_of

SHAPES = {  # name → colour, corners
    "apple": ((250, 20, 20), 6),
    "boat": ((20, 250, 20), 3),
    "cat": ((40, 40, 250), 4),
    "dog": ((250, 250, 20), 5),
    "egg": ((250, 20, 250), 8),
    "fox": ((20, 250, 250), 7),
    "goose": ((250, 140, 20), 3),
    "hat": ((140, 20, 250), 4),
    "igloo": ((20, 140, 140), 5),
    "jug": ((140, 250, 140), 6),
    "kite": ((250, 140, 190), 7),
    "lamp": ((120, 160, 250), 8),
}
STYLES = ("inked", "twemoji")  # the second is the one that is held out


def picture(colour, corners, side=128):
    """A polygon, premultiplied RGBA, uint8 [side, side, 4]."""
    image = Image.new("RGBA", (side, side))
    ImageDraw.Draw(image).regular_polygon((side / 2, side / 2, side / 2 - 3), corners, fill=colour)
    return np.asarray(image.convert("RGBa"))


@pytest.fixture(scope="session")
def world():
    concepts = {
        name: Concept(
            name=name,
            plural="geese" if name == "goose" else plural_of(name),
            synonyms=("kitty",) if name == "cat" else (),
            moves="walk" if name in ("cat", "dog", "fox") else "slide",
            kinds=frozenset(),
            codes=(name[0],),
            spins=True,
            upright=True,
        )
        for name in SHAPES
    }
    drawn = {name[0]: picture(*how) for name, how in SHAPES.items()}
    return World(concepts, Pictures({style: drawn for style in STYLES}))


@pytest.fixture(scope="session")
def real_world():
    """The fetched pictures."""
    try:
        return load_world()
    except UsageError:
        pytest.skip("no pictures on this machine: python -m vtr.training.fetch")
