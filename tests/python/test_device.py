"""Searching an index on a GPU: hits, commits, what is missing or fails; on the stand-in driver."""

import gc
import json
import threading
import warnings

import numpy as np
import pytest
import stand_in
from device_cases import TOLERANCE, K, assert_alike, searches
from native_cases import KINDS, SIZES, head_of, text_of
from random_index import Index

import vtr
from vtr.choices import choose_device
from vtr.device import DeviceModel
from vtr.native import NativeModel


@pytest.fixture(params=KINDS)
def index(request, gpu, tmp_path):
    """An index whose native banks have a GPU that was asked for by name."""
    index = Index(tmp_path / "index", request.param)
    stand_in.write_kernels(tmp_path / "kernels", index.kind, SIZES, K)
    index.device = DeviceModel(index.native, tmp_path / "kernels", required=True)
    return index


def assert_hits_alike(bank, plain, ks=(1, K, 1000), wheres=(None, "even=true")):
    text, ids = text_of(2), plain.snapshot.ids
    for where in wheres:
        chosen = np.arange(len(ids)) if where is None else plain.snapshot.select(where)
        logits = plain.scores(text, chosen)
        for k in ks:
            found = [
                (np.array([hit.id for hit in hits]), np.array([hit.score for hit in hits]))
                for hits in bank.search(text, k, None, where)
            ]
            assert_alike(found, logits, k, ids[chosen], TOLERANCE)


def test_hits_are_those_of_numpy(index, gpu):
    index.add(range(30))
    bank, plain = index.now()
    assert_hits_alike(bank, plain)
    assert searches(gpu, index.kind) >= 2


def test_candidates_and_scores_are_the_cpus(index, gpu):
    index.add(range(30))
    bank, plain = index.now()
    np.testing.assert_allclose(bank.scores(text_of(2)), plain.scores(text_of(2)), rtol=0, atol=5e-3)
    assert [len(hits) for hits in bank.search(text_of(2), 3, 5, None)] == [3, 3]
    assert searches(gpu, index.kind) == 0
    bank.search(text_of(2), 3, 30, None)  # every video is a candidate
    assert searches(gpu, index.kind) > 0


def test_commits_reach_the_copy_as_what_changed(index, gpu):
    index.add(range(40))
    bank, plain = index.now()
    assert_hits_alike(bank, plain)
    for step in range(3):
        index.add(range(100 + 10 * step, 104 + 10 * step))
        index.remove([step, 20 + step])
        bank, plain = index.now()
        before = gpu.device_bytes
        copies = gpu.calls("cuMemcpyHtoDAsync_v2")
        bank.search(text_of(1), 1, None, None)
        # Three columns at most and the marks of the removed, and the text of the search itself.
        assert gpu.calls("cuMemcpyHtoDAsync_v2") - copies <= 5
        assert gpu.device_bytes <= before + (1 << 16)
        assert_hits_alike(bank, plain)


def test_an_older_snapshot_is_ranked_by_the_cpu_once_a_newer_has_the_copy(index, gpu):
    index.add(range(20))
    old, old_plain = index.now()
    assert_hits_alike(old, old_plain)
    index.remove(range(10))
    index.add(range(20, 30))
    new, new_plain = index.now()
    assert_hits_alike(old, old_plain)  # the copy is still its own
    assert_hits_alike(new, new_plain)
    launched = searches(gpu, index.kind)
    assert_hits_alike(old, old_plain)
    assert searches(gpu, index.kind) == launched
    assert_hits_alike(new, new_plain)
    assert searches(gpu, index.kind) > launched


def test_an_index_that_was_replaced_is_copied_anew(index, gpu, tmp_path):
    index.add(range(20))
    index.add(range(20, 30))
    assert_hits_alike(*index.now())
    other = Index(tmp_path / "other", index.kind)
    other.add(range(500, 512))
    other.native, other.device, other.bank = index.native, index.device, index.bank
    launched = searches(gpu, index.kind)
    assert_hits_alike(*other.now())
    assert searches(gpu, index.kind) > launched


