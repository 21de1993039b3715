"""`make gpu-proof` without a GPU: its logic in Triton's interpreter, its counts, its table."""

import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks.gpu import parts, suite, table, timing, work  # noqa: E402
from benchmarks.gpu.__main__ import main  # noqa: E402
from benchmarks.gpu.place import Missing, Place, gpu, interpreter  # noqa: E402
from benchmarks.gpu.targets import TARGETS, Target  # noqa: E402

ROOT = Path(__file__).parents[2]
CEILINGS = {"copy_gb_s": 4000.0, "bf16_tflops": 800.0}


# ---- the script --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    pytest.importorskip("triton", reason="no Triton: pip install 'vtr[gpu]'")
    path = tmp_path_factory.mktemp("proof") / "proof.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--interpret", "--json", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(path.read_text())


def test_every_part_runs_or_says_what_it_needs(interpreted):
    assert list(interpreted["parts"]) == list(parts.PARTS)
    missing = {name for name, part in interpreted["parts"].items() if "missing" in part}
    assert missing == {"suite", "libvtr", "encoders", "decoding"}
    for name, part in interpreted["parts"].items():
        assert part["ceilings"].keys() == CEILINGS.keys() and "failed" not in part
        assert (name in missing) == (part["records"] == []), name
    assert all(interpreted["parts"][name]["missing"] == "needs a GPU" for name in missing)


def test_every_kernel_is_sound_in_the_interpreter(interpreted):
    checks = interpreted["parts"]["checks"]["records"]
    assert len(checks) == 18 and all(check["sound"] for check in checks)


def test_on_a_gpu_every_shape_is_one_that_kernels_take():
    """Each check's model can be described to the kernels; they run on a GPU alone."""
    from benchmarks.gpu.checks import checks, shapes

    from vtr.kernels.config import Spec

    large = Place(torch.device("cuda"), tiny=False)
    names = [check.name for check in checks(large)]
    assert len(names) == len(set(names)) > 60
    for shape in shapes(large):
        for storage in ("fp16", "bf16"):
            Spec("xclip", shape.frames, shape.words, shape.dim, 1, storage)
            for keep in shape.keeps:
                Spec("tcmgc", shape.frames, shape.words, shape.dim, keep, storage)


def test_targets_are_records_of_the_script(interpreted):
    """Those that are too large for the interpreter have the same names but for K and the number of texts."""
    records = [record for part in interpreted["parts"].values() for record in part["records"]]
    for target in TARGETS:
        if target.record.startswith("encode"):  # tests/bench/test_gpu_parts.py
            continue
        name = target.record.replace("k22", "k3").replace("64 texts", "2 texts")
        value = Target("", name, target.field, 0, None, target.unit, target.below).measured(records)
        assert value is not None and value >= 0, target


def test_the_table_of_a_run(interpreted):
    text = table.render([interpreted])
    assert "| TC-MGC, K = 22, 1 text: of copy bandwidth | 30 % | 60 % | not yet measured |" in text
    assert "18 kernels and shapes against float64: all within tolerance" in text
    assert "- libvtr: missing: needs a GPU" in text and "| pool afa | " in text


