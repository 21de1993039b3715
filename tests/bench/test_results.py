"""Files of results: written and read, refused where they are none, compared, and held against promises."""

import json

import pytest
from bench_cases import record, results, times
from click.testing import CliRunner

from vtr.benchmarks import case, compare, measure, promises
from vtr.benchmarks.cli import main
from vtr.benchmarks.results import check, read, write
from vtr.errors import UsageError


def saved(tmp_path, name, found):
    write(tmp_path / name, found)
    return tmp_path / name


# ---- the format --------------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path):
    found = results({"score": [record()], "memory": [{"name": "x", "figures": {"peak, MB": 3.5}}]})
    assert read(saved(tmp_path, "a.json", found)) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 1"),
        ({"threads": "2"}, "threads"),
        ({"threads": True}, "threads"),
        ({"cases": []}, "cases"),
        ({"cases": {"score": {}}}, "list of records"),
        ({"cases": {"score": [{"item": "pair"}]}}, "with a name"),
        ({"cases": {"score": [record(microseconds={"vtr": {"p50": 1.0}})]}}, "p20"),
        ({"cases": {"score": [record(microseconds={"vtr": times(1.0) | {"p80": "1"}})]}}, "p20"),
        ({"cases": {"score": [record(times_faster={"x": 3})]}}, "times_faster of x"),
        ({"cases": {"score": [record(settings={"videos": "ten"})]}}, "settings videos"),
        ({"cases": {"score": [record(check=[])]}}, "check"),
    ],
)
def test_other_files_are_refused(change, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**results(), **change}))
    with pytest.raises(UsageError, match=message) as raised:
        read(path)
    assert "a.json" in str(raised.value)


def test_what_is_no_json_is_refused(tmp_path):
    for content in ("{", "[1]", "null"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UsageError):
            read(tmp_path / "a.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "nowhere.json")


# ---- ratios ------------------------------------------------------------------------------------------


def test_ratios_are_of_neighbours():
    seconds = {"vtr": [1.0, 2.0, 3.0], "slow": [10.0, 20.0, 30.0], "like": [0.9, 2.1, 3.0]}
    found = case.ratios(seconds)
    assert set(found) == {"slow", "like"}
    assert found["slow"] == {"p20": 10.0, "p50": 10.0, "p80": 10.0, "clear": True}
    assert found["like"]["clear"] is False
    assert case.ratios({"slow": [1.0]}) == {}


@pytest.mark.parametrize("others", [[2.0, 2.2, 1.9], [0.5, 0.45, 0.6]])
def test_faster_and_slower_are_both_clear(others):
    assert case.ratios({"vtr": [1.0, 1.0, 1.0], "other": others})["other"]["clear"] is True


def test_rounds_go_a_b_a_b():
    order = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = measure.interleave(works, 3)
    assert order == list("ab" * 4) and [len(times) for times in seconds.values()] == [3, 3]


def test_a_turn_rests_and_warms_up():
    order, rested = [], []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure.time, "sleep", rested.append)
        measure.interleave(works, 2, pause=0.25)
        assert order == list("ab" + "aabb" * 2) and rested == [0.25] * 4
        measure.interleave({"a": works["a"]}, 2, pause=0.25)
    assert rested == [0.25] * 4  # nobody came before


# ---- comparing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (times(10), times(10), "same"),
        (times(10), times(13), "slower"),
        (times(13), times(10), "faster"),
        (times(10, 0.01), times(10.9, 0.01), "same"),  # within the slack of a tenth
        (times(10, 0.01), times(11.2, 0.01), "slower"),
        (times(10, 0.2), times(12.5, 0.2), "same"),  # the intervals meet: noise
    ],
)
def test_verdicts(before, after, verdict):
    assert compare.verdict(before, after, 0.1) == verdict


def compared(tmp_path, before, after, *options):
    a, b = (saved(tmp_path, f"{n}.json", found) for n, found in (("a", before), ("b", after)))
    return CliRunner().invoke(main, ["compare", str(a), str(b), *options])


def test_compare_ends_with_one_where_vtr_became_slower(tmp_path):
    slow = results({"score": [record(microseconds={"vtr": times(4.0), "PyTorch eager": times(100.0)})]})
    done = compared(tmp_path, results(), slow)
    assert done.exit_code == 1 and "slower" in done.output and "1 slower, 0 faster, 0 same" in done.output
    done = compared(tmp_path, slow, results())
    assert done.exit_code == 0 and "0 slower, 1 faster" in done.output
    assert compared(tmp_path, results(), slow, "--slack", "1.5").exit_code == 0


def test_a_slower_baseline_is_told_and_nothing_more(tmp_path):
    slow = results({"score": [record(microseconds={"vtr": times(2.0), "PyTorch eager": times(200.0)})]})
    done = compared(tmp_path, results(), slow)
    assert done.exit_code == 0 and "slower (baseline)" in done.output and "0 slower" in done.output


def test_a_variant_of_vtr_counts_as_vtr(tmp_path):
    before, after = (
        results({"score": [record(microseconds={"vtr fast": times(time)})]}) for time in (1.0, 2.0)
    )
    assert compared(tmp_path, before, after).exit_code == 1


def test_compare_names_what_differs_and_what_is_missing(tmp_path):
    other = results({"score": [record(microseconds={"vtr": times(2.0)})]}, threads=1)
    done = compared(tmp_path, results(), other)
    assert done.exit_code == 0 and "threads: 2 and 1" in done.output
    assert "only in the first: score, X, 10 videos, PyTorch eager" in done.output
    assert compared(tmp_path, results(), results({"score": []})).exit_code == 2


# ---- promises ----------------------------------------------------------------------------------------


def verdicts(found, **more):
    promise = promises.Promise(
        "score", "X", "PyTorch eager", **{"least": 60, "slack": 0.5, "where": "README", **more}
    )
    return [checked.verdict for checked in promises.check(found, [promise])]


def test_promises():
    assert verdicts(results()) == ["holds"]
    assert verdicts(results(), slack=0.9) == ["BROKEN"]
    assert verdicts(results({})) == ["not checked"]
    assert verdicts(results({"score": [record("Y, 10 videos")]})) == ["BROKEN"]  # renamed
    assert verdicts(results({"score": [record("Xs, 10 videos")]})) == ["BROKEN"]
    skipped = record(times_faster={}, skipped={"PyTorch eager": "torch is not installed"})
    assert verdicts(results({"score": [skipped]})) == ["not checked"]


def test_every_promise_of_the_documentation_has_its_case():
    from vtr.benchmarks import cases

    assert {promise.case for promise in promises.PROMISES} <= set(cases.MODULES) == set(cases.TITLES)
    assert all(promise.slack < 1 < promise.bound < promise.least for promise in promises.PROMISES)


def test_results_of_this_run_are_checked_before_they_are_written():
    with pytest.raises(UsageError):
        check(results(quick=None), "these")
