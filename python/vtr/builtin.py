"""Built-in models: names for bundles that come with vtr and share one pair of towers.

``models/`` beside this file holds ``towers/``, the files that all of them share; a folder for each head with
the rest of its bundle; and ``models.json``, which says which head "mini" is. ``$VTR_MODELS`` names another
such folder. ``python -m vtr.training.mini.package`` makes it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from vtr.errors import BundleError

FOLDER_VARIABLE = "VTR_MODELS"
TOWERS = "towers"
SHARED = ("text.onnx", "tokenizer.json", "vision.onnx")  # of every head, byte for byte
CATALOG = "models.json"
BEST = "mini"
HEADS = {  # name → family, which is also its folder's name
    "mini-clip4clip": "clip4clip",
    "mini-ea": "ea",
    "mini-teachclip": "teachclip",
    "mini-xclip": "xclip",
    "mini-tcmgc": "tcmgc",
}
NAMES = (BEST, *HEADS)
AGAIN = "install vtr again, or give the path of a bundle that `vtr export` made"


class Place(NamedTuple):
    """Where a built-in model lies."""

    name: str  # of the head: "mini" is one of them
    bundle: Path
    towers: Path


def builtin_name(model: str | os.PathLike[str]) -> str | None:
    """``model`` if it names a built-in model, ``None`` if it is a path.

    A str that equals a name is the name, whatever lies in the working directory; with a separator
    (``"./mini"``) it is a path, and a ``Path`` always is one.
    """
    return model if isinstance(model, str) and model in NAMES else None


def models_folder() -> Path:
    """``$VTR_MODELS``, else the folder in the package."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(os.path.abspath(given)) if given else Path(__file__).parent / "models"


def locate(name: str) -> Place:
    """Where the model of one of ``NAMES`` lies.

    Raises:
        BundleError: the models are not in this installation; the message says what to do.
    """
    folder = models_folder()
    head = best_head(folder)
    name = head if name == BEST else name
    return Place(name, folder / HEADS[name], folder / TOWERS)


def best_head(folder: Path) -> str:
    """The name of the head that "mini" stands for, as ``models.json`` says."""
    path = folder / CATALOG
    try:
        catalog = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        where = f"${FOLDER_VARIABLE}" if os.environ.get(FOLDER_VARIABLE) else "this installation"
        raise BundleError(
            f"the built-in models are not in {where}: expected {path}, found none; {AGAIN}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}); {AGAIN}") from None
    best = catalog.get(BEST) if isinstance(catalog, dict) else None
    if not isinstance(best, str) or best not in HEADS:
        raise BundleError(
            f"{path}: expected {BEST!r} as one of {', '.join(HEADS)}, got {best!r:.80}; {AGAIN}"
        )
    return best
