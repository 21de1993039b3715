"""X-CLIP's kernel in the interpreter, against the direct form in float64."""

from kernel_cases import STORAGE, device  # isort: skip  (before the kernels)

import numpy as np
import pytest
from scoring.cases import make_text, make_video, xclip_head
from scoring.direct import logits, xclip

from vtr.kernels.config import Spec
from vtr.kernels.xclip import prepare_query, prepare_weights, score
from vtr.scoring.xclip import XClipScorer

# (frames, words, dim, videos, texts)
SHAPES = [(12, 8, 64, 9, 2), (5, 20, 192, 3, 1), (13, 32, 128, 2, 1), (1, 8, 512, 2, 1), (64, 8, 64, 2, 1)]


def error(spec, videos, texts):
    """The largest distance of a logit from the direct form's."""
    head = xclip_head(spec.frames, spec.words, spec.dim)
    text, video = make_text(texts, spec.words, spec.dim), make_video(videos, spec.frames, spec.dim)
    scorer = XClipScorer(head, {"frames": spec.frames, "words": spec.words, "dim": spec.dim})
    rows, dtype = scorer.rows(video), STORAGE[spec.storage]
    probes = prepare_query(scorer.prepare(text))
    got = score(
        spec,
        device(rows["frames"], dtype),
        device(rows["video"], dtype),
        device(probes, dtype),
        device(prepare_weights(head)),
    ).numpy()
    pairs = list(zip(text.sentence, text.words, strict=True))
    want = logits(xclip, head, pairs, list(zip(video.frames, video.video, strict=True)))
    return np.abs(got - want).max()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_of_the_direct_form(shape):
    frames, words, dim, videos, texts = shape
    # Both factors of a dot product of unit vectors are rounded by 2^-12 of each number on average, so a
    # similarity moves by some 2^-12 · √(2 / D); ×100 in the softmax and ×100 in the logit.
    assert error(Spec("xclip", frames, words, dim, 1), videos, texts) < 0.02


def test_bfloat16_is_eight_times_coarser():
    assert error(Spec("xclip", 12, 8, 64, 1, "bf16"), 3, 1) < 0.16
