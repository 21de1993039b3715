"""Graphs on TensorRT, on stand-ins for its module and the driver: what is planned, kept, copied, freed."""

import gc
import hashlib
import json
import shutil

import numpy as np
import pytest
import stand_in
import stand_in_tensorrt
import torch
from support import in_threads

from vtr.bundle import Bundle, verify_bundle
from vtr.encoders import choice, open_encoders, tensorrt, tensorrt_build
from vtr.encoders.cuda_driver import Context, DeviceMemory, Gpu, Stream
from vtr.encoders.device_array import DeviceArray
from vtr.encoders.tensorrt_build import BATCH, Library, plan_here
from vtr.errors import BackendError, UsageError
from vtr.manifest import fingerprint

pytest.importorskip("onnxruntime")

EXACT = 1e-4  # the order of sums; features are of size 1 to 10
F, D, S = 12, 64, 64


@pytest.fixture(scope="module")
def bundles(models, tmp_path_factory):
    """``bundles(name)`` → (reference model, path of a copy of its bundle, which plans may be put into)."""
    folder = tmp_path_factory.mktemp("tensorrt")

    def get(name):
        reference, path = models(name)
        shutil.copytree(path, folder / name, dirs_exist_ok=True)
        return reference, folder / name

    return get


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def library(request, gpu, monkeypatch, tmp_path):
    """A stand-in module under either name, on a GPU of compute capability 8.9."""
    gpu.reset(capability=(8, 9))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "_gpus", lambda: [Gpu("Stand-in GPU", 89)])
    monkeypatch.setattr(tensorrt_build, "find_spec", lambda name: name == request.param or None)
    module = stand_in_tensorrt.make_module(request.param)
    monkeypatch.setattr(tensorrt_build, "_load", lambda name: Library(name, module))
    monkeypatch.setattr(tensorrt, "plan_apart", plan_here)  # the module is not to be had in other processes
    return module


@pytest.fixture
def model(bundles, tmp_path):
    """A reference model with a temporal head, and its bundle without any plans."""
    reference, path = bundles("clip4clip-seqTransf")
    shutil.rmtree(path / "engines", ignore_errors=True)
    return reference, Bundle.open(path, verify=False)


def opened(bundle):
    return open_encoders(bundle, backend="tensorrt")


def inputs(videos=2, frames=F, texts=3, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 49407, (texts, 32))
    ids[:, -1] = 49407
    pixels = rng.integers(0, 256, (videos, frames, S, S, 3), dtype=np.uint8)
    mask = np.ones((videos, frames), np.float32)
    mask[0, 1:] = 0
    return ids, pixels, mask


def engines(bundle):
    return sorted(path.name for path in (bundle.path / "engines").iterdir())


# ---- numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts, videos, frames", [(1, 1, 1), (BATCH + 1, 2, 3), (2, 5, F)])
def test_towers_equal_the_reference(library, model, texts, videos, frames):
    """One row, some, and more than is planned for; and a second run in the buffers of the first."""
    reference, bundle = model
    encoders = opened(bundle)
    for seed in range(2):
        ids, pixels, mask = inputs(videos, frames, texts, seed)
        sentence, words = encoders.text(ids)
        features = encoders.vision(pixels, mask)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in reference.encode_text(torch.from_numpy(ids))]
            expected.append(reference.encode_vision(torch.from_numpy(pixels), torch.from_numpy(mask)).numpy())
        for actual, wanted in zip((sentence, words, features), expected, strict=True):
            assert actual.dtype == np.float32
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", ["clip4clip-seqTransf", "clip4clip-tightTransf", "clip4clip-3d", "xclip"])
def test_the_other_graphs(library, bundles, name):
    """Heads, cross encoders, and frames that see each other, which stay together."""
    _, path = bundles(name)
    bundle = Bundle.open(path, verify=False)
    encoders, cpu = opened(bundle), open_encoders(bundle, "onnxruntime", "cpu")
    _, pixels, mask = inputs(5)
    features = cpu.vision(pixels, mask)
    np.testing.assert_allclose(encoders.vision(pixels, mask), features, rtol=0, atol=EXACT)
    expected = cpu.temporal(features, mask)
    for key, array in encoders.temporal(features, mask).items():
        np.testing.assert_allclose(array, expected[key], rtol=0, atol=EXACT)
    if bundle.scoring == "cross":
        given = features[:, 0].copy(), expected["frames"], mask
        np.testing.assert_allclose(encoders.cross(*given), cpu.cross(*given), rtol=0, atol=EXACT)
    shapes = [run["frames"] for run in library.log["runs"] if len(run.get("frames", ())) == 5]
    together = (
        [(4, F, S, S, 3), (1, F, S, S, 3)]
        if bundle.frame_coupling
        else [(BATCH, 1, S, S, 3), (12, 1, S, S, 3)]
    )
    assert shapes == together


