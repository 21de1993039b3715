"""Besides the logit: frame relevance, pre-selection, video-to-video similarity; and tightTransf."""

import numpy as np
import pytest
from scoring import direct
from scoring.cases import (
    LOGIT_SCALE,
    holistic_head,
    make_text,
    make_video,
    stored,
    tcmgc_head,
    xclip_head,
)

from vtr.errors import UsageError
from vtr.scoring import make_scorer
from vtr.scoring.similarity import cosine
from vtr.types import VideoFeatures

F, L, D, K = 6, 7, 32, 4
SIZES = {"frames": F, "words": L, "dim": D, "keep": K}
LENGTHS = [6, 1, 3]
HEADS = {
    "holistic": holistic_head(),
    "cross": holistic_head(),
    "xclip": xclip_head(F, L, D),
    "tcmgc": tcmgc_head(L, D, K),
}
SCALE = np.exp(np.float64(LOGIT_SCALE[0]))


@pytest.fixture
def text():
    return make_text(2, L, D)


@pytest.fixture
def video():
    return make_video(3, F, D, lengths=LENGTHS)


def wide(kind):
    return {name: value.astype(np.float64) for name, value in HEADS[kind].items()}


def relevance_of(kind, sentence, frames, weights):
    """Of one video's real frames, by the formula of each family."""
    if kind == "tcmgc":
        attention = direct.tcmgc_attention(wide(kind), sentence, frames)
        return attention / attention.sum()
    similarity = direct.unit(frames) @ direct.unit(sentence)
    if kind == "xclip":
        return direct.softmax(100 * similarity)
    if kind == "cross":
        return direct.softmax(SCALE * similarity)
    parts = weights * np.linalg.norm(frames, axis=-1)
    return direct.softmax(np.log(parts) + SCALE * similarity)


@pytest.mark.parametrize("kind", HEADS)
def test_relevance_is_each_familys_own(kind, text, video):
    rng = np.random.default_rng(3)
    weights = video.weights * rng.uniform(0.1, 2, video.weights.shape).astype(np.float32)
    video = VideoFeatures(video.frames, video.mask, video.video, weights)
    scorer = make_scorer(HEADS[kind], kind, SIZES)
    relevance = scorer.relevance(text, stored(scorer, scorer.rows(video)))
    assert relevance.shape == (2, 3, F) and relevance.dtype == np.float32
    for t, sentence in enumerate(text.sentence.astype(np.float64)):
        for v, real in enumerate(LENGTHS):
            frames = video.frames[v, :real].astype(np.float64)
            truth = relevance_of(kind, sentence, frames, weights[v, :real].astype(np.float64))
            np.testing.assert_allclose(relevance[t, v, :real], truth, atol=2e-3)  # float16 frames, times 100
            assert (relevance[t, v, real:] == 0).all()
    np.testing.assert_allclose(relevance.sum(axis=-1), 1, atol=1e-5)


def test_tcmgc_relevance_is_the_models_attention_over_real_frames(text, video):
    """Padded frames take part in the model's attention; their share is left out and the rest made whole."""
    scorer = make_scorer(HEADS["tcmgc"], "tcmgc", SIZES)
    relevance = scorer.relevance(text, scorer.rows(video))
    attention = direct.tcmgc_attention(
        wide("tcmgc"), text.sentence[0].astype(float), video.frames[2].astype(float)
    )
    assert attention[3:].sum() > 0.01, "padding without a share would prove nothing"
    np.testing.assert_allclose(relevance[0, 2, :3], attention[:3] / attention[:3].sum(), atol=1e-5)


def test_relevance_counts_how_long_frames_are(text):
    """Frames alike but for their length share by weight times length, their parts of the video vector."""
    scorer = make_scorer(HEADS["holistic"], "holistic", SIZES)
    lengths, weights = np.float32([1, 2, 3, 4, 0, 0]), np.float32([0.4, 0.3, 0.2, 0.1, 0, 0])
    frames = lengths[None, :, None] * np.ones((1, 1, D), np.float32)
    video = VideoFeatures(frames, np.float32([[1, 1, 1, 1, 0, 0]]), frames.sum(axis=1), weights[None])
    relevance = scorer.relevance(text, scorer.rows(video))[0, 0]
    np.testing.assert_allclose(relevance, np.array([0.4, 0.6, 0.6, 0.4, 0, 0]) / 2, atol=1e-5)


@pytest.mark.parametrize("weights", [0.0, 1e-38, [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]], ids=str)
def test_relevance_survives_weights_of_nothing(weights, text, video):
    """All weight on padding, say: TeachCLIP's softmax does not mask it."""
    scorer = make_scorer(HEADS["holistic"], "holistic", SIZES)
    given = np.broadcast_to(np.float32(weights), (3, F)).copy()
    rows = scorer.rows(VideoFeatures(video.frames, video.mask, video.video, given))
    relevance = scorer.relevance(text, stored(scorer, rows))
    assert np.isfinite(relevance).all()
    np.testing.assert_allclose(relevance.sum(axis=-1), 1, atol=1e-5)
    assert relevance[0, 2, 3:].max() == 0


