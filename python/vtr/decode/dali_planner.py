"""Planning in a worker process: a file's frames for DALI to decode, or decoded here where it should not."""

from __future__ import annotations

import os

import numpy as np
from av.video.frame import VideoFrame

from vtr.decode.colour import to_image
from vtr.decode.dali_doubts import Doubt, check_frame, check_source
from vtr.decode.dali_packets import PacketRecorder
from vtr.decode.dali_plan import Declined, Plan
from vtr.decode.limits import Limits
from vtr.decode.reader import make_clip, open_frames, read_clip, video_info
from vtr.decode.resize import centre_square, resized_size
from vtr.decode.sampling import check_sampling, sample_indices
from vtr.decode.source import Source, open_source
from vtr.types import Sampling


def plan_clip(
    path: str | os.PathLike[str], sampling: Sampling, limits: Limits, device: str, *, threads: int = 1
) -> Plan | Declined:
    """The frames that ``read_clip`` gives, for DALI on ``device`` ("cpu" or "cuda") to decode.

    ``Declined`` holds the clip itself where DALI is not known to give the same frames. Raises what
    ``read_clip`` raises.
    """
    check_sampling(sampling)
    try:
        with open_source(path, limits, threads) as source:
            return _plan(source, sampling, device)
    except Doubt as doubt:
        return Declined(read_clip(path, sampling, limits, threads=threads), str(doubt))


def _plan(source: Source, sampling: Sampling, device: str) -> Plan:
    check_source(source, device)
    recorder, last = open_frames(source, PacketRecorder)
    first = recorder.first
    colours = check_frame(first, source)
    info = video_info(source, recorder, last)
    width, height = resized_size(info.width, info.height, sampling.size)
    if width * height > source.limits.pixels:
        raise Doubt("its resized pictures are too large")  # read_clip says so properly
    numbers = sample_indices(info.frames, source.frame_rate, sampling).tolist()
    found, stream = recorder.record(numbers)
    guard = _guard(first, found[numbers[0]].seconds == 0, sampling, source.limits)
    outline = make_clip(guard, found, info)
    places = np.array([shown.picture for shown in found.values()], dtype=np.int32)
    return Plan(outline, stream, places, colours)


def _guard(first: VideoFrame, wanted: bool, sampling: Sampling, limits: Limits) -> np.ndarray:
    """The clip's first frame, which DALI's is compared with; it is decoded anyway."""
    if not wanted:
        return np.empty((0, sampling.size, sampling.size, 3), dtype=np.uint8)
    return centre_square(to_image(first), sampling.size, limits.pixels)[None]
