"""Recall at k of both directions as a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vtr.errors import BackendError, UsageError
from vtr.evaluation.metrics import RECALLS, recall_curve
from vtr.evaluation.report import Evaluation
from vtr.files import check_writable

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = {"text_to_video": "#0b6e99", "video_to_text": "#d9730d"}
FURTHEST = 100  # k at the right end, if there are so many candidates


def check_plot(path: str | os.PathLike[str]) -> None:
    """Raise what :func:`plot_recall` would, before hours of work go into the figures."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a plot file ending in {', '.join(SUFFIXES)}; got {path}")
    check_writable(path)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BackendError("a plot needs matplotlib: pip install 'vtr[plot]'") from error


def plot_recall(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Draw R@k over k, with bars where R@1, R@5 and R@10 have intervals; the suffix chooses the format.

    Raises:
        BackendError: matplotlib is not installed.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, direction in enumerate(evaluation.directions):
        aside = 1.02 ** (number - (len(evaluation.directions) - 1) / 2)  # so that bars do not hide each other
        ks = np.arange(1, min(FURTHEST, direction.candidates) + 1)
        colour = COLOURS[direction.name]
        style = "--" if direction.dual_softmax else "-"
        axes.plot(ks, recall_curve(direction.ranks, ks), style, color=colour, label=direction.title)
        for k in RECALLS:
            if direction.intervals is None or k > ks[-1]:
                continue
            value = direction.metrics[f"R@{k}"]
            low, high = direction.intervals[f"R@{k}"]
            axes.errorbar(
                k * aside, value, [[max(0.0, value - low)], [max(0.0, high - value)]],
                color=colour, capsize=3, marker="o", markersize=4,
            )  # fmt: skip
    axes.set(xscale="log", xlabel="k", ylabel="R@k in %", ylim=(0, 101))
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= max(d.candidates for d in evaluation.directions)]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(f"{evaluation.protocol}: {evaluation.texts:,} captions, {evaluation.videos:,} videos")
    figure.savefig(path, dpi=150)
