"""Fixtures of the index tests; ``index_library`` beside this file makes the videos."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import index_library


@pytest.fixture
def store(tmp_path):
    with index_library.new_store(tmp_path / "index") as store:
        yield store
