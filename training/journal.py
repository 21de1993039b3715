"""A run's record: ``log.jsonl``, a line for every few steps; ``curves.png`` where matplotlib is installed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = "log.jsonl"
CURVES = "curves.png"
TERMS = ("loss", "contrast", "sdr", "correlation", "frames")  # of the loss, by the end of their names


class Journal:
    """Averages what steps report and appends it to the log.

    A resumed run continues the log after the step it resumes from: later lines, of work that is done again,
    are dropped.
    """

    def __init__(self, folder: Path, step: int, every: int):
        self._path = folder / LOG
        self._every = every
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._steps = 0
        lines = read_log(self._path) if step else []
        kept = [line for line in lines if line["step"] <= step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def add(self, step: int, values: Mapping[str, float], clips: int, seconds: float, last: bool) -> None:
        """Note one step's ``values``; ``seconds`` is what it took, ``clips`` how many it saw."""
        for name, value in {**values, "clips": clips, "seconds": seconds}.items():
            self._sums[name] += value
        self._steps += 1
        if step % self._every == 0 or last:
            clips_per_second = self._sums.pop("clips") / max(self._sums.pop("seconds"), 1e-9)
            means = {name: total / self._steps for name, total in self._sums.items()}
            self.write({"step": step, **means, "clips_per_s": clips_per_second})
            self._sums.clear()
            self._steps = 0

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line; numbers with six digits."""
        rounded = {
            name: float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
            for name, value in line.items()
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line that was cut off is passed over."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def draw_curves(folder: Path) -> None:
    """Loss terms and validation over the steps; nothing where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    lines = read_log(folder / LOG)
    shown = {"loss": _curves(lines, lambda name: name.rpartition(".")[2] in TERMS)}
    if validated := _curves(lines, lambda name: name.startswith("validation.")):
        shown["validation"] = validated
    figure = Figure(figsize=(9, 3 + 3 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (label, curves) in zip(axes, shown.items(), strict=True):
        for name, points in curves.items():
            axis.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 50 else None)
        if curves:
            axis.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        axis.set_ylabel(label)
    axes[-1].set_xlabel("step")
    figure.savefig(folder / CURVES, dpi=100)


def _curves(lines: list[dict[str, Any]], wanted: Any) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        for name, value in line.items():
            if wanted(name) and isinstance(value, float):
                curves[name].append((line["step"], value))
    return curves
