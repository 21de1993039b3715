"""Moments: spans of time from the relevance of frames."""

import math
from itertools import pairwise

import numpy as np
import pytest

from vtr.errors import UsageError
from vtr.moments import moments, moments_of_videos

UNKNOWN = [0.0, math.nan, math.inf, -1.0]


def test_neighbours_above_the_mean_are_joined():
    # Frames at 0, 1, … 5 s; each stands for the half second on both its sides. The mean is 1/6.
    relevance = [0.30, 0.25, 0.05, 0.05, 0.05, 0.30]
    found = moments(relevance, range(6), 6.0)
    assert [(m.start, m.end) for m in found] == [(0.0, 1.5), (4.5, 6.0)]
    assert [m.weight for m in found] == pytest.approx([0.55, 0.30])


def test_the_heaviest_come_first_and_the_earlier_of_equals():
    found = moments([0.1, 0.3, 0.0, 0.3, 0.0, 0.3], range(6), 6.0, limit=2)
    assert [(m.start, m.end) for m in found] == [(0.5, 1.5), (2.5, 3.5)]


def test_uneven_timestamps():
    found = moments([0.1, 0.8, 0.1], [0.0, 2.0, 10.0], 12.0)
    assert [(m.start, m.end) for m in found] == [(1.0, 6.0)]


def test_timestamps_that_go_back_give_no_span_that_does():
    found = moments([0.0, 0.5, 0.0, 0.5, 0.0], [0.0, 8.0, 9.0, 2.0, 3.0], 10.0)
    assert [(m.start, m.end) for m in found] == [(4.0, 8.5), (8.5, 8.5)]


@pytest.mark.parametrize("count", [1, 2, 3, 12, 64])
def test_equal_relevance_is_the_whole_video(count):
    """As a float32 softmax gives it, not quite equal and not quite summing to 1."""
    shares = np.full(count, 1 / count, np.float32)
    shares += np.random.default_rng(count).uniform(-1e-7, 1e-7, count).astype(np.float32)
    (whole,) = moments(shares, np.arange(count), 70.0)
    assert (whole.start, whole.end) == (0, 70) and whole.weight == pytest.approx(1, abs=1e-4)


def test_one_frame_is_the_whole_video():
    assert [(*m,) for m in moments([1.0], [0.4], 3.0)] == [(0, 3, 1)]


@pytest.mark.parametrize("duration", UNKNOWN)
def test_unknown_duration_ends_half_an_interval_after_the_last_frame(duration):
    assert [(*m,) for m in moments([0.5, 0.5], [0.0, 2.0], duration)] == [(0, 3, 1)]
    assert [(*m,) for m in moments([1.0], [2.0], duration)] == [(0, 2, 1)]
    assert [(m.start, m.end) for m in moments([0, 0, 1], [0, 1, 2], duration)] == [(1.5, 2.5)]


def test_no_frames_no_moments():
    assert moments([], [], 5.0) == []


def random_case(rng):
    count = int(rng.integers(1, 65))
    shares = rng.dirichlet(np.full(count, rng.choice([0.1, 1, 10]))).astype(np.float32)
    times = np.sort(rng.uniform(0, 100, count)) * rng.choice([0, 1, 1, 1])
    if rng.random() < 0.3:
        times = np.round(times / 10) * 10  # repeated timestamps
    duration = float(rng.choice([*UNKNOWN, 100, 60, times[-1], 1e-3]))
    return shares, times, duration


@pytest.mark.parametrize("seed", range(200))
def test_properties(seed):
    rng = np.random.default_rng(seed)
    shares, times, duration = random_case(rng)
    found = moments(shares, times, duration, limit=100)
    end = duration if math.isfinite(duration) and duration > 0 else 1.5 * times[-1]
    assert found
    assert all(0 <= m.start <= m.end <= end + 1e-9 for m in found)
    assert all(0 < m.weight <= 1 for m in found)
    assert sum(m.weight for m in found) <= 1 + 1e-5
    assert [m.weight for m in found] == sorted((m.weight for m in found), reverse=True)
    in_time = sorted(found, key=lambda m: (m.start, m.end))
    assert all(a.end <= b.start for a, b in pairwise(in_time))
    assert moments(shares, times, duration) == found[:3]
    # The frame that matters most is in the first of one, unless no frame stands out.
    assert sum(m.weight for m in found) >= shares.max() - 1e-6


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_videos_at_once_are_videos_one_by_one(seed, limit):
    """Whatever stands behind a video's real frames, and however long the others are."""
    rng = np.random.default_rng(seed)
    cases = [random_case(rng) for _ in range(int(rng.integers(1, 30)))] + [([], [], 4.0)]
    rng.shuffle(cases)
    shares = rng.choice([0, 0.7, np.nan], (len(cases), 64)).astype(np.float32)
    times = rng.choice([-5, 0, 1e9, np.nan], (len(cases), 64))
    for row, (relevance, stamps, _) in enumerate(cases):
        shares[row, : len(relevance)], times[row, : len(stamps)] = relevance, stamps
    frames = [len(relevance) for relevance, _, _ in cases]
    found = moments_of_videos(shares, times, frames, [duration for *_, duration in cases], limit)
    assert found == [moments(*case, limit) for case in cases]


def test_no_videos():
    assert moments_of_videos(np.empty((0, 12)), np.empty((0, 12)), [], []) == []


def test_damaged_relevance_of_one_video_is_refused():
    shares = np.full((3, 4), 0.25)
    shares[1, 2] = np.nan
    moments_of_videos(shares, np.zeros((3, 4)), [4, 2, 4], [4.0] * 3)
    with pytest.raises(UsageError, match="features may be damaged"):
        moments_of_videos(shares, np.zeros((3, 4)), [4, 3, 4], [4.0] * 3)


@pytest.mark.parametrize(
    ("relevance", "times", "limit"),
    [
        ([0.5, 0.5], [0], 3),
        ([[1.0]], [[0.0]], 3),
        ([math.nan, 1], [0, 1], 3),
        ([-0.5, 1.5], [0, 1], 3),
        ([0.5, 0.5], [0, math.inf], 3),
        ([1.0], [0.0], 0),
    ],
)
def test_wrong_arguments_are_refused(relevance, times, limit):
    with pytest.raises(UsageError, match="expected"):
        moments(relevance, times, 5.0, limit)
