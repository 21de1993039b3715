"""Files to sampled frames: vtr's decoder beside OpenCV as the published loader uses it, and other readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vtr.decode import DecodePool, probe, read_clip
from vtr.types import Clip, Sampling

from ..baselines.loaders import Load, available
from ..baselines.sampled import Sampled
from ..baselines.workers import workers
from ..case import OURS, Case, Context, Disagreement, Measurement, Work
from ..given_videos import given_videos
from ..made_videos import make_videos

SAMPLING = Sampling()  # of the published models: at most 12 frames, one a second, 224 × 224
DEFINITIONS = ("OpenCV", "PyAV, every frame")  # one of which has to give vtr's frames
# Mean difference in grey levels of 255. Readers turn YUV into RGB each in their own way, with another matrix
# (BT.601 or 709) in the worst case; a frame from another moment of a moving scene is further off.
CLOSE = 6.0
OTHER_NUMBERS = float("inf")


def prepare(context: Context) -> Iterator[Measurement]:
    """One measurement a file (of those given a quick run takes one), then all files together."""
    loaders, missing = available()
    made, not_made = make_videos(context.folder / "videos", context.quick)
    given, left_out = given_videos(context)
    for path in [*(given[:1] if context.quick else given), *made]:
        yield one_file(path, loaders, {**missing, **not_made}, context)
    several = given or made
    together = in_one_process(several, loaders, {**missing, **left_out}, context)
    yield together
    yield from in_processes(several, together.contenders, missing, context)


def one_file(
    path: Path, loaders: Mapping[str, Load], missing: Mapping[str, str], context: Context
) -> Measurement:
    info = probe(path)
    clip = read_clip(path, SAMPLING, threads=context.threads)
    agreeing, check, differing = compare([path], [clip], loaders, context)
    contenders: dict[str, Work] = {OURS: partial(read_clip, path, SAMPLING, threads=context.threads)}
    for name, load in agreeing.items():
        contenders[name] = partial(load, path, SAMPLING, context.threads)
    return Measurement(
        name=f"{path.name}: {info.codec}, {info.width}×{info.height}, {info.duration:.0f} s",
        item="clip",
        items=1,
        contenders=contenders,
        check=check,
        leaves_out="imports; the file is in the page cache",
        skipped={**missing, **differing},
        settings={
            "frames": len(clip.indices),
            "width": info.width,
            "height": info.height,
            "seconds": round(info.duration, 3),
        },
    )


def in_one_process(
    paths: Sequence[Path], loaders: Mapping[str, Load], missing: Mapping[str, str], context: Context
) -> Measurement:
    """All files, one after the other."""
    clips = [read_clip(path, SAMPLING, threads=context.threads) for path in paths]
    agreeing, check, differing = compare(paths, clips, loaders, context)

    def ours() -> None:
        for path in paths:
            read_clip(path, SAMPLING, threads=context.threads)

    def theirs(load: Load) -> None:
        for path in paths:
            load(path, SAMPLING, context.threads)

    return Measurement(
        name=f"all files in one process, {len(paths)} files",
        item="clip",
        items=len(paths),
        contenders={OURS: ours, **{name: partial(theirs, load) for name, load in agreeing.items()}},
        check=check,
        leaves_out="imports; the files are in the page cache",
        skipped={**missing, **differing},
        settings={"frames": sum(len(clip.indices) for clip in clips), "files": len(paths)},
    )


def in_processes(
    paths: Sequence[Path], agreeing: Mapping[str, Work], missing: Mapping[str, str], context: Context
) -> Iterator[Measurement]:
    """All files, in a decoder pool and in as many processes of the published loader."""
    if "OpenCV" not in agreeing:
        missing = {**missing, "OpenCV": missing.get("OpenCV", "gives other frames of one of the files")}
    with DecodePool(context.threads, SAMPLING) as pool:
        decoded = dict(pool.map(paths))
        for path in paths:
            clip, alone = decoded[path], read_clip(path, SAMPLING)
            if not isinstance(clip, Clip) or not np.array_equal(clip.frames, alone.frames):
                raise Disagreement(f"{path}: the pool gives other frames than read_clip")
        measurement = partial(
            Measurement,
            name=f"all files in worker processes, {len(paths)} files, {context.threads} workers",
            item="clip",
            items=len(paths),
            check={"pool_equals_read_clip": 1},
            leaves_out="starting the processes; the files are in the page cache",
            settings={"files": len(paths), "processes": context.threads},
        )
        contenders: dict[str, Work] = {OURS: lambda: list(pool.map(paths))}
        if "OpenCV" not in agreeing:
            yield measurement(contenders=contenders, skipped={"OpenCV": missing["OpenCV"]})
            return
        with workers("OpenCV", context.threads, SAMPLING) as load:
            yield measurement(contenders={**contenders, "OpenCV": lambda: list(load(paths))})


def compare(
    paths: Sequence[Path], clips: Sequence[Clip], loaders: Mapping[str, Load], context: Context
) -> tuple[dict[str, Load], dict[str, float], dict[str, str]]:
    """Loaders that give the frames of ``clips``; how far theirs are off, in grey levels; what is with others.

    A reader that gives other frames is not timed: it would be rewarded for seeking to the wrong place.
    Raises `Disagreement` where neither of `DEFINITIONS` agrees.
    """
    agreeing, check, differing = {}, {}, {}
    for name, load in loaders.items():
        try:
            distances = [
                distance(load(path, SAMPLING, context.threads), clip)
                for path, clip in zip(paths, clips, strict=True)
            ]
        except Exception as error:  # of a library on a file: it is no contender there
            differing[name] = f"fails: {type(error).__name__}: {error}"[:160]
            continue
        if max(distances) == OTHER_NUMBERS:
            differing[name] = "samples frames of other numbers"
        elif max(distances) > CLOSE:
            differing[name] = f"gives other frames: mean difference {max(distances):.1f} of 255"
        else:
            agreeing[name] = load
            check[f"grey levels from {name}"] = round(max(distances), 3)
    if not set(DEFINITIONS) & set(agreeing):
        raise Disagreement(
            f"{', '.join(map(str, paths))}: vtr's frames are those of no other reader: {differing}"
        )
    return agreeing, check, differing


def distance(theirs: Sampled, ours: Clip) -> float:
    """Of the frame that differs most: mean absolute difference in grey levels, or `OTHER_NUMBERS`."""
    if not np.array_equal(theirs.indices, ours.indices):
        return OTHER_NUMBERS
    differences = np.abs(theirs.frames.astype(np.int16) - ours.frames)
    return float(differences.mean(axis=(1, 2, 3)).max())


CASE = Case("decode", prepare)
