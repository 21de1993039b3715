"""The cases about searches, memory and aggregation, with small models: their records and their checks."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import vtr
from vtr.benchmarks import hits, models, synthetic
from vtr.benchmarks.case import Context, Disagreement, run_case
from vtr.benchmarks.cases import memory, search
from vtr.benchmarks.results import check
from vtr.index import IndexStore
from vtr.scoring import make_scorer

SCORINGS = [("tcmgc", 3), ("xclip", 0), ("holistic", 0)]


@pytest.fixture
def context(tmp_path):
    return Context(1, True, [], tmp_path, {"read_gb_s": 5.0})


@pytest.fixture
def same_threads():
    """PyTorch's threads as before when the test ends."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def make_index(path, scoring, keep, count):
    sizes = {**synthetic.SIZES, "keep": keep}
    scorer = make_scorer(synthetic.head(scoring, keep), scoring, sizes)
    synthetic.write_index(path, count, scorer, sizes["frames"], sizes["dim"], "0" * 64, {"name": "x"})
    return scorer, IndexStore.open(path).snapshot()


# ---- synthetic indexes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("scoring", "keep"), SCORINGS)
def test_an_index_repeats_its_block(scoring, keep, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "BLOCK", 7)
    scorer, snapshot = make_index(tmp_path / "index", scoring, keep, 17)
    assert len(snapshot) == 17
    block = synthetic.block(scorer, 17)
    rows = np.arange(17) % 7
    for name, array in block.items():
        np.testing.assert_array_equal(snapshot.gather(name, np.arange(17)), array[rows])
    records = snapshot.records(snapshot.ids.tolist())
    assert [int(record.path.stem) for record in records] == list(range(17))
    assert len({record.sha256 for record in records}) == 17


def test_vectors_are_of_length_one():
    vectors = synthetic.vectors(1500)
    assert vectors.dtype == np.float16 and len(np.unique(vectors, axis=0)) == 1500
    # float16 keeps 11 bits: lengths are off by less than 2⁻¹¹.
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=5e-4)


def test_what_does_not_fit_is_said(tmp_path, monkeypatch):
    scorer = make_scorer(synthetic.head("holistic"), "holistic", synthetic.SIZES)
    assert synthetic.shortage(tmp_path, scorer, 10) is None
    monkeypatch.setattr(synthetic, "memory", lambda field: 1 << 20)
    assert "memory" in synthetic.shortage(tmp_path, scorer, 1000)
    monkeypatch.setattr(synthetic.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 20))
    assert "disk" in synthetic.shortage(tmp_path, scorer, 1000)


# ---- checking hits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("videos", [4, 5, 9, 23])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_last_of_the_best(videos, k):
    expected = np.random.default_rng(videos).standard_normal((2, min(videos, 5)), np.float32)
    repeated = expected[:, np.arange(videos) % 5]
    plain = [sorted(row)[-min(k, videos)] for row in repeated]
    np.testing.assert_array_equal(hits.last_best(expected, videos, k)[:, 0], plain)


def hit(number, score):
    return vtr.Hit(number + 1, Path(f"/synthetic/{number:09}.mp4"), score)


def test_wrong_hits_are_found_out():
    expected = np.array([3.0, 1.0, 2.0, 0.0], np.float32)
    right = [hit(0, 3.01), hit(2, 2.0)]
    assert hits.check(right, expected, 4, 2, ranked=True) == pytest.approx(0.01, abs=1e-6)
    for wrong in ([hit(0, 3.2), hit(2, 2.0)], [hit(0, 3.0), hit(1, 1.0)], right[:1]):
        with pytest.raises(Disagreement):
            hits.check(wrong, expected, 4, 2, ranked=True)
    hits.check([hit(0, 3.0), hit(1, 1.0)], expected, 4, 2, ranked=False)  # among candidates that may be
    with pytest.raises(Disagreement):
        hits.check([hit(0, np.nan), hit(2, 2.0)], expected, 4, 2, ranked=False)


# ---- search ------------------------------------------------------------------------------------------


def test_no_text_comes_twice():
    texts = search.new_texts()
    assert len({next(texts) for _ in range(3000)}) == 3000


