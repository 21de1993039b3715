"""The encoder backends against the reference model, and what happens when they cannot do what is asked."""

import dataclasses
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from support import in_threads

from vtr.bundle import Bundle
from vtr.encoders import choice, open_encoders, tensorrt_build
from vtr.encoders.choice import choose
from vtr.encoders.cuda_driver import Gpu
from vtr.errors import BackendError, BundleError, UsageError

torch = pytest.importorskip("torch")

BACKENDS = ["openvino", "onnxruntime"]
# Graphs differ from PyTorch in the order of sums; features are of size 1 to 10.
EXACT = 1e-4


@pytest.fixture(params=BACKENDS)
def backend(request):
    if find_spec(request.param) is None:
        pytest.skip(f"no {request.param}")
    return request.param


@pytest.fixture(scope="module")
def model(models):
    """A reference model with a temporal head, and its bundle."""
    reference, path = models("clip4clip-seqTransf")
    return reference, Bundle.open(path)


def inputs(reference, texts=3, videos=2, frames=None, seed=0):
    rng = np.random.default_rng(seed)
    sizes = reference.sizes
    count = frames or sizes["frames"]
    ids = rng.integers(1, sizes["vocab"] - 1, (texts, sizes["words"]))
    ids[:, -1] = sizes["vocab"] - 1
    pixels = rng.integers(0, 256, (videos, count, sizes["image"], sizes["image"], 3), dtype=np.uint8)
    mask = np.ones((videos, count), np.float32)
    mask[0, 1:] = 0
    return ids, pixels, mask


@pytest.mark.parametrize("texts, videos, frames", [(1, 1, 1), (5, 2, 3), (19, 19, 1), (2, 1, 12)])
def test_towers_equal_the_reference(model, backend, texts, videos, frames):
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend, precision="fp32")
    ids, pixels, mask = inputs(reference, texts, videos, frames)
    sentence, words = encoders.text(ids)
    features = encoders.vision(pixels, mask)
    with torch.inference_mode():
        expected = [t.numpy() for t in reference.encode_text(torch.from_numpy(ids))]
        expected.append(reference.encode_vision(torch.from_numpy(pixels), torch.from_numpy(mask)).numpy())
    for actual, wanted in zip((sentence, words, features), expected, strict=True):
        assert actual.dtype == np.float32 and actual.shape == wanted.shape
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=EXACT)


def test_heads_equal_the_reference(model, backend):
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend)  # heads are exact whatever auto picks
    F, D = reference.sizes["frames"], reference.sizes["dim"]
    features = np.random.default_rng(0).normal(size=(3, F, D)).astype(np.float32)
    mask = (np.arange(F) < np.array([[1], [F - 1], [F]])).astype(np.float32)
    outputs = encoders.temporal(features, mask)
    tensors = torch.from_numpy(features), torch.from_numpy(mask)
    with torch.inference_mode():
        expected = reference.temporal(*tensors)
        assert outputs.keys() == expected.keys()
        for key, tensor in expected.items():
            np.testing.assert_allclose(outputs[key], tensor.numpy(), rtol=0, atol=EXACT)
    with pytest.raises(UsageError, match="no cross encoder"):
        encoders.cross(features[:, 0], features, mask)


def test_pixels_of_masked_frames_do_not_matter(model, backend):
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend, precision="fp32")
    _, pixels, mask = inputs(reference)
    features = encoders.vision(pixels, mask)
    np.testing.assert_allclose(features[0, 1:], features[0, 1:2].repeat(11, 0), atol=1e-5)
    assert np.abs(features[0, 0] - features[0, 1]).max() > 0.1


def test_a_graph_that_was_damaged_is_not_loaded(models, backend, tmp_path):
    """Its content is looked at when it is loaded, and again after it was put right."""
    path = shutil.copytree(models("clip4clip-seqTransf")[1], tmp_path / "bundle")
    whole = (path / "text.onnx").read_bytes()
    middle = len(whole) // 2
    encoders = open_encoders(Bundle.open(path), backend=backend, precision="fp32")
    reference, _ = models("clip4clip-seqTransf")
    ids, pixels, mask = inputs(reference)
    (path / "text.onnx").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    for _ in range(2):
        with pytest.raises(BundleError, match=r"bundle/text\.onnx: expected SHA-256"):
            encoders.text(ids)
    encoders.vision(pixels, mask)
    (path / "text.onnx").write_bytes(whole)
    encoders.text(ids)


