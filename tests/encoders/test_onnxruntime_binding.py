"""ONNX Runtime with I/O binding, as on CUDA: really run on the CPU, and on a session that records calls."""

import numpy as np
import pytest
from support import in_threads

from vtr.bundle import Bundle
from vtr.encoders.cuda_driver import Context, Stream
from vtr.encoders.device_array import DeviceArray

onnxruntime = pytest.importorskip("onnxruntime")

from vtr.encoders import onnxruntime as backend  # noqa: E402


@pytest.fixture(scope="module")
def path(models):
    return Bundle.open(models("clip4clip-seqTransf")[1], verify=False).file("temporal.onnx")


@pytest.fixture(scope="module")
def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs(rows, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.ones((rows, 12), np.float32)
    mask[0, 5:] = 0
    return {"features": rng.normal(size=(rows, 12, 64)).astype(np.float32), "mask": mask}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


def test_bound_runs_equal_plain_ones(session):
    """Growing, shrinking and equal batches; nothing that was given or returned changes later."""
    plain, bound = backend.Graph(session), backend.BoundGraph(session, "cpu")
    assert (bound.inputs, bound.outputs) == (plain.inputs, plain.outputs)
    kept = []
    for seed, rows in enumerate([1, 3, 3, 19, 1]):
        given = inputs(rows, seed)
        before = {name: array.copy() for name, array in given.items()}
        for array in given.values():
            array.flags.writeable = False
        kept.append((bound(given), plain(given)))
        assert_equal(given, before)
    for actual, expected in kept:
        assert_equal(actual, expected)
    assert len(bound._idle) == 1


def test_bound_runs_on_many_threads(session):
    bound, plain = backend.BoundGraph(session, "cpu"), backend.Graph(session)
    expected = [plain(inputs(2, seed)) for seed in range(6)]
    wrong = []

    def work(seed):
        for _ in range(5):
            actual = bound(inputs(2, seed))
            wrong.extend(n for n in actual if not np.array_equal(actual[n], expected[seed][n]))

    in_threads(work, 6)
    assert wrong == []


# ---- on CUDA, recorded ---------------------------------------------------------------------------------


class Value:
    """An OrtValue on a device: what was last copied into it."""

    def __init__(self, log, shape, dtype, device):
        self.log, self.size, self.dtype, self.device = log, tuple(shape), dtype, device
        log.append(("allocate", tuple(shape), device))

    def shape(self):
        return list(self.size)

    def update_inplace(self, array):
        assert array.flags.c_contiguous and array.shape == self.size and array.dtype == self.dtype
        self.content = array.copy()
        self.log.append(("copy in", array.shape))


class Session:
    """Of one graph, out = 2·frames, on a device; inputs by address are recorded, and count as zeros."""

    def __init__(self, log):
        self.log, self.bound, self.asked = log, {}, []

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_inputs(self):
        return [type("Input", (), {"name": "frames"})]

    def get_outputs(self):
        return [type("Output", (), {"name": "out"})]

    def io_binding(self):
        self.log.append(("bind",))
        return self

    def clear_binding_inputs(self):
        self.bound.clear()

    def clear_binding_outputs(self):
        self.asked.clear()

    def bind_ortvalue_input(self, name, value):
        assert value.device == "cuda"
        self.bound[name] = value.content

    def bind_input(self, name, device, number, dtype, shape, address):
        self.log.append(("address", device, number, dtype, shape, address))
        self.bound[name] = np.zeros(shape, dtype)

    def bind_output(self, name, device):
        self.asked.append((name, device))

    def synchronize_inputs(self):
        self.log.append(("wait",))

    def run_with_iobinding(self, binding):
        assert binding is self and self.asked == [("out", "cuda")] and list(self.bound) == ["frames"]
        self.log.append(("run",))
        self.result = 2.0 * self.bound["frames"]

    def copy_outputs_to_cpu(self):
        self.log.append(("copy out",))
        return [self.result]


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """A graph loaded for CUDA, and the list of what is called."""
    log, made = [], {}

    def open_session(path, options, providers):
        made["providers"] = providers
        return Session(log)

    class Values:
        @staticmethod
        def ortvalue_from_shape_and_type(shape, dtype, device, number):
            return Value(log, shape, dtype, device)

    monkeypatch.setattr(backend.onnxruntime, "InferenceSession", open_session)
    monkeypatch.setattr(backend.onnxruntime, "OrtValue", Values)
    cuda = backend.Backend("cuda", "fp32", None, bundle=None)
    graph = cuda.load(tmp_path / "graph.onnx", exact=True)
    assert cuda.device_arrays
    assert made["providers"][0] == ("CUDAExecutionProvider", {"use_tf32": "0"})  # fp32 means float32
    return graph, log


def test_each_input_is_copied_once_into_memory_that_is_kept(recorded):
    graph, log = recorded
    for number, rows in enumerate([2, 2, 3]):
        given = np.full((rows, 4), number, np.float32)
        np.testing.assert_array_equal(graph({"frames": given[:, ::-1]})["out"], 2 * given)
    run = [("wait",), ("run",), ("copy out",)]
    first = [("bind",), ("allocate", (2, 4), "cuda"), ("copy in", (2, 4)), *run]
    again = [("copy in", (2, 4)), *run]
    other = [("allocate", (3, 4), "cuda"), ("copy in", (3, 4)), *run]
    assert log == first + again + other


def test_what_lies_on_the_device_is_bound_by_its_address(recorded, gpu):
    graph, log = recorded
    context = Context()
    with context.current():
        stream = Stream(context)
    array = DeviceArray(4096, (2, 4), np.dtype(np.uint8), stream.handle)
    waits = gpu.calls("cuStreamSynchronize")
    assert graph({"frames": array})["out"].shape == (2, 4)
    assert ("address", "cuda", 0, np.uint8, [2, 4], 4096) in log
    assert not {"allocate", "copy in"} & {entry[0] for entry in log}
    assert gpu.calls("cuStreamSynchronize") == waits + 1  # what writes it is done first


def test_a_session_without_cuda_is_refused(monkeypatch, path):
    from vtr.errors import BackendError

    monkeypatch.setitem(backend.PROVIDERS, "cuda", ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match="fell back to CPUExecutionProvider"):
        backend.Backend("cuda", "fp32", 1, bundle=None).load(path, exact=False)
