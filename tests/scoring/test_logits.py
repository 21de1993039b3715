"""Logits: the scorers against the formulas of the papers, pair by pair, in float64."""

import numpy as np
import pytest
from scoring import direct
from scoring.cases import (
    awkward_videos,
    holistic_head,
    make_text,
    make_video,
    stored,
    tcmgc_head,
    xclip_head,
)

from vtr.scoring import make_scorer, numerics
from vtr.types import VideoFeatures

# Logits are of scale 100 and must be within 0.01 of float64's. Float32 is off by 3e-5 at most here.
EXACT = 1e-3
# An index keeps features in float16, in steps of 2^-11 of their size. TC-MGC's λ = 100, applied twice, makes
# the most of them: 0.02 at most here.
STORED = 0.05

SHAPES = [  # F, L, D, K
    (12, 32, 64, 22),
    (12, 32, 32, 3),
    (1, 1, 32, 1),
    (1, 8, 32, 7),
    (5, 7, 48, 7),  # K == L: the rest of sentence-frame is empty
    (7, 2, 33, 1),
    (64, 9, 32, 4),
    (3, 77, 32, 53),
]


def sizes(frames, words, dim, keep=None):
    return {"frames": frames, "words": words, "dim": dim, "keep": keep}


def make(kind, frames, words, dim, keep, **options):
    """A scorer, and the function that gives one pair's logit from the same head."""
    if kind == "tcmgc":
        head = tcmgc_head(words, dim, keep, **options)
    elif kind == "xclip":
        head = xclip_head(frames, words, dim, **options)
    else:
        head = holistic_head()
    return make_scorer(head, kind, sizes(frames, words, dim, keep)), head


def expected(kind, head, text, video):
    """Logits ``[T, V]`` in float64."""
    if kind == "tcmgc":
        return direct.logits(
            direct.tcmgc, head, zip(text.sentence, text.words, strict=True), _of(video.frames)
        )
    if kind == "xclip":
        videos = list(zip(video.frames, video.video, strict=True))
        return direct.logits(direct.xclip, head, zip(text.sentence, text.words, strict=True), videos)
    return direct.logits(direct.holistic, head, _of(text.sentence), _of(video.video))


def _of(rows):
    return [(row,) for row in rows]


def check(scorer, text, video, truth):
    query, rows = scorer.prepare(text), scorer.rows(video)
    logits = scorer.score(query, rows)
    assert logits.dtype == np.float32 and logits.shape == truth.shape
    np.testing.assert_allclose(logits, truth, rtol=0, atol=EXACT)
    np.testing.assert_allclose(scorer.score(query, stored(scorer, rows)), truth, rtol=0, atol=STORED)


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_equal_the_formulas(kind, shape):
    frames, words, dim, _ = shape
    scorer, head = make(kind, *shape)
    text, video = make_text(2, words, dim), make_video(4, frames, dim)
    truth = expected(kind, head, text, video)
    assert np.ptp(truth) > 1, "logits that hardly vary would prove nothing"
    check(scorer, text, video, truth)


