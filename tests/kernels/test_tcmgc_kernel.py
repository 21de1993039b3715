"""TC-MGC's kernel in the interpreter, against the direct form in float64 and the NumPy scorer's own query."""

from kernel_cases import STORAGE, device  # isort: skip  (before the kernels)

import numpy as np
import pytest
from scoring.cases import make_text, make_video, tcmgc_head
from scoring.direct import logits, tcmgc

from vtr.kernels.config import Spec
from vtr.kernels.tcmgc import score
from vtr.kernels.tcmgc_buffers import prepare_query, prepare_weights
from vtr.scoring.tcmgc import TCMGCScorer

# (frames, words, dim, keep, videos, texts): one of each awkwardness, for the interpreter is slow.
SHAPES = [
    (12, 8, 64, 3, 9, 2),
    (5, 20, 192, 7, 3, 1),
    (13, 8, 64, 8, 2, 1),  # all words kept: nothing is left to fuse
    (1, 8, 128, 1, 2, 1),
    (12, 32, 128, 22, 2, 1),
    (64, 8, 64, 3, 2, 1),
]


def run(head, spec, text, video):
    scorer = TCMGCScorer(
        head, {"frames": spec.frames, "words": spec.words, "dim": spec.dim, "keep": spec.keep}
    )
    rows = scorer.rows(video)
    probes, offsets = prepare_query(scorer.prepare(text))
    dtype = STORAGE[spec.storage]
    return score(
        spec,
        device(rows["frames"], dtype),
        device(rows["gram"]),
        device(probes, dtype),
        device(offsets),
        device(prepare_weights(head)),
    ).numpy()


@pytest.mark.parametrize(
    "shape, storage", [*((shape, "fp16") for shape in SHAPES), (SHAPES[0], "bf16")], ids=str
)
def test_logits_of_the_direct_form(shape, storage):
    frames, words, dim, keep, videos, texts = shape
    head, text = tcmgc_head(words, dim, keep), make_text(texts, words, dim)
    video = make_video(videos, frames, dim)
    got = run(head, Spec("tcmgc", frames, words, dim, keep, storage), text, video)
    want = logits(
        tcmgc, head, list(zip(text.sentence, text.words, strict=True)), [(y,) for y in video.frames]
    )
    # Rounding k and the probes moves a similarity by some 2^-12 / √D of |k|·|p̂| in fp16, 8 times that in
    # bf16; the logit is 100 similarities, and softmaxes at λ = 100 choose between neighbours. Seen: 0.012 in
    # fp16.
    assert np.abs(got - want).max() < {"fp16": 0.03, "bf16": 0.24}[storage]


def test_without_a_logit_weight_lsa_is_the_identity():
    head = tcmgc_head(8, 64, 3, logit_weight=False)
    weights = prepare_weights(head)
    assert np.array_equal(weights[-24:-8].reshape(4, 4), np.eye(4))
