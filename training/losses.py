"""What training minimises, from the scores of a batch whose matching pairs lie on the diagonal.

* Symmetric cross-entropy: of every text among the videos and of every video among the texts (CLIP4Clip, Luo
  et al., 2021).
* SDR, TC-MGC's similarity decorrelation regularisation (Jing et al., 2025): the variance of the four scores
  of a matching pair (times exp(logit_scale), over n − 1, as in the published code), averaged over the batch.
* TeachCLIP's distillation (Tian et al., CVPR 2024, "Holistic Features are almost Sufficient for Text-to-Video
  Retrieval"), as its published ``train.py`` computes it (``distill_method: pear``, ``fine_method: ce``): 1 −
  Pearson correlation of teacher's and student's softmaxed scores, over rows and over columns; and the
  cross-entropy of the student's frame weights to the teacher's frame relevance, averaged over frames as well.
  It weighs contrast, correlation and frames with 0.2, 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .scores import Scores

SDR_WEIGHT = 0.5  # the default of the published code
TEACHCLIP_WEIGHTS = (0.2, 1.0, 2.0)


@dataclass(frozen=True)
class LossWeights:
    """``sdr`` is added to TC-MGC's cross-entropy; the others apply to a model that has a teacher."""

    sdr: float = SDR_WEIGHT
    contrast: float = TEACHCLIP_WEIGHTS[0]
    correlation: float = TEACHCLIP_WEIGHTS[1]
    frames: float = TEACHCLIP_WEIGHTS[2]


def contrastive(logits: Tensor) -> Tensor:
    """Symmetric cross-entropy of ``logits [B,B]``."""
    targets = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def decorrelation(parts: Tensor) -> Tensor:
    """SDR of ``parts [B,B,4]``."""
    return parts.diagonal().var(dim=0).mean()  # [4,B]


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 − Pearson(student, teacher) of the softmaxed rows of ``[T,V]``, plus that of the columns."""
    return _rows_apart(student, teacher) + _rows_apart(student.T, teacher.T)


def _rows_apart(student: Tensor, teacher: Tensor) -> Tensor:
    p, q = student.softmax(dim=-1), teacher.softmax(dim=-1)
    return (1 - F.cosine_similarity(_centred(p), _centred(q), dim=-1, eps=1e-12)).mean()


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


def frame_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over videos and frames of −teacher · log student; both ``[B,F]``, rows adding up to 1."""
    smallest = torch.finfo(student.dtype).tiny  # a weight of zero would make the logarithm infinite
    return -(teacher * student.clamp(min=smallest).log()).mean()


def losses(scores: Scores, weights: LossWeights, teacher: Scores | None = None) -> Mapping[str, Tensor]:
    """The terms of one model's loss, already weighted, and their sum under ``"loss"``.

    ``"contrast"`` always; ``"sdr"`` where the scores have parts; with a ``teacher`` (whose scores get no
    gradients) ``"correlation"``, and ``"frames"`` where student and teacher both weigh frames.
    """
    terms = {"contrast": contrastive(scores.logits)}
    if scores.parts is not None and weights.sdr:
        terms["sdr"] = weights.sdr * decorrelation(scores.parts)
    if teacher is not None:
        terms["contrast"] = weights.contrast * terms["contrast"]
        terms["correlation"] = weights.correlation * correlation(scores.logits, teacher.logits.detach())
        if scores.weights is not None and teacher.weights is not None:
            terms["frames"] = weights.frames * frame_loss(scores.weights, teacher.weights.detach())
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}