def test_searches_beside_commits_see_whole_snapshots(index, gpu):
    """Blocks of five come together and go together."""
    index.add(range(5))
    index.now()
    failures, ended = [], threading.Event()

    def search():
        while not ended.is_set():
            bank = index.bank
            try:
                hits = bank.search(text_of(1), 1000, None, None)[0]
                assert sorted(hit.id for hit in hits) == bank.snapshot.ids.tolist()
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for block in range(1, 6):
        index.add(range(5 * block, 5 * block + 5))
        index.now()
        index.remove(range(5 * block - 5, 5 * block))
        index.now()
    ended.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


@pytest.mark.parametrize("videos", [0, 1])
def test_nothing_to_find(index, videos):
    if videos:
        index.add(range(videos))
    bank, _ = index.now()
    assert [len(hits) for hits in bank.search(text_of(2), 5, None, None)] == [videos, videos]
    assert bank.search(text_of(2), 5, None, "even=false") == [[], []]
    assert bank.search(text_of(2)[:0], 5, None, None) == []


def test_what_no_device_can_hold_is_refused_as_on_the_cpu(index):
    index.add(range(3))
    bank, _ = index.now()
    text = text_of(1)
    text.sentence[:] = np.nan
    with pytest.raises(vtr.UsageError, match="NaN"):
        bank.search(text, 1, None, None)


# ---- what can be missing or fail -----------------------------------------------------------------------


def kernels_of(folder, kind="holistic", **options):
    stand_in.write_kernels(folder, kind, SIZES, K, **options)
    return NativeModel("holistic", head_of("holistic", **SIZES), SIZES), folder


def other_model(folder):
    return kernels_of(folder, "xclip")


def other_architecture(folder):
    model, _ = kernels_of(folder, tiles={"sm_80": 4, "sm_86": 4})
    description = json.loads((folder / "kernels.json").read_text())
    for kernel in description["kernels"].values():
        del kernel["ptx"]
    (folder / "kernels.json").write_text(json.dumps(description))
    return model, folder


def damaged(folder):
    model, _ = kernels_of(folder)
    (folder / "holistic_topk.sm_90.cubin").write_bytes(b"\x7fELF")
    return model, folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other_model, "the kernels are for scoring 'xclip', the bank's model has 'holistic'"),
        (other_architecture, r"no code for Stand-in GPU \(sm_90\), only for sm_80, sm_86"),
        (damaged, "not a whole cubin of 4 bytes: export the bundle again"),
        (lambda folder: (kernels_of(folder)[0], folder / "none"), r"none/kernels\.json"),
    ],
)
def test_kernels_that_cannot_be_used(gpu, tmp_path, make, message):
    with pytest.raises(vtr.BackendError, match=message) as error:
        DeviceModel(*make(tmp_path))
    assert "scoring='native'" in str(error.value)


def test_no_driver_and_no_gpu(gpu, tmp_path, monkeypatch):
    case = kernels_of(tmp_path)
    gpu.reset(devices=0)
    with pytest.raises(vtr.BackendError, match="CUDA_ERROR_NO_DEVICE"):
        DeviceModel(*case)
    monkeypatch.setenv("VTR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1")
    with pytest.raises(vtr.BackendError, match=r"no CUDA driver: /nonexistent.*install NVIDIA's driver"):
        DeviceModel(*case)
    monkeypatch.setenv("VTR_CUDA_LIBRARY", "libm.so.6")
    with pytest.raises(vtr.BackendError, match=r"libm\.so\.6 has no cu.*install a driver of CUDA 12"):
        DeviceModel(*case)


def failing(gpu, path, required):
    """An index of 30 videos on a GPU with room for some of them, and its bank."""
    index = Index(path / "index", "holistic")
    stand_in.write_kernels(path / "kernels", "holistic", SIZES, K)
    index.device = DeviceModel(index.native, path / "kernels", required=required)
    index.add(range(30))
    return index, *index.now()


def fail_upload(gpu, bank):
    gpu.reset(memory=4096)


