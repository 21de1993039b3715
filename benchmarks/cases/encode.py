"""Frames and texts to features: what `vtr.Engine` picks beside each runtime, at equal precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.bundle import Bundle
from vtr.encoders import open_encoders
from vtr.encoders.choice import choose
from vtr.errors import BackendError

from .. import models
from ..baselines.optional import SLOW_TO_COMPILE, missing
from ..baselines.towers import Towers, onnxruntime_towers, openvino_towers, torch_towers
from ..case import OURS, Case, Ceiling, Context, Disagreement, Measurement

# Smallest cosine with float32 PyTorch at which a contender counts as of this precision.
LEAST = {"fp32": 0.99999, "bf16": 0.995, "int8": 0.95}
PEAKS = {"fp32": "fp32_tflops", "bf16": "bf16_tflops"}
CAPTIONS = (
    "a man is cooking in a small kitchen",
    "two dogs chase a ball on the beach",
    "cars wait at a crossing while it rains",
    "a rocket takes off",
)

Inputs = Mapping[str, NDArray[Any]]


def prepare(context: Context) -> Iterator[Measurement | dict[str, Any]]:
    """Frames and texts in batches, precision after precision."""
    import torch

    torch.set_num_threads(context.threads)
    model = models.reference(context, "clip4clip")
    batches = (1, 8) if context.quick else (1, 8, 32)
    inputs = make_inputs(Bundle.open(models.bundle(context, "clip4clip")), max(batches))
    with torch.inference_mode():
        exact = torch_towers(model, "fp32", compiled=False)
        expected = {what: getattr(exact, what)(values) for what, values in inputs.items()}
    for precision in ("fp32", "bf16") if context.quick else ("fp32", "bf16", "int8"):
        try:
            ours = ours_of(context, precision)
        except BackendError as error:  # this machine does not compute in it
            yield {"name": f"frames and texts, {precision}", "skipped": {OURS: str(error)}}
            continue
        others, skipped = others_of(model, precision, context)
        for what, values in inputs.items():
            agreeing, check, differing = compare(
                what, {OURS: ours, **others}, values, expected[what], precision
            )
            for batch in batches:
                yield Measurement(
                    name=f"{what}, {precision}, batch {batch}",
                    item=what[:-1],
                    items=batch,
                    contenders={
                        name: partial(getattr(towers, what), values[:batch])
                        for name, towers in agreeing.items()
                    },
                    check=check,
                    leaves_out="loading and compiling; decoding and tokenizing",
                    skipped={**skipped, **differing},
                    ceiling=ceiling(context, what, precision, batch),
                    settings={"batch": batch, "auto": int(precision == automatic(context))},
                )


def make_inputs(bundle: Bundle, count: int) -> dict[str, NDArray[Any]]:
    """Frames of smooth noise, and captions."""
    size = bundle.sizes["image"]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, size // 16, size // 16, 3), dtype=np.uint8)
    captions = [f"{CAPTIONS[i % len(CAPTIONS)]}, take {i}" for i in range(count)]
    return {
        "frames": np.ascontiguousarray(coarse.repeat(16, 1).repeat(16, 2)),
        "texts": bundle.tokenizer.encode(captions, bundle.sizes["words"]),
    }


def automatic(context: Context) -> str:
    """The precision that an engine takes of itself on this machine's processor."""
    return choose("fp32", "auto", "cpu", "auto").precision


def ours_of(context: Context, precision: str) -> Towers:
    """The encoders as an engine opens them on the CPU, asked for nothing but the precision."""
    exported = "int8" if precision == "int8" else "fp32"
    bundle = Bundle.open(models.bundle(context, "clip4clip", exported))
    wanted = "auto" if precision == "int8" else precision
    encoders = open_encoders(bundle, device="cpu", precision=wanted, threads=context.threads)
    if precision == "fp32" and encoders.precision != "fp32":
        raise Disagreement(f"asked for fp32, got {encoders.description}")
    return Towers(
        lambda frames: encoders.vision(frames[:, None], np.ones((len(frames), 1), np.float32))[:, 0],
        lambda ids: encoders.text(ids)[0],
    )


