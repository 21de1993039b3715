"""Frame features to what is scored (temporal.onnx): through the encoder backends, and in PyTorch.

F = 12, D = 512. The graph does not depend on the towers, so these are as small as can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtr.bundle import Bundle
from vtr.encoders import Encoders, open_encoders
from vtr.encoders.choice import TITLES

from .. import synthetic
from ..baselines.optional import SLOW_TO_COMPILE, missing
from ..case import OURS, Case, Ceiling, Context, Disagreement, Measurement

if TYPE_CHECKING:
    from vtr.export.models import ReferenceModel

FAMILIES = {
    "ea": "excitation and aggregation (EA-CLIP4Clip)",
    "teachclip": "attentional aggregation over seqTransf (TeachCLIP)",
    "clip4clip": "mean (CLIP4Clip)",
}
VARIANTS = {"ea": "excitation_aggregation"}
BACKENDS = ("openvino", "onnxruntime")  # on CPUs; `OURS` is the one that vtr takes by itself
BATCHES, QUICK_BATCHES = (1, 32, 1024), (1, 32)
TOWERS = {"vision_width": 64, "text_width": 64, "layers": 1, "image": 32, "patch": 32}
BOUND = 1e-3  # of the largest value: float32 in another order
EAGER, COMPILED = "PyTorch eager", "PyTorch compiled"


def prepare(context: Context) -> Iterator[Measurement]:
    for family in FAMILIES:
        model, path = make_model(family, context.folder)
        bundle = Bundle.open(path)
        encoders = {OURS: open_encoders(bundle, device="cpu", threads=context.threads)}
        skipped = {}
        for backend in BACKENDS:
            title = TITLES[backend]
            if encoders[OURS].description.startswith(title):
                continue
            if reason := missing(backend):
                skipped[title] = reason
            else:
                encoders[title] = open_encoders(
                    bundle, backend=backend, device="cpu", threads=context.threads
                )
        for batch in QUICK_BATCHES if context.quick else BATCHES:
            yield measurement(family, model, encoders, batch, skipped, context)


def make_model(family: str, folder: Path) -> tuple[ReferenceModel, Path]:
    """A model with the real head and small towers, and its bundle."""
    from vtr.export import export_model
    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    state = random_checkpoint(family, variant=VARIANTS.get(family), dim=synthetic.D, **TOWERS)
    model = build_model(state)
    path = folder / f"aggregate-{family}"
    export_model(model, path, name=f"{family}, small towers, random weights", trained=False)
    return model, path


def measurement(
    family: str,
    model: ReferenceModel,
    encoders: dict[str, Encoders],
    batch: int,
    skipped: dict[str, str],
    context: Context,
) -> Measurement:
    import torch

    torch.set_num_threads(context.threads)
    video = synthetic.videos(batch, model.sizes["frames"], model.sizes["dim"])
    x, mask = torch.from_numpy(video.frames), torch.from_numpy(video.mask)

    def eager() -> Any:
        with torch.inference_mode():
            return model.temporal(x, mask)

    contenders: dict[str, Callable[[], Any]] = {
        name: partial(one.temporal, video.frames, video.mask) for name, one in encoders.items()
    }
    contenders[EAGER] = eager
    skipped = dict(skipped)
    if context.quick:
        skipped[COMPILED] = SLOW_TO_COMPILE
    else:
        compile_into(contenders, skipped, model, x, mask)
    expected = eager()["video"].numpy()
    check = {}
    for name, work in contenders.items():
        off = float(np.abs(np.asarray(work()["video"]) - expected).max() / np.abs(expected).max())
        if not off <= BOUND:
            raise Disagreement(
                f"{family}, {name}: off by {off} of the largest value, expected {BOUND} at most"
            )
        check[f"{name}, largest difference, share of the largest value"] = round(off, 8)
    return Measurement(
        name=f"{FAMILIES[family]}, batch {batch}",
        item="video",
        items=batch,
        contenders=contenders,
        check=check,
        leaves_out="the towers",
        skipped=skipped,
        ceiling=Ceiling(video.frames.nbytes / 1e9, "read_gb_s"),
        settings={"batch": batch},
    )


def compile_into(
    contenders: dict[str, Callable[[], Any]], skipped: dict[str, str], model: Any, x: Any, mask: Any
) -> None:
    """Add the model's head through ``torch.compile``, or why it is not there."""
    import torch

    torch.compiler.reset()
    made = torch.compile(model.temporal, dynamic=False)

    def compiled() -> Any:
        with torch.inference_mode():
            return made(x, mask)

    try:
        compiled()
    except Exception as error:  # no C++ compiler, or whatever else compilation meets
        skipped[COMPILED] = f"torch.compile failed here: {str(error).strip().splitlines()[0]:.200}"
    else:
        contenders[COMPILED] = compiled


CASE = Case("aggregate", prepare)
