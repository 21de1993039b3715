"""Small checkpoints that several tests read."""

import pytest
from support import TINY

from vtr.export.synthetic import random_checkpoint, random_clip


@pytest.fixture(scope="module")
def clip():
    return random_clip(**TINY)


@pytest.fixture(scope="module")
def state():
    return random_checkpoint(sim_header="seqTransf", temporal_layers=1, **TINY)
