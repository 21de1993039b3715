"""Files to committed rows beside the published way from files to features, and where the time goes.

The published way decodes with OpenCV and encodes in eager float32 PyTorch; it writes nothing. vtr's time is
that of `Engine.index` whole: finding, hashing, decoding in worker processes (their start included), encoding,
committing to disk.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import vtr
from vtr.decode import read_clip

from .. import models
from ..baselines.optional import missing
from ..case import OURS, Case, Context, Disagreement, Measurement, Work, run
from ..given_videos import given_videos
from ..made_videos import make_videos, remuxed

LEAST_COSINE = 0.995  # of features in what the engine computes in (bf16, say) with float32 PyTorch's
COPIES = 4  # of every file, for the cost of more files
PUBLISHED, IN_WORKERS = "published way", "published way, loader in workers"


def prepare(context: Context) -> Iterator[dict[str, Any]]:
    """All files against the published way, then vtr alone on more of them; each with its stages."""
    videos, left_out = given_videos(context)
    videos = videos or make_videos(context.folder / "videos", context.quick)[0]
    bundle = models.bundle(context, "clip4clip")
    indexer = Indexer(vtr.Engine(bundle, device="cpu", threads=context.threads), context)
    settings = {"videos": len(videos), "bytes": sum(path.stat().st_size for path in videos)}
    with ExitStack() as stack:
        contenders, check, skipped = published(stack, indexer.engine, videos, context)
        measurement = Measurement(
            name=f"{models.size_name(context)}, {len(videos)} files",
            item="clip",
            items=len(videos),
            contenders={OURS: lambda: indexer.index(videos), **contenders},
            check=check,
            leaves_out="loading the model on both sides; starting the published loader's workers",
            skipped={**skipped, **left_out},
            settings=settings,
        )
        yield from with_stages(measurement, indexer, context)
    if not context.quick:
        more = [copy for path in videos for copy in remuxed(path, context.folder / "copies", COPIES)]
        measurement = Measurement(
            name=f"{models.size_name(context)}, {len(more)} files",
            item="clip",
            items=len(more),
            contenders={OURS: lambda: indexer.index(more)},
            leaves_out="loading the model",
            settings={"videos": len(more), "bytes": sum(path.stat().st_size for path in more)},
        )
        yield from with_stages(measurement, indexer, context)


class Indexer:
    """Indexes files into one new index after the other, and keeps what each run says of its stages."""

    def __init__(self, engine: vtr.Engine, context: Context) -> None:
        self.engine = engine
        self.reports: list[Mapping[str, float]] = []
        self._context = context
        self._numbers = count()

    def index(self, videos: Sequence[Path]) -> None:
        folder = self._context.folder / f"index-{next(self._numbers)}"
        report = self.engine.with_index(folder).index(videos, workers=self._context.threads)
        if len(report.added) != len(videos):
            raise Disagreement(f"expected {len(videos)} videos indexed, got {report}")
        self.reports.append(report.seconds)
        shutil.rmtree(folder)


def with_stages(measurement: Measurement, indexer: Indexer, context: Context) -> Iterator[dict[str, Any]]:
    """The measurement's record, and two more of its runs: the work there was, and what the job waited for."""
    indexer.reports.clear()
    record = run(measurement, context)
    stages = {
        name: statistics.median(report.get(name, 0.0) for report in indexer.reports)
        for name in ("decode", "wait", "hash", "encode", "commit", "total")
    }
    yield record
    yield from split(measurement.name, stages, context.threads)


def split(name: str, seconds: Mapping[str, float], workers: int) -> Iterator[dict[str, Any]]:
    """Records of the stages. Decoding runs in ``workers`` processes beside the job's own thread, which
    hashes, encodes, commits, and waits for decoders where it has nothing else to do."""
    ours = {stage: seconds[stage] for stage in ("hash", "encode", "commit")}
    decoding = seconds["decode"] / workers
    work = {"decode, a worker": decoding, **ours}
    rest = max(0.0, seconds["total"] - seconds["wait"] - sum(ours.values()))
    job = {"waiting for decoders": seconds["wait"], **ours, "rest": rest}
    yield {
        "name": f"{name}: work",
        "stages": {stage: round(value, 4) for stage, value in work.items()},
        "figures": {
            "all stages, s": round(sum(work.values()), 4),
            "from beginning to end, s": round(seconds["total"], 4),
            "overlapped, s": round(max(0.0, sum(work.values()) - seconds["total"]), 4),
            "decoders waited for, share of the time": round(seconds["wait"] / seconds["total"], 3),
        },
        "settings": {"workers": workers},
    }
    yield {"name": f"{name}: the job's thread", "stages": {k: round(v, 4) for k, v in job.items()}}


def published(
    stack: ExitStack, engine: vtr.Engine, videos: Sequence[Path], context: Context
) -> tuple[dict[str, Work], dict[str, float], dict[str, str]]:
    """The published way's contenders, how far their features are off, and why there are none."""
    if (why := missing("torch") or missing("cv2")) is not None:
        return {}, {}, {PUBLISHED: why, IN_WORKERS: why}
    import torch

    from ..baselines import opencv
    from ..baselines.published import encode, features
    from ..baselines.workers import workers

    torch.set_num_threads(context.threads)
    model = models.reference(context, "clip4clip")
    sampling = engine.model.sampling

    def load(paths: Sequence[Path]) -> Iterator[Any]:
        return (opencv.load(path, sampling, context.threads) for path in paths)

    smallest = 1.0
    for path, loaded in zip(videos, load(videos), strict=True):
        theirs = encode(model, [loaded.frames])[0].numpy()
        smallest = min(smallest, agreement(engine, path, loaded.indices, theirs))
    in_workers = stack.enter_context(workers("OpenCV", context.threads, sampling))
    contenders: dict[str, Work] = {
        PUBLISHED: lambda: features(model, videos, load),
        IN_WORKERS: lambda: features(model, videos, in_workers),
    }
    return contenders, {"smallest cosine": round(smallest, 6)}, {}


def agreement(engine: vtr.Engine, path: Path, indices: Any, theirs: Any) -> float:
    """The smallest cosine between a video's frame features made either way."""
    clip = read_clip(path, engine.model.sampling)
    if not np.array_equal(clip.indices, indices):
        raise Disagreement(f"{path}: frames {clip.indices.tolist()} where OpenCV gives {indices.tolist()}")
    ours, theirs = engine.encode_clips([clip]).frames[0, : len(indices)], theirs[: len(indices)]
    cosines = (theirs * ours).sum(1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(ours, axis=1)
    if (smallest := float(cosines.min())) < LEAST_COSINE:
        raise Disagreement(f"{path}: features differ, smallest cosine {smallest}")
    return smallest


CASE = Case("index", prepare)
