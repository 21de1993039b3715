"""`python -m benchmarks.gpu`: the command line of the proof."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

NO_GPU = 2  # exit status: there is nothing to prove anything on


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="run", choices=["run", "table", "part"])
    parser.add_argument("name", nargs="?", help="With part: which.")
    parser.add_argument("--only", help="Parts to run, with commas; they replace those of an earlier file.")
    parser.add_argument("--quick", action="store_true", help="A tenth of the videos, a third of the rounds.")
    parser.add_argument("--interpret", action="store_true", help="Tiny, in Triton's interpreter on the CPU.")
    parser.add_argument("--json", type=Path, help="The file [default: benchmarks/results/gpu-NAME.json]")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if given.interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined
    else:
        os.environ.pop("TRITON_INTERPRET", None)
    from .checkout import use_checkout

    if given.what == "table":
        from . import table

        table.write()
        return 0
    use_checkout()
    try:
        from . import place as places
    except ModuleNotFoundError as error:
        print(f"make gpu-proof: {error}; pip install torch. Nothing was measured")
        return NO_GPU
    try:
        place = places.interpreter() if given.interpret else places.gpu()
    except places.Missing as reason:
        print(f"make gpu-proof: {reason}; nothing was measured (--interpret runs the script's logic)")
        return NO_GPU
    if given.quick:
        place = replace(place, videos=place.videos // 10, repeats=max(1, place.repeats // 3))
    if given.what == "part":
        from .parts import run_here

        given.json.write_text(json.dumps(run_here(given.name, place)))
        return 0
    return run(place, given)


def run(place: Any, given: argparse.Namespace) -> int:
    """All parts, or those named, into one file; 1 if one failed."""
    from .describe import describe
    from .parts import PARTS, run_apart, run_here
    from .table import RESULTS

    wanted = given.only.split(",") if given.only else list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        print(f"expected parts of {', '.join(PARTS)}; got {', '.join(unknown)}", file=sys.stderr)
        return 1
    machine = describe(place)
    path = given.json
    if path is None and not place.tiny:
        path = RESULTS / f"gpu-{re.sub('[^a-z0-9]+', '-', machine['gpu'].lower())}.json"
    parts = earlier(path, machine) if given.only else {}
    for name in wanted:
        print(f"== {name}", flush=True)
        entry = run_here(name, place) if place.tiny else run_apart(name, given.quick)
        for kind in ("missing", "failed"):
            if kind in entry:
                print(f"== {name} {kind}: {entry[kind]}", flush=True)
        parts[name] = {**entry, "quick": given.quick}
        # After every part, so that what was measured is there whatever comes next.
        if path is not None:
            ordered = {part: parts[part] for part in PARTS if part in parts}
            path.write_text(json.dumps({"format": 1, "machine": machine, "parts": ordered}, indent=1) + "\n")
    return int(any(problems(parts[name]) for name in wanted))


def earlier(path: Path | None, machine: dict[str, Any]) -> dict[str, Any]:
    """The parts of a file of the same GPU."""
    if path is None or not path.exists():
        return {}
    before = json.loads(path.read_text())
    return dict(before["parts"]) if before["machine"]["gpu"] == machine["gpu"] else {}


def problems(entry: dict[str, Any]) -> bool:
    """Whether a part failed: as a whole, or a check or a test in it. What is missing is no failure."""
    return "failed" in entry or any(
        record.get("failed") or record.get("sound") is False or record.get("status")
        for record in entry["records"]
        if record["name"].startswith(("check ", "GPU tests"))
    )


if __name__ == "__main__":
    sys.exit(main())