@pytest.mark.parametrize("kind", ["xclip", "tcmgc"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_awkward_videos(kind, noise):
    frames, words, dim, _ = shape = (6, 10, 64, 6)
    scorer, head = make(kind, *shape, noise=noise)
    y = np.stack(list(awkward_videos(frames, dim).values()))
    video = VideoFeatures(y, np.ones(y.shape[:2], np.float32), y.mean(axis=1))
    text = make_text(2, words, dim)
    check(scorer, text, video, expected(kind, head, text, video))


@pytest.mark.parametrize("kind", ["xclip", "tcmgc"])
def test_awkward_texts(kind):
    """Equal words (ties everywhere), a zero sentence, huge and tiny words."""
    frames, words, dim, _ = shape = (4, 9, 32, 5)
    scorer, head = make(kind, *shape)
    text, video = make_text(4, words, dim), make_video(3, frames, dim)
    text.words[0] = text.words[0, 0]
    text.sentence[1] = 0
    text.words[2] *= 1e5
    text.words[3, ::2] *= 1e-5
    check(scorer, text, video, expected(kind, head, text, video))


def test_without_logit_weight_it_is_the_identity():
    shape = frames, words, dim, _ = 3, 6, 32, 4
    scorer, head = make("tcmgc", *shape, logit_weight=False)
    text, video = make_text(2, words, dim), make_video(3, frames, dim)
    assert "logit_weight" not in head
    check(scorer, text, video, expected("tcmgc", head, text, video))


def test_large_biases():
    """z is then mostly bias, and ‖z‖² a sum of terms that nearly cancel."""
    shape = frames, words, dim, keep = 4, 6, 64, 3
    rng = np.random.default_rng(0)
    head = tcmgc_head(words, dim, keep)
    for name in ("layer_norm1.bias", "layer_norm2.bias", "layer_norm3.bias", "linear_proj.bias"):
        head[direct.POOL + name] = 5 * rng.standard_normal(dim).astype(np.float32)
    scorer = make_scorer(head, "tcmgc", sizes(*shape))
    text, video = make_text(2, words, dim), make_video(4, frames, dim)
    check(scorer, text, video, expected("tcmgc", head, text, video))


@pytest.mark.parametrize("keep", [22, 3])
def test_published_size(keep):
    frames, words, dim = 12, 32, 512
    scorer, head = make("tcmgc", frames, words, dim, keep)
    text, video = make_text(1, words, dim), make_video(3, frames, dim, lengths=[12, 3, 1])
    check(scorer, text, video, expected("tcmgc", head, text, video))


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
def test_blocks_and_threads_change_nothing(kind, monkeypatch):
    """A video's logit does not depend on the company it is scored in."""
    frames, words, dim, _ = shape = (5, 6, 32, 4)
    scorer, _ = make(kind, *shape)
    query = scorer.prepare(make_text(3, words, dim))
    rows = stored(scorer, scorer.rows(make_video(111, frames, dim)))
    together = scorer.score(query, rows)
    monkeypatch.setattr(numerics, "BLOCK_BYTES", 7 * 4 * frames * dim)
    monkeypatch.setattr(numerics.os, "sched_getaffinity", lambda _: range(3))
    np.testing.assert_allclose(scorer.score(query, rows), together, rtol=0, atol=1e-4)
    for video in (0, 56, 110):
        alone = {name: column[video : video + 1] for name, column in rows.items()}
        np.testing.assert_allclose(scorer.score(query, alone), together[:, [video]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
def test_rows_may_be_mapped_and_strided(kind, tmp_path):
    frames, words, dim, _ = shape = (4, 5, 32, 3)
    scorer, _ = make(kind, *shape)
    query = scorer.prepare(make_text(2, words, dim))
    rows = stored(scorer, scorer.rows(make_video(10, frames, dim)))
    mapped = {}
    for name, column in rows.items():
        column.tofile(tmp_path / name)
        mapped[name] = np.memmap(tmp_path / name, column.dtype, "r", shape=column.shape)[::3]
    np.testing.assert_allclose(scorer.score(query, mapped), scorer.score(query, rows)[:, ::3], atol=1e-4)


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
@pytest.mark.parametrize(("texts", "videos"), [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_score(kind, texts, videos):
    frames, words, dim, _ = shape = (4, 5, 32, 3)
    scorer, _ = make(kind, *shape)
    text = make_text(texts, words, dim)
    query = scorer.prepare(text)
    rows = stored(scorer, scorer.rows(make_video(videos, frames, dim)))
    assert scorer.score(query, rows).shape == (texts, videos)
    assert scorer.holistic(query, rows).shape == (texts, videos)
    assert scorer.relevance(text, rows).shape == (texts, videos, frames)
    assert scorer.similarity(rows, rows).shape == (videos, videos)


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
def test_scoring_leaves_its_arguments_alone(kind):
    frames, words, dim, _ = shape = (4, 5, 32, 3)
    scorer, _ = make(kind, *shape)
    text, video = make_text(2, words, dim), make_video(3, frames, dim)
    rows, query = scorer.rows(video), scorer.prepare(text)
    before = [array.copy() for array in (*rows.values(), *vars(query).values(), video.frames, text.words)]
    first = scorer.score(query, rows)
    np.testing.assert_array_equal(scorer.score(query, rows), first)
    after = [*rows.values(), *vars(query).values(), video.frames, text.words]
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
def test_stored_columns_are_what_was_declared(kind):
    scorer, _ = make(kind, 4, 5, 32, 3)
    rows = scorer.rows(make_video(3, 4, 32))
    used = {*scorer.score_columns, *scorer.holistic_columns, *scorer.relevance_columns}
    assert set(rows) == set(scorer.columns) >= {"video", "mask", *used}
    for name, spec in scorer.columns.items():
        assert rows[name].shape == (3, *spec.shape), name
        assert rows[name].dtype == (np.uint8 if name == "mask" else np.float32), name


@pytest.mark.parametrize("kind", ["holistic", "xclip", "tcmgc"])
def test_only_the_named_columns_are_needed(kind):
    """What a search need not read it does not."""
    frames, words, dim, _ = shape = (4, 5, 32, 3)
    scorer, _ = make(kind, *shape)
    text = make_text(2, words, dim)
    query, rows = scorer.prepare(text), scorer.rows(make_video(3, frames, dim))
    scorer.score(query, {name: rows[name] for name in scorer.score_columns})
    few = {name: rows[name] for name in scorer.holistic_columns}
    scorer.holistic(query, few)
    scorer.similarity(few, few)
    scorer.relevance(text, {name: rows[name] for name in scorer.relevance_columns})
