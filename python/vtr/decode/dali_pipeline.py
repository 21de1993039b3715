"""DALI's part: planned packets in, square RGB frames out, on the CPU or on a GPU by NVDEC.

DALI always converts colours by BT.601 and does so exactly, with chroma interpolated. PyAV's path is
libswscale's quick conversion by the file's own matrix, with chroma repeated. So after the resize a matrix
turns BT.601 into BT.709 where the file is that, and the offset below is added. What remains is the chroma at
the edges of colours, which mostly averages out where pictures are made smaller.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.decode.dali_frames import DeviceFrames
from vtr.decode.dali_plan import Plan
from vtr.decode.resize import resized_size
from vtr.errors import BackendError
from vtr.types import Sampling

INSTALL = "pip install nvidia-dali-cuda130"
MOST_PIXELS = 1 << 28  # of one run, over all files and frames: 800 MB

Frames = NDArray[np.uint8] | DeviceFrames


class DaliDecoder:
    """One DALI pipeline for models of one ``sampling``. Not for several threads at once.

    ``device`` is "cpu" (VP8, VP9 and Motion JPEG) or "cuda", where frames stay. Raises ``BackendError``
    where DALI is missing or cannot start.
    """

    def __init__(self, sampling: Sampling, device: str = "cpu", *, batch: int = 8, threads: int = 2) -> None:
        self.batch = batch
        self._sampling, self._device, self._threads = sampling, device, threads
        self._pipeline: Any = None
        self._ended = ""  # why there is no pipeline any more
        self._start()

    def decode(self, plans: Sequence[Plan]) -> list[Frames | str]:
        """Each plan's frames, uint8 ``[n, S, S, 3]``, or in a few words why DALI does not give them.

        A file that DALI fails on costs the others of its run a second one, and nothing else.
        """
        return [result for part in self._parts(plans) for result in self._decode_part(part)]

    def _decode_part(self, plans: Sequence[Plan]) -> list[Frames | str]:
        if self._pipeline is None:
            return [self._ended for _ in plans]
        try:
            return list(self._run(plans))
        except Exception as error:  # DALI passes errors on as several types
            reason = _reason(error)
        try:
            self._start()
        except BackendError as error:  # the device is lost; what is left is for PyAV
            self._ended = str(error)
        if len(plans) == 1:
            return [reason]
        return [result for plan in plans for result in self._decode_part([plan])]

    def _parts(self, plans: Sequence[Plan]) -> list[list[Plan]]:
        """Plans of one run each: at most ``batch``, and not too many pixels unless it is one alone."""
        parts: list[list[Plan]] = []
        pixels = 0
        for plan in plans:
            size = decoded_pixels(plan)
            if not parts or len(parts[-1]) == self.batch or pixels + size > MOST_PIXELS:
                parts.append([])
                pixels = 0
            parts[-1].append(plan)
            pixels += size
        return parts

    def _start(self) -> None:
        """Make the pipeline; a run that failed leaves the old one unusable."""
        self._pipeline = None
        try:
            self._pipeline = build_pipeline(self._sampling, self._device, self.batch, self._threads)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(f"DALI does not start on {self._device}: {_reason(error)}") from None

    def _run(self, plans: Sequence[Plan]) -> list[Frames]:
        size = self._sampling.size
        shapes = [resized_size(plan.outline.width, plan.outline.height, size) for plan in plans]
        (output,) = self._pipeline.run(
            streams=[np.frombuffer(plan.stream, np.uint8) for plan in plans],
            places=[plan.places for plan in plans],
            sizes=[np.array([height, width], np.float32) for width, height in shapes],
            corners=[
                np.array([round((height - size) / 2), round((width - size) / 2)], np.int32)
                for width, height in shapes
            ],
            colours=[_CONVERSIONS[plan.colours] for plan in plans],
        )
        return [self._taken(output[i], len(plan.places)) for i, plan in enumerate(plans)]

    def _taken(self, tensor: Any, count: int) -> Frames:
        """The first ``count`` frames of one file's tensor ``[F, S, S, 3]``."""
        size = self._sampling.size
        if self._device == "cpu":
            return np.array(tensor)[:count]
        return DeviceFrames(tensor.data_ptr(), (count, size, size, 3), tensor)


