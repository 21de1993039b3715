"""Planning in a process of its own, which may crash, hang or be interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
import stand_in_tensorrt
from onnx import TensorProto, helper

from vtr.encoders import tensorrt_apart
from vtr.encoders.tensorrt_apart import plan_apart
from vtr.encoders.tensorrt_build import Library, plan_here
from vtr.errors import BackendError

PATIENCE = 60  # seconds, of machines that are busy with other things


@pytest.fixture
def graph(tmp_path):
    """A graph of one addition."""
    rows = ["batch", 4]
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Add", ["x", "x"], ["y"])],
            "double",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows)],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    path = tmp_path / "text.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(source, name)`` → that library, by a module of this source in the other process."""

    def write(source, name="tensorrt_rtx"):
        folder = tmp_path / "modules"
        folder.mkdir()
        (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        return Library(name, None)

    return write


def stand_in_source(name):
    """A module that is the stand-in."""
    return f"import stand_in_tensorrt, sys\nsys.modules[{name!r}] = stand_in_tensorrt.make_module({name!r})\n"


def runs(process):
    """Whether a process of this number is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def waited(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


# ---- plans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timings", [None, b"", b"known\n\0"])
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_the_plan_and_the_timings_are_those_made_here(graph, module, gpu, name, timings):
    library = module(stand_in_source(name), name)
    expected = plan_here(Library(name, stand_in_tensorrt.make_module(name)), graph, 89, 1, timings)
    assert plan_apart(library, graph, 89, 1, timings) == expected
    assert expected[1] == (None if timings is None else timings + b"+")


def test_a_real_plan(graph):
    module = pytest.importorskip("tensorrt_rtx", reason="no tensorrt_rtx: pip install tensorrt-rtx-cu13")
    plan, timings = plan_apart(library := Library("tensorrt_rtx", module), graph, 89, 1, None)
    assert len(plan) > 1000 and timings is None
    with pytest.raises(BackendError, match="not for sm_90: pip install tensorrt"):
        plan_apart(library, graph, 90, 1, None)
    proto = onnx.load(str(graph))
    proto.graph.node[0].op_type = "NoSuchOperator"
    graph.write_bytes(proto.SerializeToString())
    with pytest.raises(BackendError, match=r"TensorRT-RTX cannot read .*text\.onnx.*NoSuchOperator"):
        plan_apart(library, graph, 89, 1, None)


# ---- what can go wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"ended by SIGSEGV: export the bundle again"),
        ("os.kill(os.getpid(), signal.SIGABRT)", r"ended by SIGABRT: export"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"ended by SIGKILL, as where memory runs out"),
        ("os._exit(3)", "ended with status 3 and no plan"),
        ("os._exit(0)", "ended with status 0 and no plan"),
        ("raise MemoryError('of the stand-in')", "cannot plan .*MemoryError: of the stand-in"),
        ("print('chatter'); raise ValueError('no protocol buffer')", "ValueError: no protocol buffer"),
    ],
)
def test_a_crash_is_an_error(graph, module, source, message):
    """The module's parser is what crashes: it is looked for once the process has its orders."""
    library = module(f"import os, signal\ndef __getattr__(name):\n    {source}\n")
    with pytest.raises(BackendError, match=message) as error:
        plan_apart(library, graph, 89, 1, None)
    assert "text.onnx" in str(error.value)


@pytest.mark.parametrize(
    "answer",
    [b"", b"5\n", b"not JSON\n", b'{"plan": 4, "timings": null}\nabc', b'{"plan": 1, "timings": 3}\nabc'],
)
def test_an_answer_that_is_not_whole_is_none(answer):
    assert tensorrt_apart._parsed(answer) is None


SLEEPER = """
import os, pathlib, time
def __getattr__(name):
    pathlib.Path({file!r}).write_text(str(os.getpid()) + ".")
    time.sleep(600)
"""


def number_in(file):
    """The process's number, once it is written."""
    return int(file.read_text()[:-1]) if file.exists() and file.read_text().endswith(".") else None


def test_what_takes_too_long_is_ended(graph, module, tmp_path, monkeypatch):
    file = tmp_path / "process"
    library = module(SLEEPER.format(file=str(file)))
    monkeypatch.setattr(tensorrt_apart, "MOST_SECONDS", 0.01)
    with pytest.raises(BackendError, match=r"to plan .*text\.onnx within 0\.01 seconds, it did not"):
        plan_apart(library, graph, 89, 1, None)
    assert not file.exists() or not runs(number_in(file))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_who_waits_for_its_plan(graph, module, tmp_path, how):
    """Ctrl-C reaches both processes of a terminal; here the one that waits, which must end the other."""
    file = tmp_path / "process"
    module(SLEEPER.format(file=str(file)))
    source = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from vtr.encoders.tensorrt_apart import Library, plan_apart\n"
        f"plan_apart(Library('tensorrt_rtx', None), Path({str(graph)!r}), 89, 1, None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.PIPE) as waiting:
        number = waited(lambda: number_in(file))
        assert number and runs(number)
        os.kill(waiting.pid, how)
        _, printed = waiting.communicate(timeout=PATIENCE)
    assert waited(lambda: not runs(number))
    assert waiting.returncode == -how and (b"KeyboardInterrupt" in printed) == (how == signal.SIGINT)
