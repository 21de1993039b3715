"""Runs of the recipe and the table of their results: what is refused; figures and intervals of results made
by hand."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from vtr.errors import UsageError
from vtr.training.mini.measure import measure
from vtr.training.mini.recipe import HEADS, RECORD, STAGES, Recipe
from vtr.training.mini.table import interval, recalled, table, with_interval

ROOT = Path(__file__).parents[2]


def run(*ranks: int) -> dict:
    return {"text_to_video": {"ranks": " ".join(map(str, ranks))}, "float32": {"R@1": 12.5}}


def results(**heads: list) -> dict:
    filled = {name: heads.get(name.replace("-", "_"), [run(9, 9, 9, 9)] * 2) for name in HEADS}
    return {"runs": [{"seed": 4}, {"seed": 7}], "sets": {"combinations": {"clips": 4, "heads": filled}}}


def test_figures_are_means_over_runs():
    lines = list(table(results(ea=[run(1, 1, 5, 11), run(1, 2, 3, 4)])))
    assert lines[0] == "Runs: 2 (seed 4, 7)."
    (row,) = (line for line in lines if line.startswith("| ea |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1].startswith("37.5 (") and cells[2:] == ["12.5", "87.5"]
    (claim,) = (line for line in lines if line.startswith("| excitation"))
    assert "| +37.5 (" in claim


def test_recall_counts_the_first_k_of_every_run():
    runs = [run(1, 3, 10, 11), run(2, 1, 1, 12)]
    assert recalled(runs, 1).tolist() == [[1, 0, 0, 0], [0, 1, 1, 0]]
    assert recalled(runs, 10).mean() == 0.75


def test_the_interval_of_one_run_is_that_of_its_captions():
    found = (np.arange(1000) % 2).astype(float)[None]
    low, high = interval(found)
    error = 1.96 * 0.5 / np.sqrt(1000)  # of a mean of fair coins
    assert low == pytest.approx(0.5 - error, abs=0.004) and high == pytest.approx(0.5 + error, abs=0.004)


def test_runs_that_differ_widen_the_interval():
    alike = np.tile(np.arange(1000) % 2, (3, 1)).astype(float)
    apart = np.stack([np.arange(1000) % 10 < share for share in (2, 5, 8)]).astype(float)
    assert alike.mean() == pytest.approx(apart.mean(), abs=0.01)
    (low, high), (lower, higher) = interval(alike), interval(apart)
    assert higher - lower > 5 * (high - low)
    assert (lower, higher) == pytest.approx((0.2, 0.8), abs=0.11)


def test_a_difference_of_equals_is_nothing():
    runs = [run(1, 2, 1, 2)] * 3
    assert with_interval(recalled(runs, 1) - recalled(runs, 1), "+.1f") == "+0.0 (+0.0 to +0.0)"


def test_a_run_goes_on_as_it_began(tmp_path):
    given = {name: asdict(stage) for name, stage in STAGES.items()}
    (tmp_path / RECORD).write_text(json.dumps({"seed": 3, "stages": given}))
    with pytest.raises(UsageError, match="a run goes on as it began"):
        Recipe(tmp_path, seed=4).run()
    longer = STAGES | {"clips": replace(STAGES["clips"], steps=1)}
    with pytest.raises(UsageError, match="'steps': 1,"):
        Recipe(tmp_path, seed=3, stages=longer).run()


def test_a_run_is_measured_once(tmp_path):
    made = {"seed": 0, "stages": {}}
    (tmp_path / RECORD).write_text(json.dumps(made))
    with pytest.raises(UsageError, match="not measured yet"):
        measure([tmp_path], tmp_path / "sets", {"runs": [{"seed": 1, "stages": {}}, made], "sets": {}})


def test_the_pages_say_what_was_measured():
    """The tables of all runs, and in the README what the run that ships finds: the first one."""
    results = json.loads((ROOT / "training/mini/results.json").read_text(encoding="utf-8"))
    assert "\n".join(table(results)) in (ROOT / "training/README.md").read_text(encoding="utf-8")
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    first, ten = re.search(
        r"right one first for (\d+) of 100 captions and among the first ten for (\d+)", text
    ).groups()
    other, other_ten = re.search(r"in a drawing style that it never saw, (\d+) and (\d+)", text).groups()
    said = {"combinations": (first, ten), "style": (other, other_ten)}
    for name, found in results["sets"].items():
        shipped = found["heads"]["xclip"][:1]
        assert said[name] == tuple(f"{100 * recalled(shipped, k).mean():.0f}" for k in (1, 10)), name