def fail_launch(gpu, bank):
    bank.search(text_of(2), 3, None, None)
    gpu.fail("cuLaunchKernel", stand_in.LAUNCH_OUT_OF_RESOURCES)


def lose_device(gpu, bank):
    gpu.fail_running("holistic_topk", stand_in.LAUNCH_FAILED)


FAILURES = [
    (fail_upload, "CUDA_ERROR_OUT_OF_MEMORY"),
    (fail_launch, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"),
    (lose_device, "CUDA_ERROR_LAUNCH_FAILED"),
]


@pytest.mark.parametrize(("fail", "message"), FAILURES)
def test_a_gpu_that_was_asked_for_fails_with_an_error(gpu, tmp_path, fail, message):
    _, bank, plain = failing(gpu, tmp_path, required=True)
    fail(gpu, bank)
    with pytest.raises(vtr.DeviceError, match=message) as error:
        bank.search(text_of(3), 3, None, None)
    assert "scoring='native'" in str(error.value)
    if fail is lose_device:
        with pytest.raises(vtr.DeviceError, match=r"lost to this process.*start"):
            bank.search(text_of(3), 3, None, None)
    else:  # what passed is forgotten
        gpu.reset()
        assert_hits_alike(bank, plain)


@pytest.mark.parametrize(("fail", "message"), FAILURES)
def test_a_gpu_that_was_found_makes_room_for_the_cpu_with_a_warning(gpu, tmp_path, fail, message):
    index, bank, plain = failing(gpu, tmp_path, required=False)
    assert index.device.description == "searches on Stand-in GPU, sm_90"
    fail(gpu, bank)
    with pytest.warns(RuntimeWarning, match=message):
        bank.search(text_of(3), 3, None, None)
    launched = searches(gpu, "holistic")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        assert_hits_alike(bank, plain)
        index.add(range(30, 40))
        assert_hits_alike(*index.now())
    assert searches(gpu, "holistic") == launched and gpu.device_bytes == 0
    assert index.device.description.startswith("no longer on Stand-in GPU: ")
    assert message in index.device.description


# ---- what is chosen ------------------------------------------------------------------------------------


class FakeBundle:
    def __init__(self, kernels, scoring="holistic"):
        self.kernels, self.scoring = kernels, scoring

    def __str__(self):
        return "a-bundle"


def test_what_ranks_is_chosen_by_what_is_there(gpu, tmp_path, monkeypatch):
    native, folder = kernels_of(tmp_path)
    with_kernels, without = FakeBundle(folder), FakeBundle(None)

    def chosen(*arguments):
        choice = choose_device(*arguments)
        model = choice.opened()
        return model and model.name, choice.description

    here = ("Stand-in GPU", "searches on Stand-in GPU, sm_90")
    assert (
        chosen("auto", "auto", native, with_kernels) == chosen("cuda", "auto", native, with_kernels) == here
    )
    assert not choose_device("auto", "auto", native, with_kernels).opened().required
    assert choose_device("cuda", "auto", native, with_kernels).opened().required
    for arguments in [
        ("cpu", "auto", native, with_kernels),
        ("auto", "native", native, with_kernels),  # asked for by name
        ("cuda", "fast", native, with_kernels),
        ("auto", "auto", None, with_kernels),  # scored by NumPy
        ("cuda", "numpy", None, with_kernels),
        ("cuda", "auto", None, FakeBundle(None, "cross")),  # its graph runs where the encoders do
        ("auto", "auto", native, without),
    ]:
        assert chosen(*arguments) == (None, None)
    with pytest.raises(vtr.BackendError, match=r"a-bundle has no kernels.*vtr export --cuda"):
        chosen("cuda", "auto", native, without)
    with pytest.raises(vtr.BackendError, match=r"libvtr does not know: rank on the CPU with scoring='numpy'"):
        chosen("cuda", "auto", None, with_kernels)
    monkeypatch.setenv("VTR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1")
    name, why = chosen("auto", "auto", native, with_kernels)
    assert name is None and why.startswith("not on a GPU: no CUDA driver")


def test_a_gpu_is_opened_once_and_when_it_is_needed(gpu, tmp_path, monkeypatch):
    native, folder = kernels_of(tmp_path)
    choice = choose_device("auto", "auto", native, FakeBundle(folder))
    assert choice.description == "searches on a GPU, which the first of them opens"
    assert gpu.calls("cuInit") == gpu.calls("cuModuleLoadData") == gpu.resources == 0
    found = []
    threads = [threading.Thread(target=lambda: found.append(choice.opened())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [choice.opened()] * 4 and found[0].name == "Stand-in GPU"
    assert gpu.calls("cuInit") >= 1


def test_a_gpu_that_was_asked_for_is_tried_again_at_every_search(gpu, tmp_path, monkeypatch):
    """Any other is tried once: a service does not look for a driver with every text."""
    native, folder = kernels_of(tmp_path)
    found = choose_device("auto", "auto", native, FakeBundle(folder))
    asked = choose_device("cuda", "auto", native, FakeBundle(folder))
    with monkeypatch.context() as without:
        without.setenv("VTR_CUDA_LIBRARY", "/nonexistent/libcuda.so.1")
        assert found.opened() is None
        for _ in range(2):
            with pytest.raises(vtr.BackendError, match=r"no CUDA driver.*scoring='native'"):
                asked.opened()
        assert asked.description == found.description
        assert asked.description.startswith("not on a GPU: no CUDA driver")
    assert found.opened() is None and asked.opened().name == "Stand-in GPU"
    assert asked.description == "searches on Stand-in GPU, sm_90"


# ---- numbers that kernels cannot hold ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"), [("tcmgc", "attentive_frame_word_mat_weight2"), ("xclip", "word_mat_weight")]
)
def test_weights_beyond_float16_are_refused(gpu, tmp_path, kind, name):
    """Kernels multiply them as sums of two float16, which would be infinite; the CPU takes them."""
    head = head_of(kind, **SIZES)
    head[name][1, 2] = -70000
    native = NativeModel(kind, head, SIZES)
    stand_in.write_kernels(tmp_path / "kernels", kind, SIZES, K)
    bundle = FakeBundle(tmp_path / "kernels")
    message = f"expected {name} below 65504 for a GPU, got 70000: search the bank on the CPU"
    with pytest.raises(vtr.BackendError, match=f"{message}; or rank on the CPU with scoring='native'"):
        choose_device("cuda", "auto", native, bundle).opened()
    choice = choose_device("auto", "auto", native, bundle)
    assert choice.opened() is None and choice.description == f"not on a GPU: {message}"
    assert gpu.launches(f"{kind}_score") == 0
    index = Index(tmp_path / "index", kind)
    index.native, index.device = native, choice.opened()
    index.add(range(5))
    bank, _ = index.now()
    assert np.isfinite(bank.scores(text_of(2))).all()
    gc.collect()
    assert gpu.resources == 0


@pytest.mark.parametrize("required", [True, False])
def test_texts_beyond_float16_are_left_to_the_cpu_or_refused(gpu, tmp_path, required):
    head = head_of("xclip", **SIZES)
    head["local_mat_weight"] *= 1e6  # words are multiplied by it before they are rounded
    native = NativeModel("xclip", head, SIZES)
    stand_in.write_kernels(tmp_path / "kernels", "xclip", SIZES, K)
    index = Index(tmp_path / "index", "xclip")
    index.native = native
    index.device = DeviceModel(native, tmp_path / "kernels", required=required)
    index.add(range(9))
    bank, _ = index.now()
    if required:
        with pytest.raises(
            vtr.DeviceError, match=r"expected 'probes' of at most 65504 .*float16, got \d{5,}: search"
        ):
            bank.search(text_of(2), 3, None, None)
    else:
        logits = bank.scores(text_of(2))
        found = bank.search(text_of(2), 3, None, None)
        np.testing.assert_allclose(
            [[hit.score for hit in hits] for hits in found], -np.sort(-logits)[:, :3], rtol=1e-5
        )
    assert searches(gpu, "xclip") == 0
