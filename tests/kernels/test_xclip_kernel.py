"""X-CLIP's kernel in the interpreter, against its plain form in float64, and that against the PyTorch
head."""

from kernel_cases import STORAGE, device, wide  # isort: skip  (before the kernels)

import numpy as np
import pytest
import torch
from scoring.cases import make_text, make_video, xclip_head

from vtr.errors import UsageError
from vtr.export.families.xclip import XClipHead
from vtr.kernels.config import Spec
from vtr.kernels.xclip import prepare_query, prepare_weights, score, xclip_reference
from vtr.scoring.xclip import XClipScorer

# (frames, words, dim, videos, texts)
SHAPES = [(12, 8, 64, 9, 2), (5, 20, 192, 3, 1), (13, 32, 128, 2, 1), (1, 8, 512, 2, 1), (64, 8, 64, 2, 1)]


def error(spec, videos, texts):
    """The largest distance of a logit from the plain form's."""
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
    want = xclip_reference(wide(head), *map(wide, (text.sentence, text.words, video.frames, video.video)))
    return np.abs(got - want.numpy()).max()


def test_the_plain_form_is_the_pytorch_head():
    head, text, video = xclip_head(5, 8, 64), make_text(2, 8, 64), make_video(3, 5, 64)
    module = XClipHead(64, 8, 5).double()
    module.load_state_dict(wide(head), strict=False)
    texts, frames, vectors = (wide(text.sentence), wide(text.words)), wide(video.frames), wide(video.video)
    with torch.no_grad():
        scale = wide(head)["logit_scale"].exp()
        want = module.score(*texts, {"frames": frames, "video": vectors}, scale)
    got = xclip_reference(wide(head), *texts, frames, vectors)
    assert (got - want).abs().max() < 1e-10  # both in float64; two factors of 100 raise its 1e-16


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_of_the_plain_form(shape):
    frames, words, dim, videos, texts = shape
    # Both factors of a dot product of unit vectors are rounded by 2^-12 of each number on average, so a
    # similarity moves by some 2^-12 · √(2 / D); ×100 in the softmax and ×100 in the logit.
    assert error(Spec("xclip", frames, words, dim, 1), videos, texts) < 0.02


def test_bfloat16_is_eight_times_coarser():
    assert error(Spec("xclip", 12, 8, 64, 1, "bf16"), 3, 1) < 0.16


def test_matrices_that_do_not_fit_fp16_are_refused():
    head = xclip_head(5, 8, 64)
    head["frame_mat_weight2"][0, 3] = -70000
    with pytest.raises(UsageError, match="expected frame_mat_weight2 below 65504, got 70000"):
        prepare_weights(head)
