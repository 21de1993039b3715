"""Small models and stored rows for the tests of the native core and of the bank that uses it."""

import numpy as np
from scoring.cases import holistic_head, make_text, make_video, stored, tcmgc_head, xclip_head

from vtr.scoring import make_scorer

KINDS = ("holistic", "xclip", "tcmgc")
SIZES = {"frames": 5, "words": 7, "dim": 48, "keep": 3}
# The core and NumPy read the same rows and sum in another order: within 3e-5 of float64 each, on a scale of
# 100, but TC-MGC's λ = 100, applied twice, makes more of every rounding.
TOLERANCE = 5e-3
COLUMNS = {"holistic": ("video",), "xclip": ("frames", "video"), "tcmgc": ("frames", "gram", "video")}


def head_of(kind, frames, words, dim, keep):
    if kind == "tcmgc":
        return tcmgc_head(words, dim, keep)
    return xclip_head(frames, words, dim) if kind == "xclip" else holistic_head()


def scorer_of(kind, sizes=SIZES):
    return make_scorer(head_of(kind, **sizes), kind, sizes)


def rows_of(scorer, videos, seed=2):
    """Stored rows of random videos, by column."""
    return stored(scorer, scorer.rows(make_video(videos, scorer.frames, scorer.dim, seed=seed)))


def columns_of(kind, rows, part=slice(None)):
    """What the core keeps of rows."""
    return {name: rows[name][part] for name in COLUMNS[kind]}


def text_of(texts, sizes=SIZES, seed=1):
    return make_text(texts, sizes["words"], sizes["dim"], seed=seed)


def assert_ranked_alike(found, scores, k, ids=None):
    """``found`` is what ranking ``scores [T, V]`` gives, up to videos whose scores differ by rounding.

    Args:
        found: for each text ids and scores, best first.
        ids: of the columns of ``scores``.
    """
    ids = np.arange(scores.shape[1]) if ids is None else np.asarray(ids)
    assert len(found) == len(scores)
    for row, (chosen, values) in zip(scores, found, strict=True):
        assert len(chosen) == len(set(np.asarray(chosen).tolist())) == min(k, len(ids))
        best = np.sort(row)[::-1][: len(chosen)]
        np.testing.assert_allclose(values, best, rtol=0, atol=TOLERANCE)
        own = row[np.searchsorted(ids, chosen)]
        np.testing.assert_allclose(values, own, rtol=0, atol=TOLERANCE)
        for before, after in zip(range(len(values)), range(1, len(values)), strict=False):
            assert values[before] > values[after] or (
                values[before] == values[after] and chosen[before] < chosen[after]
            )
