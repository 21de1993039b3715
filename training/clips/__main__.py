"""``python -m vtr.training.clips OUT``: encoded clips and annotations for ``vtr index`` and ``vtr eval``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command import command
from . import load_world
from .splits import SPLITS
from .testset import build
from .write import ANNOTATIONS, ONE_CAPTION, TRUTH, VIDEOS, write_set


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m vtr.training.clips", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--split", choices=SPLITS, default="combinations", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=1000, help="clips (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--captions", type=int, default=5, help="captions a clip (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, help="the folder that training.fetch filled")
    given = parser.parse_args(arguments)
    for name in ("count", "captions"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    world = load_world(given.pictures)
    entries = build(given.split, given.count, given.seed, world, given.captions)
    write_set(given.out, entries, given.split, world)
    print(f"{len(entries)} clips in {given.out / VIDEOS}, with {ANNOTATIONS}, {ONE_CAPTION} and {TRUTH}")


if __name__ == "__main__":
    sys.exit(main())
