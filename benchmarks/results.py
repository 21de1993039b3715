"""Files of results: what a run writes, and a reader that refuses what is not such a file.

::

    {"format": 1, "date", "machine", "versions", "threads", "quick", "ceilings",
     "cases": {name: [records]}, "skipped": {case: why}, "failed": {case: why}}

A record is described at `vtr.benchmarks.case.Case`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtr.errors import UsageError

FORMAT = 1
KEYS: dict[str, type | tuple[type, ...]] = {
    "date": str,
    "machine": dict,
    "versions": dict,
    "threads": int,
    "quick": bool,
    "ceilings": dict,
    "cases": dict,
    "skipped": dict,
    "failed": dict,
}
PERCENTILES = ("p20", "p50", "p80")


def write(path: str | os.PathLike[str], results: Mapping[str, Any]) -> None:
    """Write results that :func:`read` takes."""
    text = json.dumps(check(results, "these results"), indent=1, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The results in a file.

    Raises:
        UsageError: no file of results, one of another format, or a damaged one; the message says where.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as results: {error}") from error
    return check(found, str(path))


def check(results: Any, where: str) -> dict[str, Any]:
    """``results``, if they have the form that this module describes."""
    if not isinstance(results, Mapping) or results.get("format") != FORMAT:
        got = results.get("format") if isinstance(results, Mapping) else type(results).__name__
        raise UsageError(f"{where}: expected results of `vtr-bench --json` with format {FORMAT}, got {got!r}")
    for key, kind in KEYS.items():
        if not isinstance(results.get(key), kind) or (kind is int and isinstance(results[key], bool)):
            raise UsageError(f"{where}: expected {key} as {kind}, got {results.get(key)!r:.80}")
    for case, records in results["cases"].items():
        if not isinstance(records, list):
            raise UsageError(f"{where}: expected a list of records of case {case}, got {records!r:.80}")
        for record in records:
            _check_record(record, f"{where}, case {case}")
    return dict(results)


def _check_record(record: Any, where: str) -> None:
    if not isinstance(record, Mapping) or not isinstance(record.get("name"), str):
        raise UsageError(f"{where}: expected a record with a name, got {record!r:.80}")
    where = f"{where}, {record['name']}"
    for part in ("microseconds", "times_faster", "figures", "stages", "settings", "check", "skipped"):
        if not isinstance(record.get(part, {}), Mapping):
            raise UsageError(f"{where}: expected {part} as a mapping, got {record[part]!r:.80}")
    for part in ("microseconds", "times_faster"):
        for contender, numbers in record.get(part, {}).items():
            if not isinstance(numbers, Mapping) or not all(_number(numbers.get(p)) for p in PERCENTILES):
                raise UsageError(
                    f"{where}: expected {part} of {contender} with {', '.join(PERCENTILES)}, "
                    f"got {numbers!r:.80}"
                )
    for part in ("stages", "settings"):
        for name, number in record.get(part, {}).items():
            if not _number(number):
                raise UsageError(f"{where}: expected {part} {name} as a number, got {number!r:.80}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def name_of(machine: Mapping[str, Any]) -> str:
    """A machine in words: "Intel(R) Xeon(R) Processor, 2 cores, amx"."""
    known = [machine.get("cpu"), f"{machine['cores']} cores" if "cores" in machine else None]
    return ", ".join(str(part) for part in [*known, machine.get("isa")] if part)
