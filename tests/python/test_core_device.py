"""The binding of libvtr's GPU code, on the stand-in driver, against searches on the CPU.

The stand-in's kernels compute what kernels/ does; tests/kernels compares those with the same formulas.
"""

import gc

import numpy as np
import pytest
import stand_in
from device_cases import TOLERANCE, TOLERANCES, K, assert_alike, core_case, found_by
from native_cases import KINDS, SIZES, rows_of, scorer_of, text_of

import vtr
from vtr import _core


@pytest.mark.parametrize(("capability", "target"), [((8, 0), "sm_80"), ((9, 0), "sm_90"), ((12, 0), "ptx")])
@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_equals_the_cpus(gpu, tmp_path, kind, storage, capability, target):
    """Tiles differ between architectures: the stand-in's kernels refuse the grid of another."""
    gpu.reset(capability=capability)
    bank, copy, text, ids, query = core_case(kind, tmp_path, storage=storage)
    tolerance = TOLERANCES[storage]
    assert copy.target == target and len(copy) == len(bank) == 40 and copy.nbytes > 0
    logits = bank.score(query)
    for k in (1, K, K + 1, 100):
        assert_alike(found_by(copy.search(*text, k)), logits, k, ids, tolerance)
    some = np.array([11, *ids[3:30], 1000])
    found = found_by(copy.search(*text, 5, only=some, pool=_core.Pool(2)))
    assert_alike(found, logits[:, 3:30], 5, ids[3:30], tolerance)
    assert copy.search(*text, 5, only=np.empty(0, np.int64))[2] == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_many_slabs_and_an_odd_number_that_kernels_find(gpu, tmp_path, kind):
    """Keys of each slab begin where a kernel may read 16 bytes at a time: the stand-in's look."""
    bank, copy, text, ids, query = core_case(kind, tmp_path, videos=200, k=5, slab_bytes=1)
    for k in (5, 6):
        assert_alike(found_by(copy.search(*text, k)), bank.score(query), k, ids, TOLERANCE)


def test_a_copy_is_updated_and_moves_on_to_clones(gpu, tmp_path):
    bank, copy, text, ids, query = core_case("xclip", tmp_path)
    bank.remove(ids[:7])
    assert len(copy) == 40
    copy.update()
    assert len(copy) == 33
    older, newer = bank.clone(), bank.clone()
    newer.remove(ids[7:10])
    rows = rows_of(scorer_of("xclip"), 4, seed=9)
    newer.append(np.arange(1000, 1004), {name: rows[name] for name in ("frames", "video")})
    copy.follow(newer)
    assert len(copy) == 34
    now = newer.ids()
    assert_alike(found_by(copy.search(*text, 34)), newer.score(query), 34, now, TOLERANCE)
    with pytest.raises(vtr.UsageError, match="3 videos that were removed"):
        copy.follow(older)


def test_a_device_says_what_it_is(gpu):
    gpu.reset(devices=2, capability=(12, 1), memory=1 << 20)
    here = _core.Device(1)
    assert (here.name, here.capability, here.memory) == ("Stand-in GPU", (12, 1), (1 << 20, 1 << 20))
    with pytest.raises(vtr.UnsupportedError, match="no GPU of number 2: there are 2"):
        _core.Device(2)


def test_arguments_are_checked_before_the_core_sees_them(gpu, tmp_path):
    bank, copy, (sentence, words), _, _ = core_case("xclip", tmp_path)
    for arguments, message in [
        ((sentence[:, :5].copy(), words, 3), "sentence: expected float32"),
        ((sentence, words[:2], 3), "words: expected float32"),
        ((sentence, None, 3), "expected words for xclip"),
        ((sentence, words, 0), "k"),
    ]:
        with pytest.raises(vtr.UsageError, match=message):
            copy.search(*arguments)
    with pytest.raises(vtr.UsageError, match="ascending"):
        copy.search(sentence, words, 3, only=np.array([5, 4]))
    with pytest.raises(vtr.UsageError):
        copy.search(np.full_like(sentence, np.nan), words, 3)
    with pytest.raises(vtr.IndexStoreError, match=r"kernels\.json"):
        _core.DeviceBank(_core.Device(), bank, tmp_path / "nothing")


def test_errors_of_the_driver_reach_python_by_its_names(gpu, tmp_path):
    bank, copy, text, _, _ = core_case("holistic", tmp_path)
    gpu.fail("cuLaunchKernel", stand_in.LAUNCH_OUT_OF_RESOURCES)
    with pytest.raises(vtr.DeviceError, match="CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
        copy.search(*text, 3)
    assert copy.search(*text, 3)[2] == [3, 3, 3]  # it passes
    gpu.fail("cuMemAlloc_v2", stand_in.OUT_OF_MEMORY)
    with pytest.raises(MemoryError, match="bytes of Stand-in GPU cannot be had"):
        _core.DeviceBank(_core.Device(), bank, tmp_path)
    gpu.fail_running("holistic_topk", stand_in.LAUNCH_FAILED)
    for message in ("CUDA_ERROR_LAUNCH_FAILED", "lost to this process"):
        with pytest.raises(vtr.DeviceError, match=message):
            copy.search(*text, 3)


def test_nothing_is_left_on_the_device(gpu, tmp_path):
    gc.collect()
    assert gpu.resources == 0
    case = core_case("tcmgc", tmp_path)
    case[1].search(*case[2], 3)
    assert gpu.resources > 0
    del case
    gc.collect()
    assert gpu.resources == 0 and gpu.device_bytes == 0


def test_keys_are_merged_on_the_device_where_they_are_many(gpu, tmp_path):
    bank, copy, _, _, _ = core_case("holistic", tmp_path, videos=3000)
    text = text_of(3)
    expected = bank.search(_core.Query(bank.model, text.sentence), K)
    for repeat in range(3):  # launched, captured, replayed
        found, scores, count = copy.search(text.sentence, None, K)
        assert gpu.launches("topk_merge") == repeat + 1  # 375 tiles of 10 keys and three texts
        assert count == expected[2]
        np.testing.assert_allclose(scores, expected[1], rtol=0, atol=TOLERANCE)
    alone = copy.search(text.sentence[:1], None, K)
    assert gpu.launches("topk_merge") == 3  # few enough for the host
    np.testing.assert_array_equal(alone[0][0], found[0])


# ---- the stand-in itself -------------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", KINDS)
def test_the_stand_ins_kernels_are_called_as_the_real_ones(scoring):
    """Names and types of arguments, the rule of the grid, what is compiled in: as kernels/aot.py has them."""
    pytest.importorskip("triton", reason="triton is not installed: pip install 'vtr[gpu]'")
    from vtr.kernels import aot
    from vtr.kernels.config import Spec

    real = {kernel.name: kernel for kernel in aot.kernels(Spec(scoring, **{**SIZES, "dim": 64}), 90, K)}
    assert set(real) == set(stand_in.OF_SCORING[scoring])
    for name, kernel in real.items():
        args = [(arg, "ptr" if kind[0] == "*" else kind) for arg, kind in kernel.args.items()]
        own = [(argument["name"], argument["type"]) for argument in stand_in.arguments(name)]
        assert own == [*args, *stand_in.HIDDEN.items()]
        videos = kernel.constants.get("V", 1)
        assert stand_in.grid(name, videos) == kernel.grid
        compiled = stand_in.constants(name, {**SIZES, "dim": 64}, K, videos)
        assert compiled.items() <= kernel.constants.items()
