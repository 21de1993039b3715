"""Heads, sizes and features that do not fit are refused, with what was expected and what came."""

import numpy as np
import pytest
from scoring.cases import holistic_head, make_text, make_video, tcmgc_head, xclip_head

from vtr.errors import BundleError, UsageError
from vtr.scoring import make_scorer
from vtr.types import TextFeatures, VideoFeatures

F, L, D, K = 3, 4, 32, 2
SIZES = {"frames": F, "words": L, "dim": D, "keep": K}


def heads():
    return {
        "holistic": holistic_head(),
        "cross": holistic_head(),
        "xclip": xclip_head(F, L, D),
        "tcmgc": tcmgc_head(L, D, K),
    }


@pytest.mark.parametrize("kind", heads())
def test_every_tensor_is_needed_in_its_shape_and_finite(kind):
    head = heads()[kind]
    for name in head:
        if name != "logit_weight":  # may be absent
            with pytest.raises(BundleError, match=name):
                make_scorer({k: v for k, v in head.items() if k != name}, kind, SIZES)
        with pytest.raises(BundleError, match=name):
            make_scorer({**head, name: np.zeros((*head[name].shape, 1), np.float32)}, kind, SIZES)
        with pytest.raises(BundleError, match=f"{name} has values"):
            make_scorer({**head, name: np.full_like(head[name], np.nan)}, kind, SIZES)
        with pytest.raises(BundleError, match=name):
            make_scorer({**head, name: head[name].astype(np.int32)}, kind, SIZES)


@pytest.mark.parametrize("kind", heads())
def test_unknown_tensors_are_not_ignored(kind):
    with pytest.raises(BundleError, match="temperature"):
        make_scorer({**heads()[kind], "temperature": np.ones(1, np.float32)}, kind, SIZES)


@pytest.mark.parametrize("value", [None, 0, -1, 2.0, True, "3"])
@pytest.mark.parametrize(("kind", "size"), [("holistic", "dim"), ("xclip", "words"), ("tcmgc", "keep")])
def test_sizes_are_checked(kind, size, value):
    with pytest.raises(BundleError, match=size):
        make_scorer(heads()[kind], kind, {**SIZES, size: value})


def test_more_cannot_be_kept_than_there_is():
    with pytest.raises(BundleError, match="keep"):
        make_scorer(tcmgc_head(L, D, L + 1), "tcmgc", {**SIZES, "keep": L + 1})


def test_a_scale_that_overflows_is_refused():
    with pytest.raises(BundleError, match="overflows"):
        make_scorer({"logit_scale": np.array([200], np.float32)}, "holistic", SIZES)


def test_unknown_scoring_is_refused():
    with pytest.raises(UsageError, match="cosine"):
        make_scorer(holistic_head(), "cosine", SIZES)


def test_heads_in_half_precision_are_read():
    head = {name: value.astype(np.float16) for name, value in xclip_head(F, L, D).items()}
    wide = {name: value.astype(np.float32) for name, value in head.items()}
    text, video = make_text(1, L, D), make_video(2, F, D)
    a, b = (make_scorer(h, "xclip", SIZES) for h in (head, wide))
    np.testing.assert_array_equal(
        a.score(a.prepare(text), a.rows(video)), b.score(b.prepare(text), b.rows(video))
    )


@pytest.mark.parametrize("kind", heads())
def test_features_of_another_model_are_refused(kind):
    scorer = make_scorer(heads()[kind], kind, SIZES)
    with pytest.raises(UsageError, match=r"\[3, 4, 32\]|\[any, 32\]"):
        scorer.prepare(make_text(3, L, D + 1))
    with pytest.raises(UsageError, match="frames"):
        scorer.rows(make_video(2, F + 1, D))
    video = make_video(2, F, D)
    with pytest.raises(UsageError, match="mask"):
        scorer.rows(VideoFeatures(video.frames, video.mask[:, :-1], video.video, video.weights))


@pytest.mark.parametrize("kind", ["xclip", "tcmgc"])
def test_texts_of_another_length_are_refused(kind):
    with pytest.raises(UsageError, match="words"):
        make_scorer(heads()[kind], kind, SIZES).prepare(make_text(2, L + 1, D))


@pytest.mark.parametrize(
    ("kind", "missing"), [("holistic", "video"), ("holistic", "weights"), ("xclip", "video")]
)
def test_features_without_what_the_family_needs_are_refused(kind, missing):
    video = make_video(2, F, D)
    parts = {"video": video.video, "weights": video.weights, missing: None}
    with pytest.raises(UsageError, match=missing):
        make_scorer(heads()[kind], kind, SIZES).rows(VideoFeatures(video.frames, video.mask, **parts))


def test_holistic_scoring_does_not_look_at_words():
    scorer = make_scorer(holistic_head(), "holistic", SIZES)
    text = make_text(2, 9, D)
    short = TextFeatures(text.ids, text.sentence, text.words[:, :1])
    np.testing.assert_array_equal(scorer.prepare(text).directions, scorer.prepare(short).directions)
