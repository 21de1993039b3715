"""Part "encoders": ViT-B/32 with random weights by batch, on PyTorch and on whatever runtime is installed.

Frames are uint8 of 224 × 224; normalising them is in the graph. The wall clock of a call counts, on frames
that lie on the GPU already where the runtime takes such, and on frames in main memory, copies included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import work
from .place import Place
from .timing import speed

VIT_B_32 = {"dim": 512, "vision_width": 768, "layers": 12, "image": 224, "patch": 32}
PRECISIONS = ("fp16", "bf16")
BACKENDS = ("tensorrt", "onnxruntime")
BATCHES = (1, 8, 32)  # videos of F frames

Record = dict[str, Any]
Encode = Callable[[Any, np.ndarray], Any]  # frames [B, F, S, S, 3] uint8, mask [B, F] float32


def measure(place: Place) -> Iterator[Record]:
    place.require_gpu()
    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    model = build_model(random_checkpoint("clip4clip", frames=place.frames, **VIT_B_32))
    yield from of_pytorch(model, place)
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            path = Path(folder) / precision
            try:
                export(model, path, precision)
            except Exception as error:  # the exporter's packages are many
                yield {"name": f"bundle in {precision}", "failed": words(error)}
                continue
            for backend in BACKENDS:
                yield from of_runtime(path, backend, precision, place)


def export(model: Any, path: Path, precision: str) -> None:
    from vtr.export import export_model

    export_model(model.cpu().float(), path, precision, name="ViT-B/32, random weights", trained=False)


def words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def of_pytorch(model: Any, place: Place) -> Iterator[Record]:
    """The reference model under autocast in bf16, eager and compiled."""
    tower = model.to(place.device).encode_vision

    def run(form: Encode, frames: torch.Tensor, mask: np.ndarray) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(place.device.type, torch.bfloat16):
            return form(frames, torch.from_numpy(mask).to(place.device))

    forms = {"eager": tower} if place.tiny else {"eager": tower, "compiled": torch.compile(tower)}
    for label, form in forms.items():
        try:
            yield from by_batch(f"PyTorch {label} bf16", partial(run, form), True, place)
        except Exception as error:
            yield {"name": f"encode PyTorch {label} bf16", "failed": words(error)}


def of_runtime(path: Path, backend: str, precision: str, place: Place) -> Iterator[Record]:
    """A bundle's vision tower on a runtime, as the engine opens it."""
    name = f"{backend} {precision}"
    try:
        from vtr.bundle import Bundle
        from vtr.encoders import open_encoders

        opened = open_encoders(Bundle.open(path, verify=False), backend, "cuda")
    except Exception as error:
        yield {"name": f"encode {name}", "failed": words(error)}
        return
    yield {"name": f"encode {name} opened", "description": opened.description}
    for there in (True, False):
        try:
            yield from by_batch(name, opened.vision, there, place)
        except Exception as error:
            yield {"name": f"encode {name} from {place_of(there)}", "failed": words(error)}


def place_of(there: bool) -> str:
    return "the GPU" if there else "main memory"


def by_batch(name: str, encode: Encode, there: bool, place: Place) -> Iterator[Record]:
    size = VIT_B_32["image"]
    for videos in BATCHES[:1] if place.tiny else BATCHES:
        shape = (videos, place.frames, size, size, 3)
        frames: Any = torch.randint(0, 256, shape, dtype=torch.uint8)
        frames = frames.to(place.device) if there else frames.numpy()
        mask = np.ones((videos, place.frames), np.float32)
        times = wall(partial(encode, frames, mask), place)
        images = videos * place.frames
        tower = (VIT_B_32[part] for part in ("patch", "vision_width", "layers", "dim"))
        flop = work.vit_flop(images, size, *tower)
        figures = speed(times, place, flop=flop)
        rate = round(images / (figures["ms"]["p50"] / 1e3))
        yield {"name": f"encode {name} {images} frames from {place_of(there)}", "frames_s": rate, **figures}


def wall(run: Callable[[], Any], place: Place) -> list[float]:
    """Seconds of calls by the wall clock: a runtime works on streams of its own, which events do not see."""
    wait = torch.cuda.synchronize if place.device.type == "cuda" else lambda: None
    for _ in range(0 if place.tiny else 3):
        run()
    seconds = []
    for _ in range(1 if place.tiny else 3 * place.repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - start)
    return seconds