def test_empty_batches(model, backend):
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend)
    ids, pixels, mask = inputs(reference)
    sentence, words = encoders.text(ids[:0])
    assert sentence.shape == (0, 64) and words.shape == (0, 32, 64)
    assert encoders.vision(pixels[:0], mask[:0]).shape == (0, 12, 64)
    outputs = encoders.temporal(np.zeros((0, 12, 64), np.float32), mask[:0])
    assert {name: array.shape for name, array in outputs.items()} == {
        "frames": (0, 12, 64),
        "weights": (0, 12),
        "video": (0, 64),
    }


def test_strided_and_read_only_input(model, backend):
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend, precision="fp32")
    _, pixels, mask = inputs(reference)
    flipped = pixels[:, :, ::-1, ::-1]
    frozen = np.ascontiguousarray(flipped)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(encoders.vision(flipped, mask), encoders.vision(frozen, mask))


def test_many_threads_at_once(model, backend):
    """Sixteen threads, each with its own input, get their own answers; and no answer changes later."""
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend, precision="fp32", threads=1)
    batches = [inputs(reference, texts=2, seed=seed)[0] for seed in range(16)]
    expected = [open_encoders(bundle, backend=backend, precision="fp32").text(ids)[0] for ids in batches[:1]]
    expected += [encoders.text(ids)[0] for ids in batches[1:]]
    wrong = []

    def work(number):
        for _ in range(5):
            kept = encoders.text(batches[number])[0]
            encoders.text(batches[(number + 1) % 16])
            if np.abs(kept - expected[number]).max() > 1e-5:
                wrong.append(number)

    in_threads(work, 16)
    assert wrong == []


def test_bfloat16_stays_close(model):
    if "bf16" not in choice.openvino_precisions():
        pytest.skip("no bfloat16 on this processor")
    reference, bundle = model
    _, pixels, mask = inputs(reference)
    exact, fast = (open_encoders(bundle, "openvino", precision=p) for p in ("fp32", "bf16"))
    a, b = exact.vision(pixels, mask), fast.vision(pixels, mask)
    assert not np.array_equal(a, b), "bf16 was asked for and not used"
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    assert cosine.min() > 0.999  # 8 bits of mantissa over 2 layers give 0.9999
    np.testing.assert_array_equal(exact.temporal(a, mask)["video"], fast.temporal(a, mask)["video"])


# ---- misuse ------------------------------------------------------------------------------------------


def test_shapes_and_types_are_checked(model, backend):
    reference, bundle = model
    encoders = open_encoders(bundle, backend=backend)
    ids, pixels, mask = inputs(reference)
    features = np.zeros((2, 12, 64), np.float32)
    wrong = [
        (encoders.text, [ids.astype(np.int32)], "ids as int64"),
        (encoders.text, [ids[:, :-1]], r"\[3, 32\]"),
        (encoders.text, [ids[0]], r"\[32, 32\]"),
        (encoders.text, [ids - 10**6], r"0\.\.49407"),
        (encoders.text, [ids + 1], r"0\.\.49407"),
        (encoders.vision, [pixels.astype(np.float32), mask], "frames as uint8"),
        (encoders.vision, [pixels[..., :2], mask], "frames as uint8"),
        (encoders.vision, [pixels[0], mask[0]], "frames as uint8"),
        (encoders.vision, [pixels, mask.astype(np.float64)], "mask as float32"),
        (encoders.vision, [pixels, mask[:, :3]], "mask as float32"),
        (encoders.temporal, [features[:, :3], mask[:, :3]], "features as float32"),
        (encoders.temporal, [features, mask[:1]], "mask as float32"),
    ]
    for method, arguments, message in wrong:
        with pytest.raises(UsageError, match=message):
            method(*arguments)