def test_one_row_has_a_profile_of_its_own(library, model):
    encoders = opened(model[1])
    encoders.text(inputs(texts=1)[0])
    encoders.text(inputs(texts=2)[0])
    encoders.text(inputs(texts=1)[0])
    assert [run["profile"] for run in library.log["runs"]] == [0, 1, 0]
    assert library.log["contexts"] == 2


def test_many_threads_at_once(library, model):
    encoders = opened(model[1])
    batches = [inputs(texts=1 + seed % 3, seed=seed)[0] for seed in range(8)]
    expected = [encoders.text(ids)[0] for ids in batches]
    wrong = []

    def work(number):
        for _ in range(3):
            kept = encoders.text(batches[number])[0]
            encoders.text(batches[(number + 1) % 8])
            if np.abs(kept - expected[number]).max() > 1e-5:
                wrong.append(number)

    in_threads(work, 8)
    assert wrong == []


# ---- plans -------------------------------------------------------------------------------------------


def test_a_plan_is_made_once(library, model):
    _, bundle = model
    first = opened(bundle).text(inputs()[0])[0]
    assert library.log["builds"] == 1
    again = opened(bundle).text(inputs()[0])[0]
    assert library.log["builds"] == 1
    np.testing.assert_array_equal(first, again)
    (plan,) = (name for name in engines(bundle) if name.endswith(".plan"))
    own = "tensorrt_rtx" if library.__name__ == "tensorrt_rtx" else "Stand_in_GPU-tensorrt"
    assert plan.startswith("text-") and plan.endswith(f"-sm89-{own}.plan")
    head = json.loads((bundle.path / "engines" / plan).read_bytes().split(b"\n")[0])
    assert head["graph"] == bundle.manifest["files"]["text.onnx"]["sha256"]
    assert (head["version"], head["arch"]) == ("10.9.0", 89)
    assert verify_bundle(bundle.path) == []


def with_graph(bundle, content, folder):
    """A copy of a bundle, its plans included, with another text graph."""
    shutil.copytree(bundle.path, folder)
    (folder / "text.onnx").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"]["text.onnx"] = {"sha256": digest, "bytes": len(content)}
    manifest["fingerprint"] = fingerprint(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(folder, verify=False)


@pytest.mark.parametrize("what", ["version", "gpu", "graph"])
def test_a_stale_plan_is_made_again(library, model, gpu, tmp_path, what):
    _, bundle = model
    opened(bundle).text(inputs()[0])
    if what == "version":
        library.__version__ = "10.10.0"
    elif what == "gpu":
        gpu.reset(capability=(12, 0))
    else:  # exported again: the same but for an empty producer's name
        bundle = with_graph(bundle, bundle.file("text.onnx").read_bytes() + b"\x12\x00", tmp_path / "again")
    opened(bundle).text(inputs()[0])
    assert library.log["builds"] == 2
    if library.__name__ == "tensorrt_rtx":
        assert library.log["targets"] == {0: 120 if what == "gpu" else 89}


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda content: flip(content, -100), "damaged"),
        (lambda content: content[:-1], "damaged"),
        (lambda content: content[:40], "damaged"),
        (lambda content: b"", "damaged"),
        (lambda content: b"\xff" * 100 + b"\n", "damaged"),
        (lambda content: b"[" * 10**5 + b"\n", "damaged"),
    ],
)
def test_a_damaged_plan_is_made_again_with_one_warning(library, model, damage, message):
    _, bundle = model
    expected = opened(bundle).text(inputs()[0])[0]
    (plan,) = (bundle.path / "engines").glob("*.plan")
    sound = plan.read_bytes()
    plan.write_bytes(damage(sound))
    with pytest.warns(RuntimeWarning, match=message) as warned:
        np.testing.assert_array_equal(opened(bundle).text(inputs()[0])[0], expected)
    assert len(warned) == 1 and plan.name in str(warned[0].message)
    assert library.log["builds"] == 2 and plan.read_bytes() == sound


