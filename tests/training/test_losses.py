"""The losses against loops written from the papers and their published code, in plain Python floats."""

import math
import statistics

import pytest

torch = pytest.importorskip("torch")

from vtr.training.losses import (  # noqa: E402
    LossWeights,
    contrastive,
    correlation,
    decorrelation,
    frame_loss,
    losses,
)
from vtr.training.scores import Scores  # noqa: E402

CLOSE = {"rel": 1e-12}  # float64, a few additions


def softmax(row):
    exps = [math.exp(value - max(row)) for value in row]
    return [value / sum(exps) for value in exps]


def matrix(rows, columns, seed=0, scale=3.0):
    make = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, columns, generator=make, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_contrastive(size):
    logits = matrix(size, size)
    rows, columns = logits.tolist(), logits.T.tolist()
    want = 0.0
    for i in range(size):
        want -= (math.log(softmax(rows[i])[i]) + math.log(softmax(columns[i])[i])) / (2 * size)
    assert float(contrastive(logits)) == pytest.approx(want, **CLOSE)


def test_decorrelation_is_the_variance_of_matching_pairs():
    parts = torch.stack([matrix(5, 5, seed) for seed in range(4)], dim=-1)
    want = statistics.mean(statistics.variance(parts[i, i].tolist()) for i in range(5))
    assert float(decorrelation(parts)) == pytest.approx(want, **CLOSE)


@pytest.mark.parametrize(("texts", "videos"), [(3, 3), (2, 5)])
def test_correlation_is_pearsons_over_rows_and_columns(texts, videos):
    student, teacher = matrix(texts, videos), matrix(texts, videos, 1)

    def apart(a, b):
        return [1 - statistics.correlation(softmax(p), softmax(q)) for p, q in zip(a, b, strict=True)]

    want = statistics.mean(apart(student.tolist(), teacher.tolist()))
    want += statistics.mean(apart(student.T.tolist(), teacher.T.tolist()))
    assert float(correlation(student, teacher)) == pytest.approx(want, rel=1e-9)


def test_correlation_sees_neither_scale_nor_shift_of_the_probabilities_but_their_order():
    same = matrix(4, 4)
    assert float(correlation(same, same)) == pytest.approx(0, abs=1e-12)
    assert float(correlation(same, -same)) > 1
    certain = torch.eye(3, dtype=torch.float64) * 1e4  # softmax exactly 0 and 1
    level = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)  # no variance: no direction
    loss = correlation(level, certain)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(level.grad).all()


def test_frame_loss_is_cross_entropy_over_the_number_of_frames():
    student, teacher = matrix(3, 5).softmax(dim=-1), matrix(3, 5, 1).softmax(dim=-1)
    want = 0.0
    for p, q in zip(student.tolist(), teacher.tolist(), strict=True):
        want -= sum(b * math.log(a) for a, b in zip(p, q, strict=True)) / 15
    assert float(frame_loss(student, teacher)) == pytest.approx(want, **CLOSE)


def test_frame_loss_survives_a_weight_of_zero():
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = frame_loss(student, torch.tensor([[0.5, 0.5]]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


def test_terms_and_their_weights():
    logits, other = matrix(3, 3), matrix(3, 3, 1)
    weights, relevance = matrix(3, 4, 2).softmax(dim=-1), matrix(3, 4, 3).softmax(dim=-1)
    parts = torch.stack([matrix(3, 3, seed) for seed in range(4)], dim=-1)
    contrast, sdr = float(contrastive(logits)), float(decorrelation(parts))

    plain = losses(Scores(logits), LossWeights())
    assert plain.keys() == {"loss", "contrast"} and float(plain["loss"]) == contrast

    regularised = losses(Scores(logits, parts), LossWeights(sdr=0.7))
    assert float(regularised["loss"]) == pytest.approx(contrast + 0.7 * sdr, **CLOSE)
    assert losses(Scores(logits, parts), LossWeights(sdr=0)).keys() == plain.keys()

    taught = losses(Scores(logits, None, weights), LossWeights(), Scores(other, None, relevance))
    want = 0.2 * contrast + float(correlation(logits, other)) + 2 * float(frame_loss(weights, relevance))
    assert float(taught["loss"]) == pytest.approx(want, **CLOSE)

    coarse = losses(Scores(logits, None, weights), LossWeights(), Scores(other))
    assert coarse.keys() == {"loss", "contrast", "correlation"}


def test_a_teacher_gets_no_gradients():
    logits, other = matrix(3, 3).requires_grad_(), matrix(3, 3, 1).requires_grad_()
    losses(Scores(logits), LossWeights(), Scores(other))["loss"].backward()
    assert logits.grad.abs().sum() > 0 and other.grad is None
