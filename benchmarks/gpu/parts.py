"""The parts of the proof, and how one is run: its records, or in words why it has none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from vtr.errors import BackendError

from .place import Missing, Place

# In this order; each is a module of benchmarks.gpu, here with seconds that it may take.
PARTS = {
    "suite": 900,
    "checks": 600,
    "search": 600,
    "against": 900,
    "pooling": 600,
    "holistic": 300,
    "libvtr": 900,
    "encoders": 900,
    "decoding": 600,
}

Entry = dict[str, Any]  # seconds, ceilings, records, and "missing" or "failed" in words


def run_here(name: str, place: Place) -> Entry:
    """Run a part in this process. Records that came before a failure are kept."""
    from .ceilings import ceilings

    entry: Entry = {"records": []}
    start = time.monotonic()
    try:
        place.ceilings.update(ceilings(place))
        entry["ceilings"] = dict(place.ceilings)
        for record in import_module(f"{__package__}.{name}").measure(place):
            entry["records"].append(record)
            print(json.dumps(record), flush=True)
    except Missing as reason:
        entry["missing"] = str(reason)
    except BackendError as reason:  # names the package and its install command
        entry["missing"] = str(reason)
    except ModuleNotFoundError as reason:
        own = (reason.name or "").split(".")[0] in ("vtr", "benchmarks")
        entry["failed" if own else "missing"] = f"not installed: {reason}"
    except Exception as problem:  # whatever a part or a library raises is its result
        traceback.print_exc()
        entry["failed"] = f"{type(problem).__name__}: {problem}"[:1000]
    entry["seconds"] = round(time.monotonic() - start, 1)
    return entry


def run_apart(name: str, quick: bool) -> Entry:
    """Run a part in a process of its own: after some errors a GPU does nothing more in a process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "entry.json"
        command = [sys.executable, "-m", str(__package__), "part", name, "--json", str(out)]
        # In a session of its own, so that what it started ends with it: a suite's tests would go on.
        with subprocess.Popen(command + ["--quick"] * quick, start_new_session=True) as process:
            try:
                status = process.wait(PARTS[name])
            except BaseException as error:  # Ctrl-C too
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return {"records": [], "failed": f"took longer than {PARTS[name]} seconds"}
        if not out.exists():
            return {"records": [], "failed": f"its process ended with status {status}"}
        entry: Entry = json.loads(out.read_text())
        return entry