def test_a_plan_that_is_refused_is_made_again(library, model, monkeypatch):
    """Whole and fitting, and yet the library does not take it: of another driver, say."""
    _, bundle = model
    monkeypatch.setattr(stand_in_tensorrt, "MAGIC", b"another maker's plan")
    opened(bundle).text(inputs()[0])
    monkeypatch.setattr(stand_in_tensorrt, "MAGIC", b"stand-in plan")
    with pytest.warns(RuntimeWarning, match=r"\.plan: TensorRT.* refuses it: magic tag does not match"):
        opened(bundle).text(inputs()[0])
    assert library.log["builds"] == 2


def test_where_the_bundle_cannot_be_written(library, model, tmp_path):
    _, bundle = model
    (bundle.path / "engines").write_text("a file where the folder would be")
    try:
        opened(bundle).text(inputs()[0])
        opened(bundle).text(inputs()[0])
    finally:
        (bundle.path / "engines").unlink()
    assert library.log["builds"] == 1
    assert list((tmp_path / "cache" / "vtr" / "engines").glob("text-*.plan"))


def test_where_nothing_can_be_written(library, model, tmp_path):
    _, bundle = model
    (tmp_path / "cache").write_text("")
    (bundle.path / "engines").write_text("")
    try:
        with pytest.warns(
            RuntimeWarning, match="the plan of text is not kept and will be made again"
        ) as warned:
            sentence = opened(bundle).text(inputs()[0])[0]
    finally:
        (bundle.path / "engines").unlink()
    assert np.isfinite(sentence).all() and len(warned) == 1


def test_what_was_measured_or_compiled_is_kept(library, model):
    """TensorRT's timings for the next graph, TensorRT-RTX's kernels for the next process."""
    _, bundle = model
    encoders = opened(bundle)
    ids, pixels, mask = inputs(1, 1, texts=1)
    encoders.text(ids)
    if library.__name__ == "tensorrt":
        encoders.vision(pixels, mask)
        assert library.log["timing"] == [b"", b"+"]
    else:
        opened(bundle).text(ids)
        assert library.log["kernels"] == [b"", b"kernels of profile 0"]


def test_heads_that_differ_are_told_apart(library, bundles):
    """The same file names in one folder, as in the user's cache, are of different graphs."""
    paths = [bundles(name)[1] for name in ("clip4clip-seqTransf", "xclip")]
    for path in paths:
        (path / "engines").mkdir(exist_ok=True)
        for old in (path / "engines").iterdir():
            old.unlink()
        (path / "engines").rmdir()
        (path / "engines").write_text("")
    _, _, mask = inputs()
    features = np.random.default_rng(0).normal(size=(2, F, D)).astype(np.float32)
    try:
        for path in paths * 2:
            opened(Bundle.open(path, verify=False)).temporal(features, mask)
    finally:
        for path in paths:
            (path / "engines").unlink()
    assert library.log["builds"] == 2


# ---- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate", "cuMemcpyHtoDAsync_v2"]
)
def test_the_drivers_errors_are_named_and_nothing_leaks(library, model, gpu, function):
    encoders = opened(model[1])
    encoders.text(inputs(texts=1)[0])
    gpu.fail(function, stand_in.OUT_OF_MEMORY)
    with pytest.raises(
        BackendError, match=rf"text\.onnx failed on TensorRT.*{function} failed: CUDA_ERROR_OUT"
    ):
        encoders.text(inputs(texts=2)[0])
    assert encoders.text(inputs(texts=2)[0])[0].shape == (2, D)
    del encoders
    gc.collect()
    assert gpu.resources == 0


def test_a_refused_run_says_why(library, model, gpu):
    encoders = opened(model[1])
    library.fail_run = True
    with pytest.raises(BackendError, match="refuses a run: as the stand-in was told"):
        encoders.text(inputs()[0])
    library.fail_run = False
    encoders.text(inputs()[0])
    del encoders
    gc.collect()
    assert gpu.resources == 0


def test_int8_is_refused_with_a_remedy(library, model):
    with pytest.raises(BackendError, match=r"no int8 bundles.*--precision fp16"):
        choice.choose("int8", "tensorrt", "auto", "auto")
    static = choice.choose("int8-static", "tensorrt", "auto", "auto")
    assert (static.backend, static.device, static.precision) == ("tensorrt", "cuda", "int8-static")


def test_description(library, model):
    title = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}[library.__name__]
    encoders = opened(model[1])
    assert encoders.description.startswith(f"{title} on cuda, fp32") and encoders.device == "cuda"


