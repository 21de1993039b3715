"""The proof's part on libvtr, on the stand-in driver: it times searches, and its figures are there."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
_core = pytest.importorskip("vtr._core", reason="the native core is not built")
if not hasattr(_core, "DeviceBank"):
    pytest.skip("the native core that is built here knows no GPUs", allow_module_level=True)

import stand_in  # noqa: E402
from benchmarks.gpu import cases, libvtr  # noqa: E402
from benchmarks.gpu.place import Missing, interpreter  # noqa: E402

from vtr.scoring import make_scorer  # noqa: E402
from vtr.types import VideoFeatures  # noqa: E402


@pytest.fixture
def place(gpu, monkeypatch):
    """Ten videos; columns by NumPy, and kernels that the stand-in knows."""

    def host_columns(case, frames):
        scorer = make_scorer(case.arrays, case.spec.scoring, case.sizes)
        video = torch.nn.functional.normalize(frames.mean(1), dim=-1).numpy()
        rows = scorer.rows(VideoFeatures(frames.numpy(), torch.ones(frames.shape[:2]).numpy(), video))
        names = ["frames", "gram", "video"] if case.spec.scoring == "tcmgc" else ["frames", "video"]
        return {name: rows[name].astype(scorer.columns[name].dtype) for name in names}

    def compile_kernels(case, folder, capability):
        assert capability == (9, 0)
        stand_in.write_kernels(folder, case.spec.scoring, {**case.sizes, "keep": case.spec.keep}, libvtr.K)
        return 0.5

    monkeypatch.setattr(libvtr, "host_columns", host_columns)
    monkeypatch.setattr(libvtr, "compile_kernels", compile_kernels)
    return dataclasses.replace(interpreter(), videos=17, repeats=1)


def test_every_figure_is_there_and_both_sides_agree(place, gpu, monkeypatch):
    records = {record["name"]: record for record in libvtr.of_cases(_core, place)}
    for name in ("tcmgc_k3", "xclip"):
        assert records[f"{name} compiled for one architecture"]["seconds"] == 0.5
        agreement = records[f"libvtr {name} agreement"]
        assert agreement["videos"] == 17 and agreement["target"] == "sm_90"
        assert agreement["top10"] >= 0.9 and 0 < agreement["largest_difference"] < 0.15
        timed = {label for label, record in records.items() if name in label and "ms" in record}
        assert timed == {
            f"libvtr {name} 1 texts",
            f"libvtr {name} 2 texts",
            f"libvtr {name} 1 texts without a CUDA graph",
            f"core on the CPU {name} 1 texts",
        }


def test_searches_of_one_number_of_texts_are_graphs_and_alternating_ones_are_not(place, gpu, tmp_path):
    case = cases.xclip_case(place)
    bank = libvtr.host_bank(_core, case, 17, place)
    libvtr.compile_kernels(case, tmp_path, (9, 0))
    copy = _core.DeviceBank(_core.Device(), bank, tmp_path)
    one, two = cases.texts(case, 1), cases.texts(case, 2)
    graphs = gpu.calls("cuGraphLaunch")
    libvtr.latencies(
        lambda: copy.search(one.sentence, one.words, 10),
        place,
        between=lambda: copy.search(two.sentence, two.words, 10),
    )
    assert gpu.calls("cuGraphLaunch") == graphs
    libvtr.latencies(lambda: copy.search(one.sentence, one.words, 10), place)
    assert gpu.calls("cuGraphLaunch") > graphs + place.repeats


def test_the_interpreter_is_no_gpu(place):
    with pytest.raises(Missing, match="needs a GPU"):
        next(libvtr.measure(place))
