"""TC-MGC's stored statistics in the interpreter, against those that the NumPy scorer works out in float64."""

from kernel_cases import STORAGE, UNIT, device  # isort: skip  (before the kernels)

import numpy as np
import pytest
from scoring.cases import make_video, tcmgc_head

from vtr.kernels.gram import prepare, statistics
from vtr.scoring.tcmgc import TCMGCScorer


@pytest.mark.parametrize(
    "videos, frames, dim, storage", [(5, 12, 64, "fp16"), (1, 5, 192, "bf16"), (2, 1, 128, "fp16")]
)
def test_statistics(videos, frames, dim, storage):
    head, video = tcmgc_head(8, dim, 3), make_video(videos, frames, dim)
    rows = TCMGCScorer(head, {"frames": frames, "words": 8, "dim": dim, "keep": 3}).rows(video)
    k, gram = statistics(device(video.frames), *map(device, prepare(head)), STORAGE[storage])
    # The interpreter cuts bf16 off where a GPU rounds: twice the error.
    rounding = UNIT[storage] * (2 if storage == "bf16" else 1.01)
    assert np.abs(k.float().numpy() - rows["frames"]).max() < rounding * np.abs(rows["frames"]).max()
    # Sums of D products in float32; squares of sums of D products.
    assert np.abs(gram.numpy() - rows["gram"]).max() < dim * 2.0**-22 * np.abs(rows["gram"]).max()
