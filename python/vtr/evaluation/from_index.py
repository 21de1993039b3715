"""Scoring an index: every caption against every annotated video, with the engine's full family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import UsageError
from vtr.evaluation.annotations import Annotations
from vtr.evaluation.evaluate import evaluate
from vtr.evaluation.names import list_some, match_videos
from vtr.evaluation.report import Evaluation
from vtr.progress import Progress

if TYPE_CHECKING:
    from vtr.bank import Bank
    from vtr.engine import Engine

TEXTS_AT_ONCE = 256  # their word features are in memory together: 16 MB at L=32, D=512


def evaluate_index(
    engine: Engine,
    annotations: Annotations,
    *,
    allow_missing: bool = False,
    whole_index: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Measure how an engine ranks its index for annotated captions; ``options`` as in ``evaluate``.

    Args:
        allow_missing: leave captions out whose video is not in the index, instead of refusing.
        whole_index: let captions compete with every indexed video, not only with the annotated ones.
    """
    annotations, scores = score_index(engine, annotations, allow_missing, whole_index, progress)
    return evaluate(
        scores, annotations.targets, protocol=annotations.protocol, notes=annotations.notes, **options
    )


def score_index(
    engine: Engine,
    annotations: Annotations,
    allow_missing: bool = False,
    whole_index: bool = False,
    progress: Progress | None = None,
) -> tuple[Annotations, NDArray[np.float32]]:
    """Scores ``[texts, videos]`` and the annotations that their rows and columns stand for.

    Captions of missing videos are left out, with ``whole_index`` the videos without captions come in.
    """
    bank = engine.bank()
    paths = bank_paths(bank)
    matches = match_videos(annotations.videos, paths, annotations.protocol)
    annotations = _without_missing(annotations, matches, allow_missing)
    positions = [match for match in matches if match is not None]
    if whole_index:
        others = sorted(set(range(len(paths))) - set(positions))
        positions += others
        annotations = replace(
            annotations,
            videos=annotations.videos + [str(paths[position]) for position in others],
            notes=[*annotations.notes, f"candidates: the whole index, {len(others):,} more than annotated"],
        )
    scores, cut = _scores(engine, bank, annotations, np.array(positions, np.int64), progress or Progress())
    return (replace(annotations, notes=[*annotations.notes, cut]) if cut else annotations), scores


def bank_paths(bank: Bank) -> list[Path]:
    """Files of the bank's videos, in the order of its positions."""
    return [Path(record.path) for record in bank.snapshot.records()]


def _scores(
    engine: Engine,
    bank: Bank,
    annotations: Annotations,
    positions: NDArray[np.int64],
    progress: Progress,
) -> tuple[NDArray[np.float32], str]:
    """The scores, and a remark if captions may have been cut."""
    scores = np.empty((len(annotations), len(positions)), np.float32)
    full = 0
    starts = range(0, len(annotations), TEXTS_AT_ONCE)
    with progress:
        progress.total(len(starts))
        for start in starts:
            part = slice(start, start + TEXTS_AT_ONCE)
            text = engine.encode_text(annotations.texts[part])
            full += int((text.ids[:, -1] != 0).sum())
            scores[part] = bank.scores(text, positions)
            progress.step(f"{min(start + TEXTS_AT_ONCE, len(annotations)):,} captions", "scored")
    if not full:
        return scores, ""
    length = engine.model.sizes["words"]
    return scores, f"captions that fill all {length} tokens that the model reads, and may be cut: {full:,}"


def _without_missing(annotations: Annotations, matches: list[int | None], allow_missing: bool) -> Annotations:
    missing = [video for video, match in zip(annotations.videos, matches, strict=True) if match is None]
    if not missing:
        return annotations
    what = f"{len(missing):,} of {len(annotations.videos):,} annotated videos are not in the index"
    if len(missing) == len(annotations.videos):
        raise UsageError(f"{what}: {list_some(missing)}. Videos are matched by file name without suffix")
    if not allow_missing:
        raise UsageError(
            f"{what}: {list_some(missing)}. Index them, or leave their captions out with --allow-missing"
        )
    kept = annotations.kept([match is not None for match in matches])
    lost = len(annotations) - len(kept)
    note = f"{what}, {lost:,} captions left out: {list_some(missing)}"
    return replace(kept, notes=[*kept.notes, note])
