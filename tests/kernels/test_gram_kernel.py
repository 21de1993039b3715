"""TC-MGC's stored statistics in the interpreter, against its plain form in float64, and that against the
NumPy scorer."""

from kernel_cases import STORAGE, UNIT, device, wide  # isort: skip  (before the kernels)

import numpy as np
import pytest
from scoring.cases import make_video, tcmgc_head

from vtr.kernels.gram import prepare, statistics
from vtr.kernels.tcmgc_reference import gram_reference
from vtr.scoring.tcmgc import TCMGCScorer

SHAPES = [(5, 12, 64, "fp16"), (1, 5, 192, "bf16"), (2, 1, 128, "fp16")]  # videos, frames, dim, storage


@pytest.mark.parametrize("videos, frames, dim, storage", SHAPES)
def test_statistics(videos, frames, dim, storage):
    head, video = tcmgc_head(8, dim, 3), make_video(videos, frames, dim)
    want_k, want = (array.numpy() for array in gram_reference(wide(head), wide(video.frames)))
    k, gram = statistics(device(video.frames), *map(device, prepare(head)), STORAGE[storage])
    # The interpreter cuts bf16 off where a GPU rounds: twice the error.
    rounding = UNIT[storage] * (2 if storage == "bf16" else 1.01)
    assert np.abs(k.float().numpy() - want_k).max() < rounding * np.abs(want_k).max()
    # Sums of D products in float32; squares of sums of D products.
    assert np.abs(gram.numpy() - want).max() < dim * 2.0**-22 * np.abs(want).max()


def test_the_plain_form_is_the_numpy_scorer():
    head, video = tcmgc_head(8, 64, 3), make_video(2, 12, 64)
    rows = TCMGCScorer(head, {"frames": 12, "words": 8, "dim": 64, "keep": 3}).rows(video)
    k, gram = gram_reference(wide(head), wide(video.frames))
    # The scorer works in float64 and keeps float32.
    assert np.abs(rows["frames"] - k.numpy()).max() < 2.0**-23 * np.abs(rows["frames"]).max()
    assert np.abs(rows["gram"] - gram.numpy()).max() < 2.0**-23 * np.abs(rows["gram"]).max()
