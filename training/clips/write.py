"""Clips as real files, with annotations that ``vtr eval`` reads and the truth that it does not."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .draw import draw_frames
from .plan import World
from .scene import Scene
from .testset import Entry

VIDEOS = "videos"
ANNOTATIONS = "annotations.json"  # all captions, in MSR-VTT's format
ONE_CAPTION = "one_caption.csv"  # the full caption of each clip, in the format of MSR-VTT 1k-A
TRUTH = "truth.json"  # scenes, spans and claims
# With its vector code x264 wrote twelve different files in forty encodings of one clip; without it, one.
X264 = {"crf": "20", "preset": "veryfast", "x264-params": "asm=0"}


def write_set(folder: Path, entries: Sequence[Entry], split: str, world: World) -> None:
    """Encode every clip into ``folder/videos`` and write the annotation files."""
    videos = folder / VIDEOS
    videos.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        encode(videos / f"{entry.name}.mp4", entry.scene, draw_frames(entry.scene, world.pictures))
    _write_json(folder / ANNOTATIONS, msrvtt(entries, "train" if split == "train" else "test"))
    with open(folder / ONE_CAPTION, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("key", "vid_key", "video_id", "sentence"))
        for number, entry in enumerate(entries):
            rows.writerow((f"ret{number}", f"msr{number}", entry.name, entry.captions[0]))
    _write_json(folder / TRUTH, {"split": split, "clips": [truth(entry) for entry in entries]})


def encode(path: Path, scene: Scene, frames: Iterable[NDArray[np.uint8]]) -> None:
    """Write frames as H.264 in MP4, or as MPEG-4 where that encoder is missing."""
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = X264 if codec == "libx264" else {"qscale": "3"}
    partial = path.with_suffix(f".part{path.suffix}")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(scene.fps), options=options)
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    partial.replace(path)


def msrvtt(entries: Sequence[Entry], split: str) -> dict[str, Any]:
    """The annotations as MSR-VTT has them; every clip is in the split that is named."""
    sentences = [(entry.name, text) for entry in entries for text in entry.captions]
    return {
        "info": {"description": "clips made by training.clips"},
        "videos": [
            {
                "id": number, "video_id": entry.name, "split": split,
                "start time": 0.0, "end time": round(entry.scene.segments[-1].end, 3),
            }
            for number, entry in enumerate(entries)
        ],
        "sentences": [
            {"sen_id": number, "video_id": name, "caption": text}
            for number, (name, text) in enumerate(sentences)
        ],
    }  # fmt: skip


def truth(entry: Entry) -> dict[str, Any]:
    """What a clip shows and when: told segments are the spans that its captions are about."""
    return {
        "video": entry.name,
        "captions": [
            {"text": text, "claim": [asdict(step) for step in claim]}
            for text, claim in zip(entry.captions, entry.claims, strict=True)
        ],
        "spans": [
            {
                "start": round(segment.start, 4),
                "end": round(segment.end, 4),
                "shows": [f"{actor.concept}: {actor.motion}" for actor in segment.actors],
            }
            for segment in entry.scene.told
        ],
        "scene": entry.scene.as_json(),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
