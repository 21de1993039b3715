"""One run of the suite: cases one after the other, into results that `vtr.benchmarks.results` describes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vtr.errors import BackendError

from . import cases
from .case import Case, Context, run_case
from .ceilings import ceilings
from .machine import machine, versions
from .results import FORMAT

Told = Callable[[str, list[dict[str, Any]], str], None]  # case, its records, why there are none


def run_suite(
    names: Sequence[str],
    *,
    threads: int,
    quick: bool,
    videos: Sequence[Path],
    begun: Callable[[dict[str, Any]], None],
    told: Told,
) -> dict[str, Any]:
    """Run cases by name and return the results of all.

    Args:
        begun: called with the results before the first case: machine and ceilings are in them.
        told: called after each case.
    """
    results: dict[str, Any] = {
        "format": FORMAT,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "threads": threads,
        "quick": quick,
        "ceilings": ceilings(threads, quick),
        "cases": {},
        "skipped": {},
        "failed": {},
    }
    begun(results)
    with tempfile.TemporaryDirectory(prefix="vtr-bench-") as folder, own_cache(Path(folder) / "cache"):
        context = Context(threads, quick, videos, Path(folder), results["ceilings"])
        for name in names:
            records, why = _attempt(name, context, results)
            told(name, records, why)
    results["versions"] = versions()
    return results


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """What vtr and its child processes keep in the user's cache goes into a folder of the run: models of
    random weights would take the room of the user's own there."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def _attempt(name: str, context: Context, results: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Run a case into ``results``; its records, or why there are none."""
    try:
        case: Case = cases.load(name)
        results["cases"][name] = run_case(case, context)
        return results["cases"][name], ""
    except (ModuleNotFoundError, BackendError) as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "vtr").split(".")[0] == "vtr":
            results["failed"][name] = _told(error)  # a module of vtr's own: nothing that could be installed
            return [], f"failed: {_told(error)}"
        results["skipped"][name] = str(error)
        return [], f"skipped: {error}"
    except Exception as error:  # whatever it is, the other cases run
        results["failed"][name] = _told(error)
        return [], f"failed: {_told(error)}"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
