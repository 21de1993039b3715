"""The cases by name, in the order in which they run. A module is imported when its case is."""

from __future__ import annotations

from importlib import import_module

from ..case import Case

MODULES = {  # name → module of this package, whose `CASE` it is
    "decode": ".decode",
    "encode": ".encode",
    "aggregate": ".aggregate",
    "score": ".score",
    "search": ".search",
    "index": ".index",
    "memory": ".memory",
    "coldstart": ".coldstart",
}
TITLES = {  # shown by --help, which imports no case
    "decode": "sparse sampling from real files, by codec, size and length",
    "encode": "frames and texts to features, by backend, precision and batch",
    "aggregate": "frame features to what is scored, by family and batch",
    "score": "encoded texts against videos in memory, by family",
    "search": "text in, hits out, by number of videos, alone and under load",
    "index": "files to committed rows, and where the time goes",
    "memory": "what an index takes on disk and in memory",
    "coldstart": "a fresh process: import, open, first hit",
}


def load(name: str) -> Case:
    """The case of a name in :data:`MODULES`."""
    case: Case = import_module(MODULES[name], __package__).CASE
    return case