# ---- frames on the GPU -------------------------------------------------------------------------------


class OnTheGpu:
    """As DALI and CuPy show their arrays."""

    def __init__(self, array, strides=None, offset=0, stream=None):
        context = Context()
        with context.current():
            self.memory = DeviceMemory(context, array.nbytes + offset)
            copy = Stream(context)
            copy.upload(np.ascontiguousarray(array), self.memory.address + offset)
            copy.synchronize()
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.memory.address + offset, False),
            "strides": strides,
            "stream": stream,
            "version": 3,
        }


@pytest.mark.parametrize("frames", [1, 3, F])
def test_frames_on_the_gpu_are_read_in_place(library, model, gpu, frames):
    encoders = opened(model[1])
    _, pixels, mask = inputs(5, frames)
    expected = encoders.vision(pixels, mask)
    there = OnTheGpu(pixels)
    runs = -(-5 * frames // BATCH)
    before = gpu.calls("cuMemcpyHtoDAsync_v2")
    np.testing.assert_array_equal(encoders.vision(there, mask), expected)
    # Of each run: the mask, and the stand-in's own result.
    assert gpu.calls("cuMemcpyHtoDAsync_v2") - before == 2 * runs


def test_the_stream_that_makes_the_frames_is_waited_for(library, model, gpu):
    encoders = opened(model[1])
    _, pixels, mask = inputs(1, 1)
    context = Context()
    with context.current():
        stream = Stream(context)
        there = OnTheGpu(np.zeros_like(pixels), stream=stream.handle)
        stream.upload(pixels, there.memory.address)  # done only when somebody waits
    np.testing.assert_array_equal(encoders.vision(there, mask), encoders.vision(pixels, mask))


def test_every_stream_is_waited_for_where_none_is_named(library, model, gpu):
    """As of PyTorch's tensors, whose interface is of version 2."""
    encoders = opened(model[1])
    _, pixels, mask = inputs(1, 1)
    context = Context()
    with context.current():
        there, stream = OnTheGpu(np.zeros_like(pixels)), Stream(context)
        del there.__cuda_array_interface__["stream"]
        there.__cuda_array_interface__["version"] = 2
        stream.upload(pixels, there.memory.address)
    np.testing.assert_array_equal(encoders.vision(there, mask), encoders.vision(pixels, mask))
    assert gpu.calls("cuCtxSynchronize") > 0


def test_arrays_on_the_gpu_that_cannot_be_read(library, model, gpu):
    encoders = opened(model[1])
    _, pixels, mask = inputs(2, 1)
    with pytest.raises(UsageError, match="C-contiguous array on the GPU, got strides"):
        encoders.vision(OnTheGpu(pixels, strides=(1, 2, 3, 4, 5)), mask)
    with pytest.raises(UsageError, match="frames as uint8"):
        encoders.vision(OnTheGpu(pixels.astype(np.float32)), mask)
    with pytest.raises(BackendError, match="an address that 256 divides"):
        encoders.vision(OnTheGpu(pixels, offset=4), mask)


def test_a_cpu_takes_no_arrays_on_the_gpu(gpu, model):
    _, pixels, mask = inputs(1, 1)
    cpu = open_encoders(model[1], "onnxruntime", "cpu")
    with pytest.raises(UsageError, match="frames in main memory for ONNX Runtime on cpu"):
        cpu.vision(OnTheGpu(pixels), mask)


@pytest.mark.parametrize("strides", [None, (12, 4), (12, 4, 1)])
def test_device_arrays(strides):
    shape = (5, 3) if strides is None else (5, 3, 4)[: len(strides)]
    dtype = np.dtype(np.uint8 if strides and len(strides) == 3 else np.float32)
    given = type("Given", (), {})()
    given.__cuda_array_interface__ = {
        "shape": shape, "typestr": dtype.str, "data": (4096, True), "strides": strides, "version": 3,
    }  # fmt: skip
    array = DeviceArray.of(given)
    row = 4 * 3
    assert (len(array), array.ndim, array.nbytes) == (5, len(shape), 5 * row)
    assert array[1:4] == DeviceArray(4096 + row, (3, *shape[1:]), dtype, None, given)
    assert array[3:9].shape == (2, *shape[1:]) and DeviceArray.of(array) is array
    assert DeviceArray.of(np.zeros(3)) is None
    assert array.reshape(15, *shape[2:]).shape == (15, *shape[2:])
    with pytest.raises(UsageError, match="as many numbers"):
        array.reshape(2, 2)
