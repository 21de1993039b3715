"""Every exported graph really planned by TensorRT-RTX, which needs no GPU for it, for sm_89 and sm_120."""

import numpy as np
import onnx
import pytest
from support import MODELS, TINY

from vtr.encoders.tensorrt_build import Library, build_plan
from vtr.errors import BackendError

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx", reason="no tensorrt_rtx: pip install tensorrt-rtx-cu13")

from vtr.export.models import build_model
from vtr.export.onnx_graphs import graphs, serialize, to_onnx
from vtr.export.parity import calibration
from vtr.export.precision import convert
from vtr.export.synthetic import random_checkpoint

TARGETS = (89, 120)
GRAPHS = [  # of models that are tested end to end; towers that are alike are planned once
    *[(name, "temporal.onnx") for name in MODELS],
    ("clip4clip-tightTransf", "cross.onnx"),
    *[(name, "vision.onnx") for name in ("clip4clip-meanP", "clip4clip-3d")],
    ("clip4clip-meanP", "text.onnx"),
]
TOWERS = [(name, file) for name, file in GRAPHS if file in ("text.onnx", "vision.onnx")]


@pytest.fixture(scope="module")
def library():
    """TensorRT-RTX, also where the full TensorRT is installed, which plans on GPUs alone."""
    import tensorrt_rtx

    return Library("tensorrt_rtx", tensorrt_rtx)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """The convolutional vision tower's graph."""
    sizes = {**TINY, "vision_width": 8, "blocks": (1, 1, 1, 1)}
    graph = next(g for g in graphs(build_model(random_checkpoint(**sizes))) if g.file == "vision.onnx")
    path = tmp_path_factory.mktemp("resnet") / "vision.onnx"
    path.write_bytes(serialize(to_onnx(graph), path.name))
    return path


def frames_of(name):
    return 12 if name == "clip4clip-3d" else 1


def converted(path, precision, folder):
    made = folder / path.name
    made.write_bytes(serialize(convert(onnx.load(str(path)), precision), path.name))
    return made


def assert_planned(library, path, frames=1):
    plan = build_plan(path, TARGETS, frames, library)
    assert len(plan) > path.stat().st_size / 2, "a plan holds the weights"


@pytest.mark.parametrize("name, file", GRAPHS)
def test_float32(library, models, name, file):
    assert_planned(library, models(name)[1] / file, frames_of(name))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name, file", TOWERS)
def test_towers_in_16_bits(library, models, tmp_path, name, file, precision):
    path = converted(models(name)[1] / file, precision, tmp_path)
    assert_planned(library, path, frames_of(name))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_convolutional_towers(library, resnet, tmp_path, precision):
    assert_planned(library, converted(resnet, precision, tmp_path))


@pytest.mark.parametrize("name, file", [*TOWERS[:1], *TOWERS[-1:]])
def test_towers_in_static_int8(library, models, tmp_path, name, file):
    reference, bundle = models(name)
    made = tmp_path / file
    proto = convert(onnx.load(str(bundle / file)), "int8-static", calibration(reference, file))
    made.write_bytes(serialize(proto, file))
    assert_planned(library, made, frames_of(name))


def test_convolutions_in_static_int8(library, resnet, tmp_path):
    rng = np.random.default_rng(0)
    size = TINY["image"]
    frames = rng.integers(0, 256, (2, 3, size, size, 3), dtype=np.uint8)
    feeds = [{"frames": frames, "mask": np.ones((2, 3), np.float32)}]
    made = tmp_path / resnet.name
    made.write_bytes(serialize(convert(onnx.load(str(resnet)), "int8-static", feeds), made.name))
    assert_planned(library, made)


def test_int8_is_refused_by_the_parser(library, models, tmp_path):
    """Why `choice` does not let int8 bundles get here."""
    path = converted(models("clip4clip-meanP")[1] / "text.onnx", "int8", tmp_path)
    with pytest.raises(BackendError, match=r"cannot read .*DynamicQuantizeLinear"):
        build_plan(path, 89, library=library)


@pytest.mark.parametrize("target", [90, 100, 999])
def test_architectures_that_it_does_not_know(library, models, target):
    with pytest.raises(BackendError, match=rf"plans for sm_75.*, not for sm_{target}: pip install tensorrt"):
        build_plan(models("clip4clip-meanP")[1] / "temporal.onnx", target, library=library)


@pytest.mark.parametrize("content", [b"nonsense", b"", b"\x3a\x00"])
def test_files_that_are_no_graph(library, tmp_path, content):
    (tmp_path / "text.onnx").write_bytes(content)
    with pytest.raises((BackendError, ValueError), match=r"cannot read|cannot plan|protocol buffer"):
        build_plan(tmp_path / "text.onnx", 89, library=library)


def test_open_axes_of_another_name(library, models, tmp_path):
    proto = onnx.load(str(models("clip4clip-meanP")[1] / "temporal.onnx"))
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
    path = tmp_path / "temporal.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(BackendError, match="expected open axes of batch, frames, got 'rows' in features"):
        build_plan(path, 89, library=library)
