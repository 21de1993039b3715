"""Ranks and metrics against their definitions, written out slowly and without arrays."""

import math
from dataclasses import replace

import numpy as np
import pytest

from vtr.errors import UsageError
from vtr.evaluation import (
    bootstrap_intervals,
    dual_softmax,
    evaluate,
    metrics,
    recall_curve,
    summarize,
    text_to_video_ranks,
    video_to_text_ranks,
)

# ---- the definitions ----------------------------------------------------------------------------------


def beats(other, right):
    """Whether an answer scored ``other`` is counted before the right one: ties are, NaN is below all."""
    if math.isnan(right):
        return True
    return not math.isnan(other) and other >= right


def slow_text_to_video(scores, targets):
    ranks = []
    for line, own in zip(scores.tolist(), targets, strict=True):
        ranks.append(1 + sum(beats(score, line[own]) for video, score in enumerate(line) if video != own))
    return ranks


def best(values):
    known = [value for value in values if not math.isnan(value)]
    return max(known) if known else math.nan


def slow_video_to_text(scores, targets, pool):
    table, texts = scores.tolist(), range(len(scores))
    ranks = {}
    for video in sorted(set(targets)):
        own = best([table[t][video] for t in texts if targets[t] == video])
        if pool == "sets":
            others = [
                best([table[t][video] for t in texts if targets[t] == other])
                for other in set(targets) - {video}
            ]
        else:
            others = [table[t][video] for t in texts if targets[t] != video]
        ranks[video] = 1 + sum(beats(other, own) for other in others)
    return ranks


def slow_summary(ranks):
    ordered, count = sorted(ranks), len(ranks)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    found = {f"R@{k}": 100 * len([rank for rank in ranks if rank <= k]) / count for k in (1, 5, 10)}
    return found | {"MdR": middle, "MnR": sum(ranks) / count, "MRR": sum(1 / rank for rank in ranks) / count}


# ---- ranks --------------------------------------------------------------------------------------------


