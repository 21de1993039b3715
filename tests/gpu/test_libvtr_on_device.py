"""libvtr's copy of a bank on the GPU against the core on the CPU: random models, videos that come and go."""

import numpy as np
import pytest

pytest.importorskip("triton", reason="no Triton: pip install 'vtr[gpu]'")
pytest.importorskip("vtr._core", reason="the native core is not built")

import gpu.needs_gpu  # noqa: F401
from device_cases import assert_alike, found_by, tolerance_of
from native_cases import KINDS, columns_of, head_of, rows_of, scorer_of, text_of

MODELS = [(kind, {"frames": 12, "words": 32, "dim": 128, "keep": 22}) for kind in KINDS]
MODELS += [("xclip", {"frames": 5, "words": 20, "dim": 192, "keep": 1})]
MODELS += [("tcmgc", {"frames": 13, "words": 8, "dim": 64, "keep": 3})]


@pytest.fixture(scope="module")
def core(place):
    from benchmarks.gpu.libvtr import import_core
    from benchmarks.gpu.place import Missing

    try:
        return import_core()
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("kind, sizes", MODELS, ids=str)
def test_the_gpu_finds_what_the_cpu_finds(kind, sizes, core, tmp_path):
    from vtr.kernels.aot import build
    from vtr.kernels.config import Spec
    from vtr.native import NativeModel

    device = core.Device()
    arch = 10 * device.capability[0] + device.capability[1]
    build(Spec(kind, *sizes.values()), tmp_path, [arch])
    model, scorer = NativeModel(kind, head_of(kind, **sizes), sizes), scorer_of(kind, sizes)
    bank = core.Bank(model.core)

    def append(first, count):
        bank.append(np.arange(first, first + count), columns_of(kind, rows_of(scorer, count, seed=first + 3)))

    def compare(texts, k):
        """The copy's answer is that of the CPU, up to rounding."""
        text = text_of(texts, sizes, seed=texts)
        found = copy.search(text.sentence, text.words if model.core.words else None, k)
        logits = bank.score(model.query(text))
        assert_alike(found_by(found), logits, k, bank.ids(), tolerance_of(kind, "float16"))

    append(0, 700)
    copy = core.DeviceBank(device, bank, tmp_path, slab_bytes=bank.nbytes // 3)  # several slabs
    assert len(copy) == 700 and copy.target == f"sm_{arch}"
    for texts, k in [(1, 10), (1, 10), (1, 10), (17, 10), (3, 40)]:  # again: as a graph; more than compiled
        compare(texts, k)
    append(5000, 123)
    bank.remove(np.arange(100, 420))
    copy.update()
    assert len(copy) == 503
    for texts, k in [(1, 10), (2, 1), (1, 600)]:
        compare(texts, k)


def test_an_empty_bank(core, tmp_path):
    from vtr.kernels.aot import build
    from vtr.kernels.config import Spec
    from vtr.native import NativeModel

    device = core.Device()
    build(Spec("holistic", 1, 1, 64, 1), tmp_path, [10 * device.capability[0] + device.capability[1]])
    sizes = {"frames": 1, "words": 1, "dim": 64, "keep": 1}
    model = NativeModel("holistic", head_of("holistic", **sizes), sizes)
    copy = core.DeviceBank(device, core.Bank(model.core), tmp_path)
    assert copy.search(np.ones((2, 64), np.float32), None, 3)[2] == [0, 0]
