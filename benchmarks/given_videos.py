"""The user's videos that a run measures with."""

from __future__ import annotations

from pathlib import Path

from vtr.decode import probe
from vtr.errors import DecodeError

from .case import Context

MOST = 20  # files: with more, the baselines alone would take hours


def given_videos(context: Context) -> tuple[list[Path], dict[str, str]]:
    """The first `MOST` files of ``context.videos`` that can be read, and why the others are left out."""
    readable: list[Path] = []
    left_out: dict[str, str] = {}
    for path in context.videos:
        if len(readable) == MOST:
            left_out["further files"] = f"a run takes {MOST} of the {len(context.videos)} given"
            break
        try:
            probe(path)
            readable.append(path)
        except DecodeError as error:
            left_out[path.name] = str(error)
    return readable, left_out
