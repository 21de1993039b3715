"""Heads, features and indexes of random numbers in the shapes of real ones; time does not depend on them."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.columns import ColumnSpec
from vtr.index import IndexStore, VideoRecord
from vtr.scoring import Scorer
from vtr.scoring.gram import pool_shapes
from vtr.types import TextFeatures, VideoFeatures

from .machine import memory

F, L, D = 12, 32, 512  # frames, words, width of the published models
SIZES = {"frames": F, "words": L, "dim": D}
SCALE = 100.0  # exp(logit_scale) of every published checkpoint
NOISE = 0.02  # around the identities that published heads start from
BLOCK = 1000  # videos that differ; longer indexes repeat them

Arrays = dict[str, NDArray[Any]]


def head(scoring: str, keep: int = 0, seed: int = 0) -> Arrays:
    """Parameters of a "holistic", "xclip" or "tcmgc" head as after training, as a bundle holds them."""
    rng = np.random.default_rng(seed)

    def near_identity(size: int) -> NDArray[np.float32]:
        noise = NOISE / math.sqrt(size) * rng.standard_normal((size, size))
        return (np.eye(size) + noise).astype(np.float32)

    arrays = {"logit_scale": np.array([math.log(SCALE)], np.float32)}
    if scoring == "xclip":
        arrays |= {name: near_identity(D) for name in ("global_mat_weight", "local_mat_weight")}
        arrays |= {f"word_{name}": near_identity(L) for name in ("logit_weight", "mat_weight", "mat_weight2")}
        arrays |= {
            f"frame_{name}": near_identity(F) for name in ("logit_weight", "mat_weight", "mat_weight2")
        }
    if scoring == "tcmgc":
        arrays |= {name: near_identity(D) for name in ("global_mat_weight", "local_mat_weight")}
        arrays["concat_frame_word_logit_weight"] = near_identity(keep + 1)
        arrays["logit_weight"] = near_identity(4)
        for name in (
            "word_logit_weight",
            "word_mat_weight",
            "word_mat_weight2",
            "frame_word_mat_weight",
            "frame_word_mat_weight2",
        ):
            arrays[f"attentive_{name}"] = near_identity(keep)
        for name, shape in pool_shapes(D).items():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            noise = NOISE / math.sqrt(shape[-1]) * rng.standard_normal(shape)
            arrays[name] = (centre + noise).astype(np.float32)
    return arrays


def texts(count: int, seed: int = 1) -> TextFeatures:
    """Encoded texts, un-normalised: ``sentence [T, D]``, ``words [T, L, D]``."""
    rng = np.random.default_rng(seed)
    return TextFeatures(
        np.zeros((count, L), np.int64),
        rng.standard_normal((count, D), np.float32) * 5,
        rng.standard_normal((count, L, D), np.float32) * 3,
    )


def videos(count: int, frames: int = F, dim: int = D, seed: int = 0) -> VideoFeatures:
    """Encoded videos of full length, a video's frames like each other: ``frames [V, F, D]``."""
    rng = np.random.default_rng(seed)
    features = 0.5 * rng.standard_normal((count, frames, dim), np.float32)
    features += rng.standard_normal((count, 1, dim), np.float32)
    mask = np.ones((count, frames), np.float32)
    return VideoFeatures(features, mask, features.mean(1), mask / np.float32(frames))


def vectors(count: int, seed: int = 0) -> NDArray[np.float16]:
    """Vectors of length 1 as an index keeps them, ``[V, D]``, all different."""
    rng = np.random.default_rng(seed)
    made = np.empty((count, D), np.float16)
    for start in range(0, count, BLOCK):
        part = rng.standard_normal((min(BLOCK, count - start), D), np.float32)
        made[start : start + BLOCK] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return made


def stored(scorer: Scorer, features: VideoFeatures) -> Arrays:
    """The columns of videos as an index holds them."""
    rows = scorer.rows(features)
    return {name: rows[name].astype(spec.dtype) for name, spec in scorer.columns.items()}


# ---- indexes -----------------------------------------------------------------------------------------


def block(scorer: Scorer, count: int, frames: int = F, dim: int = D) -> Arrays:
    """The columns that an index of ``count`` videos repeats: those of its first :data:`BLOCK` videos."""
    return stored(scorer, videos(min(count, BLOCK), frames, dim))


def shortage(folder: Path, scorer: Scorer, count: int) -> str | None:
    """Why there cannot be an index of so many videos here: half of the disk or of the memory is too small."""
    on_disk = count * sum(spec.row_bytes for spec in scorer.columns.values())
    in_memory = count * sum(scorer.columns[name].row_bytes for name in {*scorer.score_columns, "video"})
    free, available = shutil.disk_usage(folder).free, memory("MemAvailable")
    if 2 * on_disk > free:
        return f"{on_disk >> 20:,} MiB of features, and {free >> 20:,} MiB of free disk"
    if 2 * in_memory > available:
        return f"{in_memory >> 20:,} MiB of features to hold, and {available >> 20:,} MiB of free memory"
    return None


def write_index(
    path: Path, count: int, scorer: Scorer, frames: int, dim: int, fingerprint: str, model: Mapping[str, Any]
) -> None:
    """An index of ``count`` videos that no files belong to, written as indexing writes: segments, checksums.

    Every :data:`BLOCK` videos have the same features, and records of their own.

    Args:
        frames, dim: F and D of the model.
        fingerprint, model: of the model that an engine will open the index with.
    """
    part = block(scorer, count, frames, dim)
    part["timestamps"] = np.tile(np.arange(frames, dtype=np.float32), (len(part["mask"]), 1))
    # Segments so large that the store has none to merge.
    repeats = -(-(96 << 20) // sum(array.nbytes for array in part.values()))
    rows = {name: np.concatenate([array] * repeats) for name, array in part.items()}
    store = IndexStore.create(path, fingerprint, model, _columns(scorer, frames))
    with store.writer() as writer:
        for start in range(0, count, BLOCK * repeats):
            size = min(BLOCK * repeats, count - start)
            records = [_record(number) for number in range(start, start + size)]  # number % BLOCK: its row
            writer.add(records, {name: array[:size] for name, array in rows.items()})
    store.close()


def _columns(scorer: Scorer, frames: int) -> dict[str, ColumnSpec]:
    return {**scorer.columns, "timestamps": ColumnSpec((frames,), "float32")}


def _record(number: int) -> VideoRecord:
    return VideoRecord(
        path=Path(f"/synthetic/{number:09}.mp4"),
        sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        size=1 << 20,
        mtime_ns=number,
        duration=12.0,
        width=320,
        height=180,
        fps=25.0,
        codec="h264",
    )
