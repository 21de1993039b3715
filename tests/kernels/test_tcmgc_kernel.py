"""TC-MGC's kernel in the interpreter, against its plain form in float64; that against the PyTorch head."""

from kernel_cases import STORAGE, device, wide  # isort: skip  (before the kernels)

import numpy as np
import pytest
import torch
from scoring.cases import make_text, make_video, tcmgc_head

from vtr.errors import UsageError
from vtr.export.families.tcmgc import TCMGCHead
from vtr.kernels.config import Spec
from vtr.kernels.tcmgc import score
from vtr.kernels.tcmgc_buffers import prepare_query, prepare_weights
from vtr.kernels.tcmgc_reference import tcmgc_reference
from vtr.scoring.tcmgc import TCMGCScorer

# (frames, words, dim, keep, videos, texts): one of each awkwardness, for the interpreter is slow.
SHAPES = [
    (12, 8, 64, 3, 5, 2),
    (5, 20, 192, 7, 3, 1),
    (13, 8, 64, 8, 2, 1),  # all words kept: nothing is left to fuse
    (1, 8, 128, 1, 2, 1),
    (12, 32, 128, 22, 2, 1),
    (16, 8, 64, 3, 2, 1),
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
def test_logits_of_the_plain_form(shape, storage):
    frames, words, dim, keep, videos, texts = shape
    head, text = tcmgc_head(words, dim, keep), make_text(texts, words, dim)
    video = make_video(videos, frames, dim)
    got = run(head, Spec("tcmgc", frames, words, dim, keep, storage), text, video)
    want = tcmgc_reference(wide(head), wide(text.sentence), wide(text.words), wide(video.frames)).numpy()
    # Rounding k and the probes moves a similarity by some 2^-12 / √D of |k|·|p̂| in fp16, 8 times that in
    # bf16; the logit is 100 similarities, and softmaxes at λ = 100 choose between neighbours. Seen: 0.012 in
    # fp16.
    assert np.abs(got - want).max() < {"fp16": 0.03, "bf16": 0.24}[storage]


@pytest.mark.parametrize("keep, logit_weight", [(3, True), (8, False)])
def test_the_plain_form_is_the_pytorch_head(keep, logit_weight):
    head, text, video = (
        tcmgc_head(8, 64, keep, logit_weight=logit_weight),
        make_text(2, 8, 64),
        make_video(3, 5, 64),
    )
    module = TCMGCHead(64, keep).double()
    module.load_state_dict({"logit_weight": torch.eye(4), **wide(head)}, strict=False)
    sentence, words, frames = wide(text.sentence), wide(text.words), wide(video.frames)
    with torch.no_grad():
        want = module.score(sentence, words, {"frames": frames}, wide(head)["logit_scale"].exp())
    got = tcmgc_reference(wide(head), sentence, words, frames)
    assert (got - want).abs().max() < 1e-9  # both in float64; the softmaxes at λ = 100 raise its 1e-16


def test_without_a_logit_weight_lsa_is_the_identity():
    head = tcmgc_head(8, 64, 3, logit_weight=False)
    weights = prepare_weights(head)
    assert np.array_equal(weights[-24:-8].reshape(4, 4), np.eye(4))


def test_matrices_that_do_not_fit_fp16_are_refused():
    head = tcmgc_head(8, 64, 3)
    head["attentive_word_mat_weight"][1, 1] = 70000
    with pytest.raises(UsageError, match="expected attentive_word_mat_weight below 65504, got 70000"):
        prepare_weights(head)


def test_what_is_multiplied_in_float32_may_be_large():
    """The last row and column of the matrix of K + 1, and the corner where they meet."""
    head = tcmgc_head(8, 64, 3)
    for place in ((3, 1), (1, 3), (3, 3)):
        head["concat_frame_word_logit_weight"][place] = 70000
    weights = prepare_weights(head)
    assert np.count_nonzero(weights == 70000) == 3 and np.isfinite(weights).all()
