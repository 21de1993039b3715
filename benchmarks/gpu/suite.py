"""Part "suite": the tests that need a GPU, counted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .checkout import ROOT
from .place import Missing, Place

TESTS = ROOT / "tests" / "gpu"


def measure(place: Place) -> Iterator[dict[str, Any]]:
    place.require_gpu()
    try:
        import pytest  # noqa: F401
    except ImportError as error:
        raise Missing("pytest is not installed: pip install pytest") from error
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environment = {**os.environ, "TRITON_INTERPRET": "0"}  # tests/conftest.py would have it interpret
        command = [sys.executable, "-m", "pytest", "-q", str(TESTS), f"--junitxml={report}"]
        done = subprocess.run(command, cwd=ROOT, env=environment)
        if not report.exists():
            raise RuntimeError(f"pytest ended with status {done.returncode} and no report")
        yield {"name": "GPU tests", "status": done.returncode, **counts(report.read_text())}


def counts(junit: str) -> dict[str, Any]:
    """Passed, failed and skipped tests of a JUnit file, with the names and reasons of the latter two."""
    found: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        skip = case.find("skipped")
        if problem is not None:
            found["failed"][name] = (problem.get("message") or "")[:300]
        elif skip is not None:
            found["skipped"][name] = (skip.get("message") or "")[:300]
        else:
            found["passed"] += 1
    return found