def test_coupled_frames_come_whole(model, backend):
    reference, bundle = model
    coupled = dataclasses.replace(bundle, manifest={**bundle.manifest, "frame_coupling": True})
    encoders = open_encoders(coupled, backend=backend)
    _, pixels, mask = inputs(reference)
    assert encoders.vision(pixels, mask).shape == (2, 12, 64)
    with pytest.raises(UsageError, match=r"\[2, 12, 64, 64, 3\]"):
        encoders.vision(pixels[:, :1], mask[:, :1])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"backend": "tensorflow"}, "backend auto, openvino"),
        ({"device": "tpu"}, "device auto, cpu"),
        ({"precision": "int4"}, "precision auto, fp32"),
        ({"threads": 0}, "threads"),
        ({"threads": 2.0}, "threads"),
    ],
)
def test_unknown_names(model, arguments, message):
    with pytest.raises(UsageError, match=message):
        open_encoders(model[1], **arguments)


def hide(monkeypatch, *names):
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name in names else find_spec(name))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_backend_names_its_install_command(monkeypatch, name):
    hide(monkeypatch, name)
    with pytest.raises(BackendError, match=r"is not installed: pip install 'vtr\[cpu\]'"):
        choose("fp32", name, "cpu", "auto")


def test_auto_takes_what_is_there_and_says_so(monkeypatch):
    monkeypatch.setattr(choice, "_gpus", list)
    monkeypatch.setattr(choice, "openvino_precisions", lambda: ("fp32", "bf16"))
    monkeypatch.setattr(choice, "find_spec", lambda name: True)
    found = choose("fp32", "auto", "auto", "auto")
    assert (found.backend, found.device, found.precision) == ("openvino", "cpu", "bf16")
    assert "OpenVINO on cpu, bf16" in found.description and "in hardware" in found.description
    assert choose("int8", "auto", "auto", "auto").backend == "onnxruntime"
    monkeypatch.setattr(choice, "openvino_precisions", lambda: ("fp32",))
    assert choose("bf16", "auto", "auto", "auto").precision == "fp32"
    monkeypatch.setattr(choice, "find_spec", lambda name: name == "onnxruntime" or None)
    found = choose("fp32", "auto", "cpu", "auto")
    assert (found.backend, found.precision) == ("onnxruntime", "fp32")
    assert "OpenVINO is not installed" in found.description
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'vtr\[cpu\]'"):
        choose("fp32", "auto", "cpu", "auto")


def test_precisions_that_a_backend_lacks(monkeypatch):
    monkeypatch.setattr(choice, "find_spec", lambda name: True)
    monkeypatch.setattr(choice, "openvino_precisions", lambda: ("fp32",))
    for exported, backend, precision, message in [
        ("fp32", "openvino", "bf16", "no bf16 arithmetic, only fp32"),
        ("fp32", "openvino", "fp16", "no fp16 arithmetic"),
        ("fp32", "onnxruntime", "bf16", "--precision bf16, use backend openvino"),
        ("fp16", "onnxruntime", "fp32", "the precision of the bundle, fp16"),
        ("bf16", "onnxruntime", "auto", "no bfloat16 on CPUs.*backend openvino"),
        ("bf16", "onnxruntime", "bf16", "no bfloat16 on CPUs"),
    ]:
        with pytest.raises(BackendError, match=message):
            choose(exported, backend, "cpu", precision)
    assert choose("fp16", "onnxruntime", "cpu", "fp16").precision == "fp16"


