"""Retrieval quality: captions with their videos in, recalls and ranks with confidence intervals out.

``read_annotations`` reads the files of the published test sets and generic ones, ``evaluate_index`` scores
an index with an engine, ``evaluate`` takes any score matrix.
"""

from vtr.evaluation.annotations import Annotations
from vtr.evaluation.bootstrap import bootstrap_intervals
from vtr.evaluation.evaluate import evaluate
from vtr.evaluation.from_index import evaluate_index
from vtr.evaluation.metrics import (
    dual_softmax,
    recall_curve,
    summarize,
    text_to_video_ranks,
    video_to_text_ranks,
)
from vtr.evaluation.plot import plot_recall
from vtr.evaluation.protocols import read_annotations
from vtr.evaluation.report import Direction, Evaluation
from vtr.evaluation.score_files import read_scores

__all__ = [
    "Annotations",
    "Direction",
    "Evaluation",
    "bootstrap_intervals",
    "dual_softmax",
    "evaluate",
    "evaluate_index",
    "plot_recall",
    "read_annotations",
    "read_scores",
    "recall_curve",
    "summarize",
    "text_to_video_ranks",
    "video_to_text_ranks",
]