@pytest.mark.parametrize("kind", HEADS)
def test_relevance_of_a_video_without_real_frames_is_nothing(kind, text, video):
    scorer = make_scorer(HEADS[kind], kind, SIZES)
    blank = VideoFeatures(video.frames, np.zeros_like(video.mask), video.video, video.weights)
    assert (scorer.relevance(text, scorer.rows(blank)) == 0).all()


# ---- one vector a video ----------------------------------------------------------------------------


def vector_of(kind, video, v):
    """The holistic vector of one video, normalised."""
    frames, real = video.frames[v].astype(np.float64), LENGTHS[v]
    if kind == "cross":
        return direct.unit(direct.unit(frames[:real]).mean(axis=0))
    if kind != "tcmgc":
        return direct.unit(video.video[v].astype(np.float64))
    head = wide(kind)
    norm = [
        (head[f"{direct.POOL}layer_norm{n}.weight"], head[f"{direct.POOL}layer_norm{n}.bias"])
        for n in (1, 2, 3)
    ]
    o = direct.layer_norm(np.mean([direct.layer_norm(y, *norm[0]) for y in frames[:real]], axis=0), *norm[1])
    u = o + head[direct.POOL + "linear_proj.weight"] @ o + head[direct.POOL + "linear_proj.bias"]
    return direct.unit(direct.layer_norm(u, *norm[2]))


@pytest.mark.parametrize("kind", HEADS)
def test_preselection_and_similarity_go_by_one_vector_a_video(kind, text, video):
    scorer = make_scorer(HEADS[kind], kind, SIZES)
    rows = stored(scorer, scorer.rows(video))
    vectors = np.array([vector_of(kind, video, v) for v in range(3)])
    sentences = direct.unit(text.sentence.astype(np.float64))
    directions = sentences @ wide(kind).get("global_mat_weight", np.eye(D))
    # Vectors of length 1 in float16: components are off by 2^-12 of their size at most.
    np.testing.assert_allclose(scorer.holistic(scorer.prepare(text), rows), directions @ vectors.T, atol=1e-3)
    cosines = scorer.similarity(rows, {"video": rows["video"][1:]})
    np.testing.assert_allclose(cosines, vectors @ vectors[1:].T, atol=1e-3)
    assert cosines.dtype == np.float32 and cosines.max() <= 1


def test_holistic_order_is_the_familys_order(text):
    scorer = make_scorer(HEADS["holistic"], "holistic", SIZES)
    query, rows = scorer.prepare(text), scorer.rows(make_video(50, F, D))
    np.testing.assert_array_equal(
        np.argsort(scorer.holistic(query, rows), axis=1), np.argsort(scorer.score(query, rows), axis=1)
    )


def test_tcmgc_preselection_is_its_video_sentence_score_where_attention_is_equal(text):
    """With one frame there is nothing to attend to."""
    scorer = make_scorer(HEADS["tcmgc"], "tcmgc", {**SIZES, "frames": 1})
    video = make_video(4, 1, D)
    first = [
        [direct.tcmgc_scores(wide("tcmgc"), *pair, frames)[0] for frames in video.frames.astype(float)]
        for pair in zip(text.sentence.astype(float), text.words.astype(float), strict=True)
    ]
    np.testing.assert_allclose(scorer.holistic(scorer.prepare(text), scorer.rows(video)), first, atol=1e-5)


def test_cosines_do_not_depend_on_lengths():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, D)).astype(np.float32), rng.standard_normal((1000, D)).astype(np.float32)
    lengths = rng.uniform(0.1, 10, (1000, 1)).astype(np.float32)
    np.testing.assert_allclose(cosine(5 * a, lengths * b), direct.unit(a) @ direct.unit(b).T, atol=1e-5)
    assert cosine(a, a).max() <= 1


def test_a_zero_vector_is_like_nothing(video):
    scorer = make_scorer(HEADS["holistic"], "holistic", SIZES)
    blank = VideoFeatures(np.zeros_like(video.frames), video.mask, np.zeros_like(video.video), video.weights)
    assert (scorer.similarity(scorer.rows(blank), scorer.rows(video)) == 0).all()


# ---- tightTransf -----------------------------------------------------------------------------------


def toy_encoder(sentence, frames, mask):
    """Stands for the cross encoder: aligned pairs in, logits out, and nothing of it linear."""
    assert sentence.dtype == frames.dtype == mask.dtype == np.float32
    return np.tanh((sentence[:, None] * frames).sum(-1) * mask).sum(-1)


def test_cross_scores_are_the_encoders(text):
    video = make_video(130, F, D)  # more than two runs
    runs = []

    def encoder(*pairs):
        runs.append(len(pairs[0]))
        return toy_encoder(*pairs)

    scorer = make_scorer(HEADS["cross"], "cross", SIZES, cross=encoder)
    logits = scorer.score(scorer.prepare(text), scorer.rows(video))
    for t, sentence in enumerate(text.sentence):
        for v in range(130):
            alone = toy_encoder(sentence[None], video.frames[v : v + 1], video.mask[v : v + 1])
            assert logits[t, v] == pytest.approx(alone[0], abs=1e-5)
    assert max(runs) <= 64 and sum(runs) == 2 * 130


def test_without_a_cross_encoder_there_are_no_logits(text, video):
    scorer = make_scorer(HEADS["cross"], "cross", SIZES)
    with pytest.raises(UsageError, match="cross encoder"):
        scorer.score(scorer.prepare(text), scorer.rows(video))
