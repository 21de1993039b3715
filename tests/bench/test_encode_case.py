"""The case about encoding: every runtime's features against the reference model, work counted, records."""

import numpy as np
import pytest
from support import SMALL

from vtr.benchmarks import models as bench_models
from vtr.benchmarks.baselines.optional import SLOW_TO_COMPILE
from vtr.benchmarks.baselines.towers import Towers, onnxruntime_towers, openvino_towers, torch_towers
from vtr.benchmarks.case import OURS, Context, Disagreement, run
from vtr.benchmarks.cases import encode
from vtr.bundle import Bundle

torch = pytest.importorskip("torch", reason="torch is not installed")

WORDS = 32
MAKERS = {
    "OpenVINO": lambda model, bundle: openvino_towers(bundle, "fp32", 1),
    "ONNX Runtime": lambda model, bundle: onnxruntime_towers(bundle, 1),
    "PyTorch eager": lambda model, bundle: torch_towers(model, "fp32", compiled=False),
}


def plain(model, what, values):
    """The reference model's features, ``[B, D]``, one input at a time."""
    with torch.inference_mode():
        if what == "texts":
            return torch.cat([model.encode_text(ids[None])[0] for ids in torch.from_numpy(values)]).numpy()
        one = torch.ones(1, 1)
        return torch.cat(
            [model.encode_vision(frame[None, None], one)[0] for frame in torch.from_numpy(values)]
        ).numpy()


@pytest.fixture
def small(models, monkeypatch, tmp_path):
    """The tests' own small model in the place of the benchmark's; PyTorch's threads as before afterwards."""
    reference, bundle = models("clip4clip-meanP")
    monkeypatch.setattr(bench_models, "bundle", lambda context, family, precision="fp32": bundle)
    monkeypatch.setattr(bench_models, "reference", lambda context, family: reference)
    monkeypatch.setattr(bench_models, "sizes", lambda context: {**SMALL, "text_width": SMALL["dim"]})
    threads = torch.get_num_threads()
    ceilings = {"fp32_tflops": 1.0, "bf16_tflops": 1.0}
    yield reference, bundle, Context(1, True, [], tmp_path, ceilings)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("what", ["frames", "texts"])
@pytest.mark.parametrize("name", MAKERS)
def test_every_runtime_gives_the_features(name, what, small):
    model, bundle, _ = small
    pytest.importorskip(
        {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime"}.get(name, "torch"),
        reason=f"{name} is not installed",
    )
    values = encode.make_inputs(Bundle.open(bundle), 3)[what]
    expected = plain(model, what, values)
    # float32 in another order of summation; features have lengths of about 10
    np.testing.assert_allclose(getattr(MAKERS[name](model, bundle), what)(values), expected, atol=2e-3)


def test_half_precision_is_another_result(small):
    model, bundle, _ = small
    values = encode.make_inputs(Bundle.open(bundle), 3)["frames"]
    exact, half = (torch_towers(model, kind, compiled=False).frames(values) for kind in ("fp32", "bf16"))
    assert encode.LEAST["bf16"] < encode.smallest_cosine(exact, half) < encode.LEAST["fp32"]
    assert model.clip.visual.proj.dtype == torch.float32  # the reference stays what it was


def test_smallest_cosine():
    a = np.array([[1, 0], [0, 2]], np.float32)
    b = np.array([[3, 0], [1, 1]], np.float32)
    assert encode.smallest_cosine(a, b) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize(
    "sizes",
    [
        {"dim": 64, "vision_width": 64, "text_width": 64, "layers": 2, "image": 64, "patch": 32},
        {"dim": 32, "vision_width": 128, "text_width": 64, "layers": 1, "image": 96, "patch": 16},
    ],
)
def test_work_is_counted(sizes):
    """Against PyTorch's own count of the products, attention's among them where it is plain products."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    model = build_model(random_checkpoint("clip4clip", vocab=97, context=WORDS, **sizes))
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as frame:
        model.encode_vision(
            torch.zeros(1, 1, sizes["image"], sizes["image"], 3, dtype=torch.uint8), torch.ones(1, 1)
        )
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as text:
        model.encode_text(torch.zeros(1, WORDS, dtype=torch.int64))
    assert encode.frame_flop(sizes) == frame.get_total_flops()
    assert encode.text_flop(sizes, WORDS) == text.get_total_flops()


# ---- what is compared and timed ------------------------------------------------------------------------


def towers(features):
    return Towers(lambda frames: features, lambda ids: features)


def compare(ours, precision="fp32", **others):
    expected = np.eye(4, dtype=np.float32) + 1
    contenders = {OURS: towers(ours), **{name: towers(features) for name, features in others.items()}}
    return encode.compare("frames", contenders, np.zeros(4), expected, precision)


def off(cosine):
    """The features that `compare` expects, their directions moved so far."""
    expected = np.eye(4, dtype=np.float32) + 1
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    aside = np.roll(unit, 1, axis=0) - (np.roll(unit, 1, axis=0) * unit).sum(1, keepdims=True) * unit
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return (cosine * unit + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


def test_contenders_that_are_less_accurate_are_not_timed():
    agreeing, check, differing = compare(off(1.0), same=off(1.0), half=off(0.999))
    assert set(agreeing) == {OURS, "same"}
    assert check == {"smallest cosine, vtr": 1.0, "smallest cosine, same": 1.0}
    assert differing["half"].startswith("less accurate: cosine 0.999")
    assert set(compare(off(1.0), "bf16", half=off(0.999))[0]) == {OURS, "half"}


def test_contenders_that_fail_are_named():
    class Failing:
        def frames(self, values):
            raise RuntimeError("no compiler\nand a long traceback")

    contenders = {OURS: towers(off(1.0)), "compiled": Failing()}
    agreeing, _, differing = encode.compare(
        "frames", contenders, np.zeros(4), np.eye(4, dtype=np.float32) + 1, "fp32"
    )
    assert set(agreeing) == {OURS}
    assert differing == {"compiled": "fails: RuntimeError: no compiler"}


def test_ours_has_to_be_right():
    with pytest.raises(Disagreement, match="cosine"):
        compare(off(0.9999))


def test_records(small):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    _, _, context = small
    found = list(encode.prepare(context))
    measured = [m for m in found if not isinstance(m, dict)]
    names = [m.name for m in measured]
    assert names[:4] == [f"{what}, fp32, batch {batch}" for what in ("frames", "texts") for batch in (1, 8)]
    record = run(measured[0], context)
    assert {OURS, "OpenVINO", "PyTorch eager"} <= set(record["microseconds"])
    assert record["skipped"]["PyTorch compiled"] == SLOW_TO_COMPILE
    assert record["of_ceiling"]["peak"] == "fp32_tflops"
    assert record["settings"]["auto"] == int(encode.automatic(context) == "fp32")
    if len(measured) == 4:  # no bfloat16 on this processor: said, not passed over
        assert found[-1]["name"] == "frames and texts, bf16"
        assert OURS in found[-1]["skipped"]
    else:
        assert "ONNX Runtime" in measured[4].skipped
        assert measured[4].ceiling.peak == "bf16_tflops"
