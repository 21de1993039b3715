"""A decoding baseline in as many processes as there are threads, as a data loader with workers runs it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from vtr.types import Sampling

from .loaders import MODULES
from .sampled import Sampled


@contextmanager
def workers(
    name: str, count: int, sampling: Sampling
) -> Iterator[Callable[[Sequence[Path]], Iterator[Sampled]]]:
    """A function that gives files' frames in their order, loaded ahead by ``count`` processes of one thread.

    ``name`` is of `baselines.loaders.MODULES`. The processes have started and imported what they need.
    """
    load = partial(_load, MODULES[name], sampling)
    with multiprocessing.get_context("spawn").Pool(count, _import, (MODULES[name],)) as pool:
        yield lambda paths: pool.imap(load, paths)


def _import(module: str) -> None:
    import_module(f".{module}", __package__)


def _load(module: str, sampling: Sampling, path: Path) -> Sampled:
    found: Sampled = import_module(f".{module}", __package__).load(path, sampling, 1)
    return found
