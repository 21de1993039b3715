"""The table of docs/gpu.md, made from the files of results that are committed and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkout import ROOT
from .targets import TARGETS, Target

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "gpu.md"
BEGIN = "<!-- made by python -m benchmarks.gpu table -->"
END = "<!-- end of what is made -->"
NOT_YET = "not yet measured"

Result = Mapping[str, Any]


def results(folder: Path = RESULTS) -> list[Result]:
    """What `make gpu-proof` wrote, by name."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("gpu-*.json"))]


def render(found: Sequence[Result]) -> str:
    """Targets beside what was measured, then every record of each machine."""
    heads = [result["machine"]["gpu"] for result in found] or [NOT_YET]
    lines = [_row(["asked", "at least", "moonshot", *heads]), _row(["---"] * (3 + len(heads)))]
    for target in TARGETS:
        asked = [_bound(target, target.bound), _bound(target, target.moonshot)]
        cells = [_cell(target, result) for result in found] or [NOT_YET]
        lines.append(_row([target.title, *asked, *cells]))
    for result in found:
        lines += ["", *_details(result)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def _bound(target: Target, bound: float | None) -> str:
    if bound is None:
        return ""
    return f"{'at most ' if target.below else ''}{bound:g} {target.unit}"


def _cell(target: Target, result: Result) -> str:
    value = target.measured(_records(result))
    if value is None:
        return NOT_YET
    if target.moonshot is not None and target.reached(value, target.moonshot):
        verdict = "moonshot reached"
    else:
        verdict = "reached" if target.reached(value, target.bound) else "missed"
    return f"{value:.3g} {target.unit}: {verdict}"


def _records(result: Result) -> list[Mapping[str, Any]]:
    return [record for part in result["parts"].values() for record in part["records"]]


def _details(result: Result) -> list[str]:
    """Machine, checks in one line, what is missing, then a line for each record that was timed."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    driver = machine.get("nvidia_smi", {}).get("driver_version", "unknown")
    lines = [f"**{machine['gpu']}**, driver {driver}; {versions}.", ""]
    for name, part in result["parts"].items():
        for kind in ("missing", "failed"):
            if kind in part:
                lines += [f"- {name}: {kind}: {part[kind].splitlines()[0]}"]
    records = _records(result)
    checks = [record for record in records if record["name"].startswith("check ")]
    bad = [record["name"].removeprefix("check ") for record in checks if not record.get("sound")]
    if checks:
        verdict = f"all but {', '.join(bad)}" if bad else "all"
        lines += [f"- {len(checks)} kernels and shapes against float64: {verdict} within tolerance"]
    for record in records:
        if "passed" in record:
            lines += [f"- GPU tests: {record['passed']} passed, {len(record['failed'])} failed, "
                      f"{len(record['skipped'])} skipped"]  # fmt: skip
    rows = [_timed(record) for record in records if "ms" in record]
    if rows:
        head = ["what", "ms (p20–p80)", "GB/s", "of copying", "TFLOP/s", "of bf16 peak"]
        lines += ["", _row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return lines


def _timed(record: Mapping[str, Any]) -> list[str]:
    ms = record["ms"]
    cells = [record["name"], f"{ms['p50']:.4g} ({ms['p20']:.4g}–{ms['p80']:.4g})"]
    for amount, share in (("gb_s", "of_copy_gb_s"), ("tflops", "of_bf16_tflops")):
        cells += [f"{record[amount]:g}" if amount in record else ""]
        cells += [f"{record[share]:.0%}" if share in record else ""]
    return cells


def current(page: Path = PAGE) -> str:
    """What stands between the markers."""
    text = page.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def write(page: Path = PAGE, folder: Path = RESULTS) -> None:
    """Put the table between the markers."""
    text = page.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{render(results(folder))}\n\n{after}")