def others_of(model: Any, precision: str, context: Context) -> tuple[dict[str, Towers], dict[str, str]]:
    """The runtimes that compute in this precision, and why the others do not."""
    exported: Path = models.bundle(context, "clip4clip", "int8" if precision == "int8" else "fp32")
    makers: dict[str, Callable[[], Towers]] = {
        "OpenVINO": lambda: openvino_towers(exported, precision, context.threads),
        "ONNX Runtime": lambda: onnxruntime_towers(exported, context.threads),
        "PyTorch eager": lambda: torch_towers(model, precision, compiled=False),
        "PyTorch compiled": lambda: torch_towers(model, precision, compiled=True),
    }
    skipped: dict[str, str] = {}
    if precision == "bf16":
        skipped["ONNX Runtime"] = "has no bfloat16 on CPUs"
    if precision == "int8":
        skipped |= {name: "has no int8 form of this model" for name in makers if name.startswith("PyTorch")}
    if context.quick:
        skipped.setdefault("PyTorch compiled", SLOW_TO_COMPILE)
    for name, module in (("OpenVINO", "openvino"), ("ONNX Runtime", "onnxruntime")):
        if (why := missing(module)) is not None:
            skipped.setdefault(name, why)
    return {name: make() for name, make in makers.items() if name not in skipped}, skipped


def compare(
    what: str,
    contenders: Mapping[str, Towers],
    values: NDArray[Any],
    expected: NDArray[np.float32],
    precision: str,
) -> tuple[dict[str, Towers], dict[str, float], dict[str, str]]:
    """Those whose features are the reference's to this precision; each one's smallest cosine; why not others.

    Raises `Disagreement` where vtr's are not.
    """
    agreeing, check, differing = {}, {}, {}
    for name, towers in contenders.items():
        try:
            cosine = smallest_cosine(getattr(towers, what)(values), expected)
        except Exception as error:
            if name == OURS:
                raise
            differing[name] = f"fails: {type(error).__name__}: {error}".splitlines()[0][:160]
            continue
        if cosine >= LEAST[precision]:
            agreeing[name] = towers
            check[f"smallest cosine, {name}"] = round(cosine, 6)
        elif name == OURS:
            raise Disagreement(f"{what}, {precision}: cosine {cosine:.6f} with float32 PyTorch")
        else:
            differing[name] = f"less accurate: cosine {cosine:.6f} where {precision} has {LEAST[precision]}"
    return agreeing, check, differing


def smallest_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Over rows ``[B, D]``."""
    return float(np.min((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)))


def ceiling(context: Context, what: str, precision: str, batch: int) -> Ceiling | None:
    if precision not in PEAKS:
        return None
    sizes = models.sizes(context)
    flop = frame_flop(sizes) if what == "frames" else text_flop(sizes)
    return Ceiling(batch * flop / 1e12, PEAKS[precision])


def frame_flop(sizes: Mapping[str, int]) -> float:
    """Multiplications and additions of the vision transformer's products, for one frame."""
    patches, width = (sizes["image"] // sizes["patch"]) ** 2, sizes["vision_width"]
    ends = 2 * patches * 3 * sizes["patch"] ** 2 * width + 2 * width * sizes["dim"]
    return ends + _blocks_flop(patches + 1, width, sizes["layers"])


def text_flop(sizes: Mapping[str, int], words: int = 32) -> float:
    """The same of the text transformer, whose every position is projected, for one text."""
    width = sizes["text_width"]
    return _blocks_flop(words, width, sizes["layers"]) + 2 * words * width * sizes["dim"]


def _blocks_flop(tokens: int, width: int, layers: int) -> float:
    """Per block: 12 width² weights a token, and two products of tokens with tokens."""
    return layers * (24 * tokens * width**2 + 4 * tokens**2 * width)


CASE = Case("encode", prepare)