@pytest.fixture
def main_here(monkeypatch):
    """The command in this process, for what ends before a kernel is imported."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # put back, whatever the command makes of it

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *arguments])
        return main()

    return call


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(main_here, capsys):
    assert main_here() == 2
    assert "no GPU that PyTorch can use; nothing was measured" in capsys.readouterr().out
    with pytest.raises(Missing):
        gpu()


def test_a_part_that_is_none(main_here, capsys):
    assert main_here("--interpret", "--only", "checks,speed") == 1
    assert "expected parts of suite, checks" in capsys.readouterr().err


# ---- parts -------------------------------------------------------------------------------------------


@pytest.fixture
def run_part(monkeypatch):
    """Runs a made-up part at tiny sizes."""

    def run(measure):
        module = types.ModuleType("benchmarks.gpu.made_up")
        module.measure = measure
        monkeypatch.setitem(sys.modules, "benchmarks.gpu.made_up", module)
        return parts.run_here("made_up", interpreter())

    return run


def test_what_was_measured_before_a_failure_is_kept(run_part, capsys):
    def measure(place):
        yield {"name": "one"}
        raise ValueError("the device is gone")

    entry = run_part(measure)
    assert entry["records"] == [{"name": "one"}] and entry["failed"] == "ValueError: the device is gone"
    assert "missing" not in entry and entry["ceilings"].keys() == CEILINGS.keys()


@pytest.mark.parametrize(
    "error, kind",
    [
        (Missing("no decoder"), "missing"),
        (ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"), "missing"),
        (ModuleNotFoundError("No module named 'vtr._core'", name="vtr._core"), "failed"),
        (ModuleNotFoundError("No module named 'vtr.lost'", name="vtr.lost"), "failed"),
        (ImportError("cannot import name"), "failed"),
    ],
)
def test_a_missing_library_is_told_from_a_mistake(error, kind, run_part, capsys):
    def measure(place):
        raise error
        yield

    entry = run_part(measure)
    assert str(error) in entry[kind] and not entry["records"]


def test_tests_are_counted():
    found = suite.counts(
        """<testsuites><testsuite>
        <testcase classname="a" name="one"/>
        <testcase classname="a" name="two"><failure message="no"/></testcase>
        <testcase classname="b" name="three"><skipped message="no TensorRT"/></testcase>
        <testcase classname="b" name="four"><error message="fixture"/></testcase>
        </testsuite></testsuites>"""
    )
    assert found == {
        "passed": 1,
        "failed": {"a::two": "no", "b::four": "fixture"},
        "skipped": {"b::three": "no TensorRT"},
    }


# ---- bytes and operations ----------------------------------------------------------------------------


def product(rows, inner, columns):
    """Operations of one matrix product."""
    return sum(2 for _ in range(rows) for _ in range(columns)) * inner


@pytest.mark.parametrize("F, L, D", [(12, 32, 512), (5, 20, 192), (1, 2, 16)])
def test_counts_are_those_of_the_arrays(F, L, D):
    half, single = torch.float16.itemsize, torch.float32.itemsize
    frames, gram = torch.empty(7, F, D), torch.empty(7, 3 * F + 3, F)
    assert work.tcmgc_bytes(7, F, D) == frames.numel() * half + gram.numel() * single
    assert work.xclip_bytes(7, F, D) == (frames.numel() + 7 * D) * half
    assert work.holistic_bytes(7, D) == 7 * D * half
    assert work.pool_bytes(7, F, D) == frames.numel() * half + (7 * D + 2 * 7 * F) * single
    assert work.pool_bytes(7, F, D, masked=False) == work.pool_bytes(7, F, D) - 7 * F * single
    assert work.excite_bytes(7, F, D) == 2 * frames.numel() * half
    pairs = 3 * 7
    assert work.tcmgc_flop(3, 7, F, L, D) == pairs * 3 * (product(L, D, F) + product(1, D, F))
    assert work.xclip_flop(3, 7, F, L, D) == pairs * (product(L + 1, D, F) + product(L + 1, D, 1))
    assert work.holistic_flop(3, 7, D) == pairs * product(1, D, 1)
    assert work.afa_flop(7, F, D, 64) == 7 * (product(F, D, 64) + product(F, 64, 1))
    assert work.gram_flop(7, F, D) == 7 * (product(F, D, D) + 3 * product(F, D, F))


def test_operations_of_a_vision_transformer():
    """Counted by PyTorch on the reference tower itself, attention in its plain form, which it can count."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    sizes = {"dim": 64, "vision_width": 128, "layers": 2, "image": 64, "patch": 16}
    tower = build_model(random_checkpoint("clip4clip", vocab=97, context=32, **sizes)).encode_vision
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        tower(torch.zeros(2, 3, 64, 64, 3, dtype=torch.uint8), torch.ones(2, 3))
    assert work.vit_flop(6, 64, 16, 128, 2, 64) == counter.get_total_flops()


def test_fractions_of_the_ceilings():
    place = Place(torch.device("cpu"), tiny=False, ceilings=CEILINGS)
    figures = timing.speed([0.003, 0.002, 0.004], place, moved=6e9, flop=1.2e12)
    assert figures["ms"]["p50"] == 3 and figures["ms"]["p20"] == pytest.approx(2.4)
    assert figures["gb_s"] == 2000 and figures["of_copy_gb_s"] == 0.5
    assert figures["tflops"] == 400 and figures["of_bf16_tflops"] == 0.5


