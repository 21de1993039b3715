"""vtr from a checkout that was not installed: its folders under their names, and a core that was built."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def use_checkout() -> None:
    """Make ``vtr.kernels``, ``vtr.export`` and ``vtr._core`` importable where they are not.

    An installed vtr stays what it is. A core is taken from ``build/``, the newest that this Python can load.
    """
    if find_spec("vtr") is None:
        sys.path.insert(0, str(ROOT / "python"))
    import vtr

    if find_spec("vtr.kernels") is None:
        vtr.__path__.append(str(ROOT))  # kernels/, export/ and training/ lie there
    if find_spec("vtr._core") is None:
        suffix = EXTENSION_SUFFIXES[0]  # of this version of Python and no other
        built = sorted(ROOT.glob(f"build/**/_core{suffix}"), key=lambda path: path.stat().st_mtime)
        if built:
            vtr.__path__.append(str(built[-1].parent))