def decoded_pixels(plan: Plan) -> int:
    """Pixels that a plan's frames take in DALI, at three bytes: decoded or, if more, resized as float32."""
    outline = plan.outline
    resized = resized_size(outline.width, outline.height, outline.frames.shape[1])
    return len(plan.places) * max(outline.width * outline.height, 4 * resized[0] * resized[1])


def build_pipeline(sampling: Sampling, device: str, batch: int, threads: int) -> Any:
    """Packets and places → frames resized, cropped, in the file's colours, padded to ``sampling.frames``."""
    dali, fn, types = load_dali()
    pipeline = dali.Pipeline(
        batch_size=batch,
        num_threads=threads,
        device_id=None if device == "cpu" else 0,
        prefetch_queue_depth=1,  # a run takes what it is given, and nothing runs ahead
        exec_dynamic=True,  # outputs belong to whoever holds them
    )
    with pipeline:
        streams = fn.external_source(name="streams", dtype=types.UINT8, ndim=1)
        places = fn.external_source(name="places", dtype=types.INT32, ndim=1)
        sizes = fn.external_source(name="sizes", dtype=types.FLOAT, ndim=1)
        corners = fn.external_source(name="corners", dtype=types.INT32, ndim=1)
        colours = fn.external_source(name="colours", dtype=types.FLOAT, ndim=2)
        frames = fn.decoders.video(
            streams, device="cpu" if device == "cpu" else "mixed", frames=places, pad_mode="none"
        )
        frames = fn.resize(
            frames,
            size=sizes,
            mode="stretch",
            interp_type=types.INTERP_CUBIC,
            antialias=True,
            subpixel_scale=False,
            dtype=types.FLOAT,
        )
        frames = fn.slice(frames, start=corners, shape=[sampling.size, sampling.size], axes=[1, 2])
        frames = fn.cast(fn.coord_transform(frames, MT=colours), dtype=types.UINT8)  # rounds and clamps
        pipeline.set_outputs(fn.pad(frames, axes=[0], shape=[sampling.frames]))
    pipeline.build()
    return pipeline


def load_dali() -> tuple[Any, Any, Any]:
    """DALI's modules ``nvidia.dali``, ``.fn`` and ``.types``; ``BackendError`` where they are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU is for the pipeline to say
        try:
            names = ("nvidia.dali", "nvidia.dali.fn", "nvidia.dali.types")
            dali, fn, types = (import_module(name) for name in names)
        except ImportError as error:
            raise BackendError(f"decoder dali needs NVIDIA DALI ({INSTALL}): {error}") from None
    return dali, fn, types


def _to_rgb(kr: float, kb: float) -> NDArray[np.float64]:
    """Y'CbCr → R'G'B' where red and blue have these shares of luma."""
    kg = 1 - kr - kb
    red, blue = 2 * (1 - kr), 2 * (1 - kb)
    return np.array([[1, 0, red], [1, -blue * kb / kg, -red * kr / kg], [1, blue, 0]])


def _conversion(matrix: NDArray[np.float64], rounded_down: Sequence[float]) -> NDArray[np.float32]:
    """DALI's RGB → PyAV's, ``[3, 4]``; the last column is added."""
    return np.concatenate([matrix, -np.array([rounded_down]).T], axis=1).astype(np.float32)


# How far libswscale's quick conversion lies below the exact one, in R, G and B: measured on noise.
_LIMITED, _FULL = (1.0, 1.5, 1.0), (0.5, 1.0, 0.5)
# ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3.
_BT601, _BT709 = _to_rgb(0.299, 0.114), _to_rgb(0.2126, 0.0722)
_CONVERSIONS = {
    "bt601": _conversion(np.eye(3), _LIMITED),
    "bt601 full range": _conversion(np.eye(3), _FULL),
    "bt709": _conversion(_BT709 @ np.linalg.inv(_BT601), _LIMITED),
}


def _reason(error: Exception) -> str:
    """What DALI's message says went wrong, without its tracebacks, on one line."""
    text = str(error)
    for pattern in (r"Assert on .*? failed: (.*?)(?:\n|$)", r"encountered:\s*(.*?)\n"):
        if found := re.search(pattern, text, re.DOTALL):
            text = found[1]
            break
    return " ".join(re.sub(r"^\[[^\]]*\]\s*", "", text).split())[:300] or type(error).__name__
