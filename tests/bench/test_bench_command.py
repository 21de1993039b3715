"""`vtr-bench` as a user types it: whole runs with tiny sizes, failing cases, missing libraries."""

import os
import subprocess
import sys

import numpy as np
import pytest
from support import run_command

from vtr.benchmarks import cases, ceilings, cli, suite
from vtr.benchmarks.case import Case, Disagreement, Measurement
from vtr.benchmarks.cases import score
from vtr.benchmarks.results import read
from vtr.benchmarks.tables import tables
from vtr.errors import BackendError
from vtr.files import user_cache

TINY = (
    score.Setting("tcmgc", 3, 1, 40),
    score.Setting("xclip", 0, 2, 30),  # with several texts: followed by a measurement of making them ready
    score.Setting("holistic", 0, 1, 50),
    score.Setting("tcmgc", 3, 1, 70, alone=True),
)


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """`vtr-bench` with small ceilings; threads as before when the test ends."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("VTR_TEST_VIDEOS", str(tmp_path / "none"))
    monkeypatch.setattr(ceilings, "SIDE", 32)
    monkeypatch.setattr(ceilings, "BYTES", 1 << 16)
    monkeypatch.setattr(score, "QUICK", TINY)
    monkeypatch.setattr(score, "DIFFERENT", 35)  # so that the growing bank repeats its videos
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None

    def run(*arguments, status=0):
        return run_command(cli.main, *arguments, status=status).output

    yield run
    if torch:
        torch.set_num_threads(threads)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom vtr.benchmarks.cli import main\n"
        "for arguments in (['--help'], ['run', '--help'], ['compare', '--help']):\n"
        "    try: main(arguments)\n    except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'onnxruntime', 'openvino', 'av', 'faiss', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
    assert all(name in output for name in cases.MODULES)


def test_a_whole_run_of_one_case(bench, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    output = bench("score", "--quick", "--threads", 1, "--json", tmp_path / "a.json")
    found = read(tmp_path / "a.json")
    assert found["threads"] == 1 and found["quick"] and set(found["cases"]) == {"score"}
    assert set(found["ceilings"]) == set(ceilings.UNITS)
    assert {"vtr", "numpy", "torch"} <= set(found["versions"])
    records = found["cases"]["score"]
    ready = records.pop(2)
    assert ready["name"] == "making texts ready, X-CLIP, 2 texts" and ready["item"] == "text"
    assert [record["name"] for record in records] == [setting.name for setting in TINY]
    for record in records:
        assert record["name"] in output
        assert record["microseconds"]["vtr"]["p50"] > 0 and record["check"]
    assert set(records[0]["microseconds"]) == {"vtr", "vtr fast", "PyTorch eager", "MaxSim, another model"}
    assert set(records[0]["skipped"]) == {"PyTorch compiled"}
    assert set(records[3]["microseconds"]) == {"vtr"}
    assert "threads of every contender: 1" in output and "left out" in output and "PyTorch compiled" in output


def test_without_torch_contenders_are_skipped_by_name(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    bench("score", "--quick", "--threads", 1, "--json", tmp_path / "a.json")
    found = read(tmp_path / "a.json")
    assert "bf16_tflops" not in found["ceilings"] and found["ceilings"]["fp32_tflops"] > 0
    for record in found["cases"]["score"]:
        assert set(record["microseconds"]) <= {"vtr", "vtr fast"}
    assert "torch is not installed" in found["cases"]["score"][0]["skipped"]["PyTorch eager"]
    assert "faiss is not installed" in found["cases"]["score"][3]["skipped"]["FAISS flat"]


def test_a_wrong_result_is_never_timed(bench, monkeypatch):
    monkeypatch.setattr(score, "BOUNDS", {"vtr": 0.0, "vtr fast": 0.0})
    output = bench("score", "--quick", "--threads", 1, status=1)
    assert "failed: Disagreement" in output and "median" not in output


def fake(monkeypatch, works):
    """Replace all cases by made-up ones: name → what `prepare` does."""
    monkeypatch.setattr(cases, "MODULES", dict.fromkeys(works, ""))
    monkeypatch.setattr(cases, "load", lambda name: Case(name, works[name]))


def timed(context):
    yield Measurement("x", "call", 2, {"vtr": lambda: np.ones(3).sum(), "other": lambda: np.ones(9).sum()})


def failing(context):
    yield from timed(context)
    raise Disagreement("1 is not 2")


def lacking(error):
    def prepare(context):
        raise error
        yield

    return prepare


def test_a_case_that_fails_does_not_stop_the_others(bench, monkeypatch, tmp_path):
    fake(monkeypatch, {"first": failing, "second": timed})
    output = bench("--quick", "--threads", 1, "--json", tmp_path / "a.json", status=1)
    assert "Disagreement: 1 is not 2" in output
    found = read(tmp_path / "a.json")
    assert set(found["cases"]) == {"second"} and found["failed"] == {"first": "Disagreement: 1 is not 2"}
    record = found["cases"]["second"][0]
    assert set(record["times_faster"]) == {"other"} and tables([record])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "skipped"),
        (BackendError("no encoder backend is installed"), "skipped"),
        (ModuleNotFoundError("No module named 'vtr.benchmarks.x'", name="vtr.benchmarks.x"), "failed"),
    ],
)
def test_what_is_not_installed_skips_a_case_by_name(bench, monkeypatch, tmp_path, error, kind):
    fake(monkeypatch, {"first": lacking(error), "second": timed})
    output = bench(
        "--quick", "--threads", 1, "--json", tmp_path / "a.json", status=0 if kind == "skipped" else 1
    )
    assert f"{kind}: " in output and str(error) in output
    assert set(read(tmp_path / "a.json")[kind]) == {"first"}


def test_check_ends_with_one_where_a_promise_is_broken(bench, monkeypatch):
    from vtr.benchmarks import promises

    fake(monkeypatch, {"score": timed})
    kept = promises.Promise("score", "x", "other", least=1e-6, slack=0.5, where="here")
    broken = promises.Promise("score", "x", "other", least=1e6, slack=0.5, where="here")
    monkeypatch.setattr(promises.check, "__defaults__", ([kept],))
    assert "holds" in bench("--quick", "--threads", 1, "--check")
    monkeypatch.setattr(promises.check, "__defaults__", ([kept, broken],))
    assert "BROKEN" in bench("--quick", "--threads", 1, "--check", status=1)
    bench("--quick", "--threads", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no case 'nothing'"),
        (["score", "--json", "nowhere/a.json"], "nowhere"),
        (["score", "--videos", "nowhere"], "nowhere"),
        (["compare", "a.json"], "does not exist"),
        (["score", "--threads", "0"], "threads"),
    ],
)
def test_mistakes_get_one_clear_line(bench, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = bench(*arguments, status=2)
    assert message in output and "Traceback" not in output


def test_videos_are_found_below_a_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "clip.mp4").write_bytes(b"")
    assert [path.name for path in cli.files(tmp_path)] == ["clip.mp4"]
    monkeypatch.setenv("VTR_TEST_VIDEOS", str(tmp_path / "nowhere"))
    assert cli.files(None) == []


@pytest.mark.parametrize("before", [None, "/somewhere"])
def test_a_run_has_a_cache_of_its_own(monkeypatch, tmp_path, before):
    if before is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", before)
    with pytest.raises(Disagreement), suite.own_cache(tmp_path):
        assert user_cache() == tmp_path / "vtr"
        raise Disagreement("a case failed")
    assert os.environ.get("XDG_CACHE_HOME") == before