def random_case(seed, texts, videos, levels=None, unknown=0.0):
    """Random scores; ``levels`` makes them few and so tied; a share ``unknown`` is NaN."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(texts, videos)).astype(np.float32)
    if levels:
        scores = np.round(scores * levels) / levels
    scores[random.random(scores.shape) < unknown] = np.nan
    targets = random.integers(videos, size=texts)
    scores[np.arange(texts), targets] += 1
    return scores, targets


CASES = [
    pytest.param(*random_case(0, 1, 1), id="single"),
    pytest.param(*random_case(1, 1, 19), id="one-text"),
    pytest.param(*random_case(2, 19, 1), id="one-video"),
    pytest.param(random_case(3, 40, 40)[0], np.arange(40), id="one-caption-each"),
    pytest.param(*random_case(4, 111, 37), id="several-captions"),
    pytest.param(*random_case(5, 23, 61), id="videos-without-captions"),
    pytest.param(*random_case(6, 80, 30, levels=2), id="ties"),
    pytest.param(*random_case(7, 80, 30, levels=2, unknown=0.2), id="ties-and-nan"),
    pytest.param(*random_case(8, 30, 12, unknown=0.95), id="mostly-nan"),
    pytest.param(np.full((9, 7), np.nan), np.arange(9) % 7, id="all-nan"),
    pytest.param(np.zeros((9, 7)), np.arange(9) % 7, id="all-equal"),
]


@pytest.mark.parametrize("chunk", [metrics.CHUNK, 50], ids=["whole", "chunked"])
@pytest.mark.parametrize(("scores", "targets"), CASES)
def test_ranks_follow_their_definitions(monkeypatch, chunk, scores, targets):
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    assert text_to_video_ranks(scores, targets).tolist() == slow_text_to_video(scores, targets.tolist())
    for pool in ("sets", "each"):
        videos, ranks = video_to_text_ranks(scores, targets, pool)
        expected = slow_video_to_text(scores, targets.tolist(), pool)
        assert dict(zip(videos.tolist(), ranks.tolist(), strict=True)) == expected


def test_ranks_do_not_depend_on_order():
    scores, targets = random_case(9, 60, 25, levels=3)
    random = np.random.default_rng(9)
    rows, columns = random.permutation(60), random.permutation(25)
    moved = np.argsort(columns)[targets][rows]
    shuffled = scores[rows][:, columns]
    assert (text_to_video_ranks(shuffled, moved) == text_to_video_ranks(scores, targets)[rows]).all()
    for pool in ("sets", "each"):
        videos, ranks = video_to_text_ranks(scores, targets, pool)
        moved_videos, moved_ranks = video_to_text_ranks(shuffled, moved, pool)
        assert dict(zip(columns[moved_videos], moved_ranks, strict=True)) == dict(
            zip(videos, ranks, strict=True)
        )


def test_pools_agree_with_one_caption_a_video_and_on_first_place():
    scores, _ = random_case(10, 50, 50)
    one_each = np.arange(50)
    sets, each = (video_to_text_ranks(scores, one_each, pool)[1] for pool in ("sets", "each"))
    assert (sets == each).all() and (sets == text_to_video_ranks(scores.T, one_each)).all()
    scores, targets = random_case(11, 90, 30)
    sets, each = (video_to_text_ranks(scores, targets, pool)[1] for pool in ("sets", "each"))
    assert ((sets == 1) == (each == 1)).all()
    assert (sets <= each).all() and (sets < each).any()


def test_infinities_are_ordinary_scores_and_nan_is_below_them():
    scores = np.array([[-np.inf, np.nan, np.inf], [np.inf, np.inf, 0.0]])
    assert text_to_video_ranks(scores, np.array([0, 0])).tolist() == [2, 2]
    assert text_to_video_ranks(scores, np.array([1, 2])).tolist() == [3, 3]


def test_inputs_are_left_alone_and_may_be_strided_and_read_only():
    wide = np.random.default_rng(12).normal(size=(30, 40))
    scores = wide[::2, ::-2]
    wide.flags.writeable = False
    targets = np.arange(15)
    assert text_to_video_ranks(scores, targets).tolist() == slow_text_to_video(scores, targets.tolist())
    dual_softmax(scores, 0)
    assert (wide == np.random.default_rng(12).normal(size=(30, 40))).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8, np.int8])
def test_any_real_type_is_taken(dtype):
    scores = np.array([[3, 2], [1, 2], [2, 2]], dtype)
    assert text_to_video_ranks(scores, np.array([0, 1, 1])).tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros(4), [0], r"\[texts, videos\]"),
        (np.zeros((0, 4)), np.zeros(0, int), "both at least 1"),
        (np.zeros((2, 2), complex), [0, 1], "real numbers"),
        (np.array([["a"]]), [0], "real numbers"),
        (np.zeros((2, 2)), [0], "each of 2 texts"),
        (np.zeros((2, 2)), [0.0, 1.0], "whole numbers"),
        (np.zeros((2, 2)), [0, 2], "0 to 1, got 0 to 2"),
        (np.zeros((2, 2)), [-1, 0], "0 to 1, got -1 to 0"),
    ],
)
def test_what_does_not_fit_is_refused(scores, targets, message):
    with pytest.raises(UsageError, match=message):
        text_to_video_ranks(scores, targets)


# ---- metrics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 19, 1000])
def test_summary_follows_its_definition(count):
    ranks = np.random.default_rng(count).integers(1, 30, size=count)
    found, expected = summarize(ranks), slow_summary(ranks.tolist())
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-12)  # sums in another order


def test_recall_curve_passes_through_the_summary():
    ranks = np.random.default_rng(0).integers(1, 30, size=111)
    summary = summarize(ranks)
    assert recall_curve(ranks, [1, 5, 10]).tolist() == pytest.approx([summary[f"R@{k}"] for k in (1, 5, 10)])
    assert recall_curve(ranks, [0, 29]).tolist() == [0, 100]


def test_no_ranks_are_refused():
    with pytest.raises(UsageError, match="at least one query"):
        summarize([])


# ---- dual softmax -------------------------------------------------------------------------------------


def slow_dual_softmax(scores, axis, temperature):
    table = scores if axis == 0 else scores.T
    product = [[0.0] * table.shape[1] for _ in table]
    for column in range(table.shape[1]):
        total = sum(math.exp(value / temperature) for value in table[:, column])
        for row, value in enumerate(table[:, column]):
            product[row][column] = value * math.exp(value / temperature) / total
    return np.array(product) if axis == 0 else np.array(product).T


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_dual_softmax_follows_its_definition(axis, temperature):
    scores = np.random.default_rng(0).normal(size=(19, 7)) * 10
    expected = slow_dual_softmax(scores, axis, temperature)
    np.testing.assert_allclose(dual_softmax(scores, axis, temperature), expected, rtol=1e-12)


def test_dual_softmax_bears_large_and_missing_scores():
    scores = np.array([[900.0, np.nan], [899.0, np.nan], [-np.inf, np.nan], [np.nan, np.nan]])
    found = dual_softmax(scores, 0)
    share = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(found[:2, 0], [900 * share, 899 * (1 - share)], rtol=1e-12)
    assert np.isneginf(found[2, 0]) and np.isnan(found[3]).all() and np.isnan(found[:, 1]).all()
    with pytest.raises(UsageError, match="below infinity"):
        dual_softmax(np.array([[np.inf, 0]]), 0)
    with pytest.raises(UsageError, match="above 0"):
        dual_softmax(scores, 0, 0.0)


def test_dual_softmax_demotes_a_video_that_every_text_likes():
    """A hub: video 0 scores high with every text, so the texts of other videos lose it as first answer."""
    scores = np.full((10, 10), 1.0) + 2 * np.eye(10)
    scores[:, 0] = 3.5
    scores[0, 0] = 6
    own = np.arange(10)
    plain = evaluate(scores, own, dsl=True, resamples=0)
    assert plain["text_to_video"].metrics["R@1"] == 10
    reweighted = [d for d in plain.directions if d.dual_softmax and d.name == "text_to_video"]
    assert reweighted[0].metrics["R@1"] == 100
    assert any("not comparable" in note for note in plain.notes)


# ---- bootstrap ----------------------------------------------------------------------------------------


def test_intervals_repeat_with_the_seed_and_hold_the_metric():
    random = np.random.default_rng(0)
    ranks = random.geometric(0.2, size=300)
    found = bootstrap_intervals(ranks, np.arange(300), 300, seed=5)
    assert found == bootstrap_intervals(ranks, np.arange(300), 300, seed=5)
    assert found != bootstrap_intervals(ranks, np.arange(300), 300, seed=6)
    for name, value in summarize(ranks).items():
        low, high = found[name]
        assert low <= value <= high


def test_intervals_match_the_binomial_ones():
    """For R@1 of independent queries the standard error is √(p(1 − p)/n)."""
    ranks = np.where(np.arange(1000) < 400, 1, 50)
    low, high = bootstrap_intervals(ranks, np.arange(1000), 2000)["R@1"]
    error = 100 * math.sqrt(0.4 * 0.6 / 1000)
    assert low == pytest.approx(40 - 1.96 * error, abs=0.5)  # 2,000 resamples place an end within about 0.2
    assert high == pytest.approx(40 + 1.96 * error, abs=0.5)


def test_intervals_cover_the_truth_as_often_as_they_say():
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        ranks = np.where(random.random(150) < 0.5, 1, 20)
        low, high = bootstrap_intervals(ranks, np.arange(150), 100, seed=trial)["R@1"]
        covered += low <= 50 <= high
    assert 0.88 <= covered / 200 <= 0.99  # 3 standard errors of 200 trials around 93 to 95%


def test_captions_of_one_video_move_together():
    """20 equal captions a video carry the information of one: the interval must not shrink by √20."""
    random = np.random.default_rng(2)
    of_video = np.where(random.random(50) < 0.5, 1, 20)
    clusters = np.repeat(np.arange(50), 20)
    single = bootstrap_intervals(of_video, np.arange(50), 400)["R@1"]
    clustered = bootstrap_intervals(of_video[clusters], clusters, 400)["R@1"]
    assert clustered == pytest.approx(single)  # the same draws of the same 50 videos
    naive = bootstrap_intervals(of_video[clusters], np.arange(1000), 400)["R@1"]
    assert (naive[1] - naive[0]) < 0.4 * (clustered[1] - clustered[0])


def test_uneven_clusters_against_a_plain_resampling():
    random = np.random.default_rng(3)
    clusters = random.integers(12, size=60)
    ranks = random.integers(1, 15, size=60)
    videos = sorted(set(clusters.tolist()))
    draw, values = np.random.default_rng(7), []
    for _ in range(50):
        drawn = [
            rank
            for pick in draw.integers(len(videos), size=len(videos))
            for rank in ranks[clusters == videos[pick]].tolist()
        ]
        values.append(slow_summary(drawn)["MnR"])
    expected = (np.percentile(values, 2.5), np.percentile(values, 97.5))
    assert bootstrap_intervals(ranks, clusters, 50, seed=7)["MnR"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("ranks", "clusters", "resamples", "message"),
    [([1, 2], [0], 100, "one length"), ([], [], 100, "at least 1"), ([1], [0], 3, "at least 20")],
)
def test_bad_bootstraps_are_refused(ranks, clusters, resamples, message):
    with pytest.raises(UsageError, match=message):
        bootstrap_intervals(ranks, clusters, resamples)


# ---- the whole evaluation -----------------------------------------------------------------------------


def test_an_evaluation_holds_both_directions_and_says_how():
    scores, targets = random_case(13, 60, 20, unknown=0.01)
    found = evaluate(scores, targets, dsl=True, resamples=50, seed=3)
    assert [(d.name, d.dual_softmax) for d in found.directions] == [
        ("text_to_video", False),
        ("video_to_text", False),
        ("text_to_video", True),
        ("video_to_text", True),
    ]
    expected = slow_summary(slow_text_to_video(scores, targets.tolist()))
    assert found["text_to_video"].metrics == pytest.approx(expected)
    expected = slow_summary(list(slow_video_to_text(scores, targets.tolist(), "sets").values()))
    assert found["video_to_text"].metrics == pytest.approx(expected)
    assert any("NaN" in note for note in found.notes) and found.settings["seed"] == 3
    assert any("negative" in note for note in found.notes)
    turned = replace(found, directions=found.directions[::-1])
    assert not turned["text_to_video"].dual_softmax
    assert found.directions[0].candidates == 20
    assert found.directions[1].candidates == len(set(targets.tolist()))


def test_the_table_has_a_line_of_figures_and_one_of_intervals_for_each_direction():
    scores, targets = random_case(14, 60, 20)
    lines = evaluate(scores, targets, resamples=50, protocol="mine").table().splitlines()
    assert lines[0] == "mine: 60 captions, 20 videos"
    assert lines[2].split() == ["R@1", "R@5", "R@10", "MdR", "MnR", "MRR"]
    assert [line.split("  ")[0] for line in lines[3:]][::2] == ["text → video", "video → text"]
    assert all("95% interval" in line for line in lines[4::2])
    assert len({len(line) for line in lines[2:]}) == 1  # aligned