def test_cases_take_turns():
    calls = []
    place = Place(torch.device("cpu"), tiny=False, repeats=3, least=0.0)
    seconds = timing.interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, place)
    assert "".join(calls) == "aabb" + "ab" * 3  # each warms up twice
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


# ---- the table ---------------------------------------------------------------------------------------

ASKED = Target("t", "search 1 texts", "of_copy_gb_s", 60, 85)


def result(*records, **parts):
    machine = {"gpu": "Some GPU", "versions": {"torch": "2.11"}, "nvidia_smi": {"driver_version": "1"}}
    return {"machine": machine, "parts": {"search": {"records": list(records)}, **parts}}


@pytest.mark.parametrize(
    "target, value, cell",
    [
        (ASKED, 0.59, "59 %: missed"),
        (ASKED, 0.6, "60 %: reached"),
        (ASKED, 0.85, "85 %: moonshot reached"),
        (Target("t", "search *", "of_copy_gb_s", 5, 3.5, "ms", below=True), 5.1, "5.1 ms: missed"),
        (Target("t", "search *", "of_copy_gb_s", 5, 3.5, "ms", below=True), 4.9, "4.9 ms: reached"),
        (Target("t", "search *", "of_copy_gb_s", 100, None, "×"), 140, "140 ×: reached"),
        (Target("t", "other", "of_copy_gb_s", 5, None), 1, "not yet measured"),
    ],
)
def test_a_cell(target, value, cell):
    assert table._cell(target, result({"name": "search 1 texts", "of_copy_gb_s": value})) == cell


def test_the_best_of_several_records_counts():
    records = [{"name": f"encode {n}", "ms": {"p50": n}} for n in (3, 1, 2)] + [
        {"name": "encode", "failed": ""}
    ]
    assert Target("", "encode *", "ms/p50", 0, None, "×").measured(records) == 3
    assert Target("", "encode *", "ms/p50", 0, None, "ms", below=True).measured(records) == 1


def test_failures_are_in_the_table():
    text = table.render(
        [
            result(
                {"name": "check topk", "sound": True},
                {"name": "check afa", "sound": False},
                {"name": "check gram", "failed": "RuntimeError"},
                {"name": "GPU tests", "passed": 4, "failed": {"x": ""}, "skipped": {}},
                decoding={"records": [], "failed": "took longer than 9 seconds"},
            )
        ]
    )
    assert "3 kernels and shapes against float64: all but afa, gram within tolerance" in text
    assert "4 passed, 1 failed, 0 skipped" in text
    assert "- decoding: failed: took longer than 9 seconds" in text
    assert f"| {TARGETS[0].title} | 60 % | 85 % | not yet measured |" in text


def test_without_results_the_table_says_so():
    lines = table.render([]).splitlines()
    assert len(lines) == 2 + len(TARGETS) and all(
        "not yet measured" in line for line in [lines[0], *lines[2:]]
    )


def test_the_page_holds_what_the_committed_results_give():
    assert table.current() == table.render(table.results())


def test_writing_changes_only_what_is_between_the_markers(tmp_path):
    page = tmp_path / "gpu.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    (tmp_path / "gpu-some.json").write_text(json.dumps(result()))
    (tmp_path / "scoring.json").write_text("{}")
    table.write(page, tmp_path)
    assert page.read_text().startswith(
        f"before\n{table.BEGIN}\n\n| asked | at least | moonshot | Some GPU |\n"
    )
    assert page.read_text().endswith(f"\n\n{table.END}\nafter\n") and "old" not in page.read_text()


# ---- a checkout --------------------------------------------------------------------------------------


def test_a_checkout_that_is_not_installed(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from importlib.util import find_spec\n"
        "from benchmarks.gpu.checkout import use_checkout; assert find_spec('vtr') is None; use_checkout()\n"
        "for name in ('vtr', 'vtr.kernels', 'vtr.export'): print(find_spec(name).origin)"
    )
    command = [sys.executable, "-S", "-E", "-c", script]  # no site-packages: vtr is not installed
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    folders = ("python/vtr", "kernels", "export")
    assert done.stdout.split() == [str(ROOT / folder / "__init__.py") for folder in folders], done.stderr


def test_what_fits_in_the_interpreter():
    assert interpreter().fitting(17, 1 << 60) == 17
    assert math.prod(interpreter().texts) <= 2, "the interpreter takes a second a text"
