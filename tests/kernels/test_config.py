"""Sizes that kernels do not take are refused by name."""

import pytest

from vtr.errors import UsageError
from vtr.kernels.config import ARCHES, Spec, multi_grained_tile, padded_frames, padded_words, power_of_two


@pytest.mark.parametrize(
    "sizes, message",
    [
        (("cross", 12, 32, 512, 1), "expected scoring as one of holistic, xclip, tcmgc, got 'cross'"),
        (("xclip", 65, 32, 512, 3), "expected frames from 1 to 64, got 65"),
        (("tcmgc", 17, 32, 512, 3), "expected frames of TC-MGC up to 16, got 17: score on the CPU"),
        (("tcmgc", 12, 33, 512, 3), "expected words of TC-MGC up to 32, got 33: score on the CPU"),
        (("tcmgc", 12, 0, 512, 3), "expected words from 1 to 64, got 0"),
        (("tcmgc", 12, 32, 100, 3), "expected dim as a multiple of 16, got 100"),
        (("tcmgc", 12, 32, 512, 33), "expected keep from 1 to 32"),
        (("xclip", 12, 32, 512, 1, "fp32"), "expected storage as one of fp16, bf16, got 'fp32'"),
    ],
)
def test_refused(sizes, message):
    with pytest.raises(UsageError, match=message):
        Spec(*sizes)


def test_powers_of_two():
    assert [power_of_two(n) for n in (0, 1, 2, 3, 12, 64, 65)] == [1, 1, 2, 4, 16, 64, 128]
    assert padded_frames(5) == padded_words(8) == 16 and padded_frames(64) == 64


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(
    "scoring, frames, words, dim",
    [("tcmgc", 12, 32, 512), ("tcmgc", 1, 8, 192), ("xclip", 64, 64, 512), ("xclip", 13, 20, 768)],
)
def test_tiles_are_powers_of_two_that_divide(arch, scoring, frames, words, dim):
    tile = multi_grained_tile(arch, Spec(scoring, frames, words, dim, 3))
    for number in (tile.videos, tile.depth, tile.warps):
        assert number == power_of_two(number) >= 1
    assert dim % tile.depth == 0 and tile.depth >= 16
