"""The table of the built-in models and what the papers claim, in Markdown, from the results of `measure`.

``python -m vtr.training.mini.table RESULTS.json``. All figures are means over the runs. Their intervals come
from a bootstrap over runs and captions: each of `RESAMPLES` draws takes as many runs and captions as there
are, with replacement, the same for all heads, so that a difference of two heads has an interval of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..command import command

RESAMPLES = 4000
CLAIMS = (  # a head, the one that its paper compares it with, and how this is told
    ("ea", "clip4clip", "excitation and aggregation over mean pooling (EA-CLIP4Clip)"),
    ("teachclip", "clip4clip-seq", "attentional aggregation over the mean of the same frames (TeachCLIP)"),
    ("tcmgc", "xclip", "TC-MGC over X-CLIP"),
)


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """For each set a line a head, then what each claim comes to."""
    heads = next(iter(results["sets"].values()))["heads"]
    seeds = ", ".join(str(run["seed"]) for run in results["runs"])
    yield f"Runs: {len(results['runs'])} (seed {seeds})."
    yield ""
    columns = [f"{name} {figure}" for name in results["sets"] for figure in ("R@1", "float32", "R@10")]
    yield f"| head | {' | '.join(columns)} |"
    yield f"|{' --- |' * (1 + len(columns))}"
    for head in heads:
        yield f"| {head} | {' | '.join(_cells(results, head))} |"
    yield ""
    yield f"| claim | {' | '.join(results['sets'])} |"
    yield f"|{' --- |' * (1 + len(results['sets']))}"
    for head, other, told in CLAIMS:
        differences = (
            recalled(found["heads"][head], 1) - recalled(found["heads"][other], 1)
            for found in results["sets"].values()
        )
        yield f"| {told} | {' | '.join(with_interval(found, '+.1f') for found in differences)} |"


def _cells(results: Mapping[str, Any], head: str) -> Iterator[str]:
    for found in results["sets"].values():
        runs = found["heads"][head]
        yield with_interval(recalled(runs, 1))
        yield f"{np.mean([run['float32']['R@1'] for run in runs]):.1f}"
        yield f"{100 * recalled(runs, 10).mean():.1f}"


def recalled(runs: Sequence[Mapping[str, Any]], k: int) -> NDArray[np.float64]:
    """Whether the right clip was among the first ``k``, of each run and caption, ``[R, Q]``."""
    ranks = np.array([run["text_to_video"]["ranks"].split() for run in runs]).astype(int)
    return (ranks <= k).astype(float)


def with_interval(found: NDArray[np.float64], form: str = ".1f") -> str:
    """The mean of ``found [R, Q]`` in percent and its 95 % interval."""
    low, high = interval(found)
    return f"{100 * found.mean():{form}} ({100 * low:{form}} to {100 * high:{form}})"


def interval(found: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of ``found [R, Q]``, had runs and captions been others."""
    draw = np.random.default_rng(seed)
    runs, captions = (
        draw.multinomial(count, np.full(count, 1 / count), resamples) / count for count in found.shape
    )
    low, high = np.percentile(((runs @ found) * captions).sum(1), [2.5, 97.5])
    return float(low), float(high)


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vtr.training.mini.table", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("results", type=Path, help="JSON file that `measure` wrote")
    given = parser.parse_args(arguments)
    print("\n".join(table(json.loads(given.results.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    sys.exit(main())
