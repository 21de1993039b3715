"""The frame numbers that the published data loader reads."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from vtr.decode.sampling import check_sampling, sample_indices
from vtr.errors import UsageError
from vtr.types import Sampling


def published_loader(count: int, frame_rate: float, sampling: Sampling) -> list[int]:
    """Candidates as the loader's two loops visit them, until a read fails; then its three slicings."""
    fps = int(frame_rate)
    offsets = list(range(0, fps, fps // sampling.fps))[: sampling.fps]
    candidates = []
    for second in range((count + fps - 1) // fps):
        for offset in offsets:
            if second * fps + offset < count:
                candidates.append(second * fps + offset)
    if len(candidates) > sampling.frames:
        if sampling.slice == "head":
            candidates = candidates[: sampling.frames]
        elif sampling.slice == "tail":
            candidates = candidates[-sampling.frames :]
        else:
            places = np.linspace(0, len(candidates) - 1, num=sampling.frames, dtype=int)
            candidates = [candidates[place] for place in places]
    return candidates


@pytest.mark.parametrize("rate", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("slicing", ["uniform", "head", "tail"])
@pytest.mark.parametrize("frames", [1, 2, 12, 19])
@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30000, 1001), Fraction(25, 2), Fraction(11)])
def test_equals_the_published_loader(frame_rate: Fraction, frames: int, slicing: str, rate: int) -> None:
    sampling = Sampling(frames=frames, fps=rate, slice=slicing)
    for count in [*range(1, 70), 111, 299, 300, 301, 1000, 7777]:
        expected = published_loader(count, float(frame_rate), sampling)
        assert sample_indices(count, frame_rate, sampling).tolist() == expected


def test_frame_rates_that_stop_the_published_loader() -> None:
    assert sample_indices(3, Fraction(1, 2), Sampling()).tolist() == [0, 1, 2]  # below 1: every frame
    assert sample_indices(4, Fraction(2), Sampling(fps=5)).tolist() == [0, 1, 2, 3]  # faster than the video


def test_a_huge_count_costs_nothing() -> None:
    chosen = sample_indices(1 << 50, Fraction(1000), Sampling(frames=3))
    assert chosen.dtype == np.int64 and len(chosen) == 3
    assert chosen[0] == 0 and (1 << 50) - 1000 <= chosen[2] < 1 << 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"frames": 2.0},
        {"frames": True},
        {"fps": 0},
        {"fps": -1},
        {"size": 0},
        {"slice": "middle"},
    ],
)
def test_meaningless_sampling(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=name):
        check_sampling(Sampling(**wrong))  # type: ignore[arg-type]
