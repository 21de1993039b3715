"""Score matrices in files, with or without annotations beside them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vtr.errors import UsageError
from vtr.evaluation.annotations import Annotations
from vtr.evaluation.documents import read_document, read_names


def read_scores(path: str | os.PathLike[str]) -> NDArray[np.floating]:
    """A matrix ``[texts, videos]`` of real numbers from a .npy file; never unpickles anything."""
    try:
        matrix = np.load(Path(path), mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python: a damaged one may raise anything
        raise UsageError(
            f"cannot read {path}: {error}; expected a matrix of numbers that numpy.save wrote (.npy)"
        ) from error
    if not isinstance(matrix, np.ndarray):
        raise UsageError(f"{path}: expected one matrix (.npy), got an archive of several")
    if matrix.dtype.kind not in "fiu" or matrix.ndim != 2 or 0 in matrix.shape:
        raise UsageError(
            f"{path}: expected real numbers of shape [texts, videos], got {matrix.dtype} {list(matrix.shape)}"
        )
    return np.array(matrix)  # in memory and not mapped: the file may be written over


def annotated_targets(
    scores: NDArray[np.floating], annotations: Annotations, columns: list[str] | None
) -> NDArray[np.int64]:
    """Video columns of the rows, where rows are the captions of ``annotations`` in its order.

    Without ``columns`` the columns are its videos in order of first appearance.
    """
    if len(scores) != len(annotations):
        raise UsageError(
            f"expected a row of scores for each of the {len(annotations):,} captions, got {len(scores):,}"
        )
    names = annotations.videos if columns is None else columns
    _check_columns(scores, names)
    if columns is None:
        return annotations.targets
    place = {name: column for column, name in enumerate(names)}
    absent = [video for video in annotations.videos if video not in place]
    if absent:
        raise UsageError(f"{len(absent):,} annotated videos are not among the columns, such as {absent[0]!r}")
    return np.array([place[video] for video in annotations.videos], np.int64)[annotations.targets]


def listed_targets(
    scores: NDArray[np.floating], texts: str | os.PathLike[str], columns: list[str] | None
) -> NDArray[np.int64]:
    """Video columns of the rows from a file with a line for each row.

    A line holds the name of the row's video in ``columns``, or without those the number of its column,
    from 0.
    """
    entries = [line.strip() for line in read_document(texts).lines]
    if len(entries) != len(scores):
        raise UsageError(
            f"{texts}: expected {len(scores):,} lines, one a row of scores, got {len(entries):,}"
        )
    place = {str(column): column for column in range(scores.shape[1])}
    if columns is not None:
        _check_columns(scores, columns)
        place = {name: column for column, name in enumerate(columns)}
    for number, entry in enumerate(entries, 1):
        if entry not in place:
            what = (
                f"a column number from 0 to {scores.shape[1] - 1}" if columns is None else "a column's name"
            )
            raise UsageError(f"{texts}, entry {number}: expected {what}, got {entry!r:.60}")
    return np.array([place[entry] for entry in entries], np.int64)


def diagonal_targets(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Text ``i`` belongs to video ``i``; only a square matrix says so by itself."""
    if scores.shape[0] != scores.shape[1]:
        raise UsageError(
            f"scores of shape {list(scores.shape)} do not say which text belongs to which video: pass "
            "ANNOTATIONS, or --texts with a line for each row"
        )
    return np.arange(len(scores), dtype=np.int64)


def read_columns(path: str | os.PathLike[str] | None) -> list[str] | None:
    """Names of the columns, or ``None`` without a file."""
    return None if path is None else read_names(path)


def _check_columns(scores: NDArray[np.floating], names: list[str]) -> None:
    if scores.shape[1] != len(names):
        raise UsageError(f"expected {len(names):,} columns of scores, one a video, got {scores.shape[1]:,}")
