"""Files to indexed rows: vtr against the published way, interleaved in one run.

    python -m benchmarks.indexing [--videos FOLDER] [--repeats 5]

The model has the size of CLIP ViT-B/32 and random weights: time does not depend on them. The baseline
decodes with OpenCV (one seek a frame) and encodes in eager float32; it writes nothing. vtr's time is that
of ``Engine.index`` whole: finding, hashing, decoding in worker processes (their start included), encoding
and committing to disk. Loading the model is left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

import vtr
from benchmarks.measure import machine, ratio, summary, timed
from benchmarks.published import encode, load_frames
from vtr.export import ExportOptions, export_checkpoint
from vtr.export.models import build_model
from vtr.export.synthetic import random_checkpoint
from vtr.files import find_videos

VIT_B_32 = {"dim": 512, "vision_width": 768, "text_width": 512, "layers": 12, "image": 224, "patch": 32}
BATCH = 4  # clips encoded together by the baseline, as many as vtr takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--videos", type=Path, default=Path(os.environ.get("VTR_TEST_VIDEOS", "../shared/videos"))
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    given = parser.parse_args()
    videos = list(find_videos(given.videos)) if given.videos.is_dir() else []
    if not videos:
        raise SystemExit(f"no videos under {given.videos}: pass --videos FOLDER (make bench VIDEOS=FOLDER)")

    state = random_checkpoint("clip4clip", **VIT_B_32)
    model = build_model(state, ExportOptions()).eval()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, bundle = Path(folder) / "model.bin", Path(folder) / "bundle"
        torch.save(state, checkpoint)
        export_checkpoint(checkpoint, bundle)
        engine = vtr.Engine(bundle)
        agreement = check(engine, model, videos)
        published, ours = [], []
        for repeat in range(given.repeats + 1):  # the first one warms up
            baseline = timed(lambda: run_published(model, videos, engine.model.sampling))
            index = Path(folder) / f"index-{repeat}"
            measured = timed(lambda index=index: run_vtr(engine, index, videos))
            if repeat:
                published.append(baseline)
                ours.append(measured)
            print(
                f"run {repeat}: published {baseline:.2f} s, vtr {measured:.2f} s, {baseline / measured:.2f}×"
            )
    figures = {
        "machine": machine(),
        "versions": {"vtr": vtr.__version__, "torch": torch.__version__},
        "encoders": engine.encoders.description,
        "videos": len(videos),
        "smallest_cosine": round(agreement, 6),
        "published_seconds": summary(published),
        "vtr_seconds": summary(ours),
        "times_faster": ratio(published, ours),
    }
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


def check(engine: vtr.Engine, model: torch.nn.Module, videos: list[Path]) -> float:
    """The smallest cosine between a video's features made either way; below 0.999 nothing is timed."""
    smallest = 1.0
    for path in videos:
        frames = load_frames(path, engine.model.sampling)
        clip = vtr.decode.read_clip(path, engine.model.sampling)
        if len(frames) != len(clip.frames):
            raise SystemExit(f"{path}: {len(clip.frames)} frames where OpenCV gives {len(frames)}")
        theirs = encode(model, [frames], engine.model.sampling.frames)[0, : len(frames)].numpy()
        ours = engine.encode_clips([clip]).frames[0, : len(frames)]
        cosines = (theirs * ours).sum(1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(ours, axis=1)
        smallest = min(smallest, float(cosines.min()))
    if smallest < 0.999:
        raise SystemExit(f"the features differ: smallest cosine {smallest}")
    return smallest


def run_published(model: torch.nn.Module, videos: list[Path], sampling: vtr.Sampling) -> None:
    for start in range(0, len(videos), BATCH):
        clips = [load_frames(path, sampling) for path in videos[start : start + BATCH]]
        encode(model, clips, sampling.frames)


def run_vtr(engine: vtr.Engine, index: Path, videos: list[Path]) -> None:
    indexer = engine.with_index(index)
    report = indexer.index(videos)
    if len(report.added) != len(videos):
        raise SystemExit(f"not everything was indexed: {report}")


if __name__ == "__main__":
    main()