def machine(monkeypatch, gpu=None, tensorrt=None, cuda=False):
    """A machine with a GPU, an installed TensorRT by its module's name, an ONNX Runtime with CUDA."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"][0 if cuda else 1 :]
    monkeypatch.setattr(choice, "_gpus", lambda: [gpu] if gpu else [])
    monkeypatch.setattr(choice, "_onnxruntime_providers", lambda: providers)
    monkeypatch.setattr(choice, "find_spec", lambda name: True)
    monkeypatch.setattr(choice, "openvino_precisions", lambda: ("fp32",))
    monkeypatch.setattr(tensorrt_build, "find_spec", lambda name: name == tensorrt or None)
    known = [75, 80, 86, 89, 120] if tensorrt == "tensorrt_rtx" else None
    library = type("Library", (), {"architectures": lambda self: known})()
    monkeypatch.setattr(tensorrt_build.Library, "load", lambda: library)


H200, RTX, OLD = Gpu("H200", 90), Gpu("RTX 4090", 89), Gpu("T4", 75)


def test_cuda_is_never_replaced_silently(monkeypatch):
    machine(monkeypatch)
    for backend, message in [
        ("openvino", "OpenVINO has no CUDA"),
        ("onnxruntime", r"this ONNX Runtime has no CUDA: pip install 'onnxruntime-gpu\[cuda,cudnn\]'"),
        ("tensorrt", "TensorRT is not installed: pip install tensorrt, or tensorrt-rtx-cu13"),
        ("auto", "TensorRT is not installed.*; this ONNX Runtime has no CUDA: pip install 'onnxruntime-gpu"),
    ]:
        with pytest.raises(BackendError, match=message):
            choose("fp32", backend, "cuda", "auto")
    machine(monkeypatch, tensorrt="tensorrt", cuda=True)
    for backend in ("onnxruntime", "tensorrt", "auto"):
        with pytest.raises(BackendError, match="no CUDA device: no NVIDIA driver or no GPU"):
            choose("fp32", backend, "cuda", "auto")
    with pytest.raises(BackendError, match="TensorRT has no CPUs: use device cuda"):
        choose("fp32", "tensorrt", "cpu", "auto")
    with pytest.raises(BackendError, match="no CUDA device"):  # asked for by name: no CPU in its place
        choose("fp32", "tensorrt", "auto", "auto")


@pytest.mark.parametrize(
    "exported, gpu, tensorrt, cuda, description",
    [
        ("fp16", H200, "tensorrt", True, "TensorRT on cuda, fp16"),
        ("fp16", RTX, "tensorrt_rtx", False, "TensorRT-RTX on cuda, fp16"),
        ("bf16", RTX, "tensorrt_rtx", True, "TensorRT-RTX on cuda, bf16"),
        ("fp16", H200, None, True, "ONNX Runtime on cuda, fp16 .*TensorRT is not installed"),
        (
            "fp16",
            H200,
            "tensorrt_rtx",
            True,
            "ONNX Runtime on cuda, fp16 .*does not know the H200.*tensorrt;",
        ),
        ("int8", RTX, "tensorrt", True, "ONNX Runtime on cuda, int8 .*no int8 bundles"),
        ("bf16", OLD, "tensorrt_rtx", True, r"ONNX Runtime on cuda, bf16 .*T4 \(sm_75\) has no bfloat16"),
        (
            "fp32",
            RTX,
            None,
            False,
            "OpenVINO on cpu, fp32 .*no CUDA to use: TensorRT is not.*onnxruntime-gpu",
        ),
        ("fp32", None, "tensorrt", True, "OpenVINO on cpu, fp32 .*no CUDA to use"),
    ],
)
def test_auto_on_a_gpu(monkeypatch, exported, gpu, tensorrt, cuda, description):
    machine(monkeypatch, gpu, tensorrt, cuda)
    assert re.match(description, choose(exported, "auto", "auto", "auto").description)


@pytest.mark.parametrize(
    "exported, gpu, tensorrt, message",
    [
        ("int8", RTX, "tensorrt", "no int8 bundles.*export with --precision fp16"),
        (
            "fp32",
            H200,
            "tensorrt_rtx",
            r"TensorRT-RTX does not know the H200 \(sm_90\): pip install tensorrt",
        ),
        ("bf16", OLD, "tensorrt", "has no bfloat16: export with --precision fp16"),
    ],
)
def test_what_tensorrt_cannot_do_by_name(monkeypatch, exported, gpu, tensorrt, message):
    machine(monkeypatch, gpu, tensorrt, cuda=True)
    with pytest.raises(BackendError, match=message):
        choose(exported, "tensorrt", "auto", "auto")


def test_tensorrt_computes_as_exported(monkeypatch):
    machine(monkeypatch, RTX, "tensorrt")
    assert choose("fp16", "tensorrt", "cuda", "fp16").precision == "fp16"
    with pytest.raises(BackendError, match="TensorRT computes in the precision of the bundle, fp16"):
        choose("fp16", "tensorrt", "cuda", "fp32")
    found = choose("fp16", "auto", "cuda", "auto")
    assert (found.backend, found.device) == ("tensorrt", "cuda")
    assert "backend auto: TensorRT is there" in found.description


# ---- hostile graphs ----------------------------------------------------------------------------------


class Forged:
    """A bundle whose text.onnx is another graph. (A real one would fail its hash.)"""

    def __init__(self, bundle, path):
        self.path, self.sizes, self.manifest, self.scoring = (
            path,
            bundle.sizes,
            bundle.manifest,
            bundle.scoring,
        )
        self.verified = bundle.verified

    def file(self, name):
        return self.path

    graph = file


def graph_file(path, inputs=("ids",), outputs=("sentence", "words"), location=None):
    """A graph that gives ones of the wrong shape, or reads its weights from ``location``."""
    from onnx import TensorProto, helper, numpy_helper

    ones = numpy_helper.from_array(np.ones((1, 64), np.float32), "ones")
    if location:
        ones = TensorProto(name="ones", data_type=TensorProto.FLOAT, dims=[1, 64], data_location=1)
        ones.external_data.add(key="location", value=location)
    nodes = [
        helper.make_node(op, ["ones"], [name]) for op, name in zip(("Neg", "Exp"), outputs, strict=False)
    ]
    nodes += [helper.make_node("Identity", [name], [f"{name}.out"]) for name in inputs]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    values += [helper.make_tensor_value_info(f"{name}.out", TensorProto.INT64, None) for name in inputs]
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", 32]) for name in inputs]
    graph = helper.make_graph(nodes, "forged", given, values, [ones])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    "forgery, error, message",
    [
        ({}, BundleError, r"expected sentence as float32 \[3, 64\]"),
        ({"inputs": ("tokens",)}, BundleError, r"expected a graph of \['ids'\]"),
        ({"outputs": ("sentence",)}, BundleError, r"expected a graph of \['ids'\]"),
        ({"location": "../secret"}, BackendError, "cannot be loaded"),
        ({"location": "/etc/hostname"}, BackendError, "cannot be loaded"),
    ],
)
def test_graphs_that_do_not_fit(model, backend, tmp_path, forgery, error, message):
    reference, bundle = model
    (tmp_path / "secret").write_bytes(np.ones((1, 64), np.float32).tobytes())
    (tmp_path / "bundle").mkdir()
    forged = Forged(bundle, graph_file(tmp_path / "bundle" / "text.onnx", **forgery))
    with pytest.raises(error, match=message):
        open_encoders(forged, backend=backend).text(inputs(reference)[0])


def test_not_a_graph_at_all(model, backend, tmp_path):
    (tmp_path / "text.onnx").write_bytes(b"nonsense")
    encoders = open_encoders(Forged(model[1], tmp_path / "text.onnx"), backend=backend)
    with pytest.raises(BackendError, match=r"text\.onnx cannot be loaded"):
        encoders.text(inputs(model[0])[0])


def test_only_what_is_used_is_loaded(model, backend):
    encoders = open_encoders(model[1], backend=backend)
    assert encoders._graphs == {}
    encoders.text(inputs(model[0])[0])
    assert list(encoders._graphs) == ["text.onnx"]


def test_threads_are_respected(model, backend):
    encoders = open_encoders(model[1], backend=backend, threads=1)
    encoders.text(inputs(model[0])[0])
    graph = encoders._graphs["text.onnx"]
    if backend == "openvino":
        threads = graph._compiled.get_property("INFERENCE_NUM_THREADS")
    else:
        threads = graph._session.get_session_options().intra_op_num_threads
    assert threads == 1


def test_importing_encoders_imports_no_runtime():
    heavy = {"torch", "openvino", "onnxruntime", "onnx", "ftfy", "tokenizers", "tensorrt", "tensorrt_rtx"}
    code = f"import sys, vtr.encoders; sys.exit(', '.join({heavy} & {{*sys.modules}}) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


SIGNALLED = """
import faulthandler, gc, os, signal
import vtr

faulthandler.enable()
engines = [vtr.Engine("mini", backend="openvino") for _ in range(3)]
for engine in engines:
    engine.encode_text("a cat")
del engine
while engines:
    del engines[0]
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: None)
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_after_engines_have_gone():
    # where a processor has AMX, an OpenVINO Core that goes may take the stack of signal handlers along
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