def test_search_beside_the_published_way(models, context, monkeypatch, same_threads):
    reference, bundle = models("tcmgc")
    asked, real = [], search.ask
    monkeypatch.setattr(
        search, "ask", lambda find, texts: real(lambda text: (asked.append(text), find(text)), texts)
    )
    monkeypatch.setattr(search, "FAMILIES", {"tcmgc": "TC-MGC"})
    monkeypatch.setattr(search.models, "bundle", lambda context, family: bundle)
    monkeypatch.setattr(search.models, "reference", lambda context, family: reference)
    monkeypatch.setattr(search, "QUICK_VIDEOS", (20, 45))
    monkeypatch.setattr(search, "CANDIDATES", 30)
    monkeypatch.setattr(search, "PUBLISHED_VIDEOS", 30)
    monkeypatch.setattr(synthetic, "BLOCK", 15)
    records = run_case(search.CASE, context)
    name = f"TC-MGC K={reference.sizes['keep']}"
    how = [(how, videos) for videos in (20, 45) for how in ("alone", f"{search.CALLERS} callers")]
    assert [record["name"] for record in records] == [f"{name}, {h}, {v:,} videos" for h, v in how]
    few, _, many, loaded = records
    assert set(few["microseconds"]) == {"vtr", search.PUBLISHED}
    assert few["microseconds"][search.PUBLISHED]["count"] == context.repeats
    assert set(few["times_faster"]) == {search.PUBLISHED}
    assert set(many["microseconds"]) == {"vtr", search.PREFILTER}
    assert "up to 30 videos" in many["skipped"][search.PUBLISHED]
    assert loaded["figures"]["vtr, searches a second"] > 0
    for record in records:
        numbers = record["microseconds"]["vtr"]
        assert 0 < numbers["p50"] <= numbers["p95"] <= numbers["p99"] and record["check"]
    assert list(context.folder.glob("search-*")) == []  # what is done with is thrown away
    assert len(set(asked)) == len(asked) > 20  # of both indexes: engines on them share encoded texts


def test_search_without_torch(context, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(search, "FAMILIES", {"tcmgc": "TC-MGC"})
    monkeypatch.setattr(search.models, "bundle", lambda context, family: "mini-tcmgc")
    monkeypatch.setattr(search, "QUICK_VIDEOS", (12,))
    records = run_case(search.CASE, context)
    assert "torch is not installed" in records[0]["skipped"][search.PUBLISHED]
    assert set(records[0]["microseconds"]) == {"vtr"}


def test_an_index_that_does_not_fit_is_skipped_by_name(context, monkeypatch):
    monkeypatch.setattr(search, "FAMILIES", {"clip4clip": "one vector"})
    monkeypatch.setattr(search.models, "bundle", lambda context, family: "mini-clip4clip")
    monkeypatch.setattr(search, "missing", lambda module: "not wanted")
    monkeypatch.setattr(synthetic, "memory", lambda field: 0)
    records = run_case(search.CASE, context)
    assert all("free memory" in record["skipped"]["vtr"] for record in records)
    assert len(records) == len(search.QUICK_VIDEOS)


# ---- memory ------------------------------------------------------------------------------------------


def test_memory_of_fresh_processes(context, monkeypatch):
    monkeypatch.setattr(memory, "FAMILIES", {"X-CLIP": ("xclip", 0, "faiss")})
    monkeypatch.setattr(memory, "QUICK_VIDEOS", (300,))
    (record,) = run_case(memory.CASE, context)
    figures = record["figures"]
    row = 2 * (synthetic.F + 1) * synthetic.D / 1000  # KB in float16
    assert figures["features in float16, KB a video"] == pytest.approx(row, abs=1e-3)
    assert row < figures["native bank, KB a video"] < 1.2 * row
    # The bank's pages came with opening it; what else a process allocates is small beside 4 MB.
    assert 0.9 * row < figures["vtr, in memory, KB a video"] < 2 * row
    assert figures["on disk, KB a video"] > row
    assert figures["vtr, peak of the process, MB"] > 300 * row / 1000


def test_a_process_that_fails_is_no_figure(tmp_path):
    asked = {"way": "vtr", "index": str(tmp_path / "nowhere"), "scoring": "xclip", "keep": 0, "threads": 1}
    with pytest.raises(RuntimeError, match="nowhere"):
        memory.probe(asked)


# ---- aggregate ---------------------------------------------------------------------------------------


def test_aggregation(models, context, monkeypatch, same_threads):
    from vtr.benchmarks.cases import aggregate

    monkeypatch.setattr(aggregate, "FAMILIES", {"ea": "EA", "teachclip": "TeachCLIP"})
    monkeypatch.setattr(aggregate, "make_model", lambda family, folder: models(family))
    monkeypatch.setattr(aggregate, "QUICK_BATCHES", (1, 3))
    records = run_case(aggregate.CASE, context)
    assert [record["name"] for record in records] == [
        f"{n}, batch {b}" for n in ("EA", "TeachCLIP") for b in (1, 3)
    ]
    for record in records:
        assert {"vtr", "PyTorch eager"} <= set(record["microseconds"])
        assert record["of_ceiling"]["peak"] == "read_gb_s"
        assert "PyTorch compiled" in record["skipped"]
    monkeypatch.setattr(aggregate, "BOUND", -1.0)
    with pytest.raises(Disagreement):
        run_case(aggregate.CASE, context)


def test_records_are_as_results_want_them(context, monkeypatch):
    monkeypatch.setattr(memory, "probe", lambda asked: dict.fromkeys(
        ("features", "bank", "loaded", "searched", "peak", "difference"), 1.0))  # fmt: skip
    monkeypatch.setattr(memory, "QUICK_VIDEOS", (5,))
    from bench_cases import results

    check(results({"memory": run_case(memory.CASE, context)}), "these")
    assert models.size_name(context)
