"""The bank: native ranking against NumPy's on indexes that change, and what an update costs."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_cases import KINDS, SIZES, TOLERANCE, assert_ranked_alike, head_of, text_of
from random_index import Index

import vtr
from vtr import native
from vtr.bank import Bank
from vtr.index import IndexStore, VideoRecord
from vtr.native import NativeModel, changes_between
from vtr.scoring import make_scorer


@pytest.fixture(params=KINDS)
def index(request, tmp_path):
    return Index(tmp_path / "index", request.param)


def assert_alike(bank, plain, seed=1):
    """Both give the same hits, up to the order of scores that rounding may swap."""
    text = text_of(3, seed=seed)
    logits = plain.scores(text)
    np.testing.assert_allclose(bank.scores(text), logits, rtol=0, atol=TOLERANCE)
    ids = plain.snapshot.ids
    if len(ids):
        some = np.random.default_rng(seed).integers(0, len(ids), 7)
        np.testing.assert_allclose(bank.scores(text, some), logits[:, some], rtol=0, atol=TOLERANCE)
    for k in (1, 5, 1000):
        for where in (None, "even=true"):
            chosen = ids if where is None else ids[plain.snapshot.select(where)]
            scores = logits if where is None else logits[:, plain.snapshot.select(where)]
            answers = bank.search(text, k, None, where)
            assert_ranked_alike([hits_of(hits) for hits in answers], scores, k, chosen)
            for hits, others in zip(answers, plain.search(text, k, None, where), strict=True):
                moments = {hit.id: hit.moments for hit in others}
                assert all(hit.moments == moments[hit.id] for hit in hits if hit.id in moments)
            few = bank.search(text, k, 4, where)
            for hits, others in zip(few, plain.search(text, k, 4, where), strict=True):
                assert [hit.id for hit in hits] == [hit.id for hit in others]
                assert [h.score for h in hits] == pytest.approx([h.score for h in others], abs=TOLERANCE)


def hits_of(hits):
    return np.array([hit.id for hit in hits], np.int64), np.array([hit.score for hit in hits])


def test_an_index_that_changes(index, monkeypatch):
    """A seeded walk of additions, changes, removals and compactions; the index is read from disk once."""
    loads = []
    load = NativeModel.load
    monkeypatch.setattr(NativeModel, "load", lambda *arguments: loads.append(1) or load(*arguments))
    rng = random.Random(index.kind)
    index.add(range(30))
    assert_alike(*index.now())
    live = set(range(30))
    for step in range(12):
        action = rng.choice(["add", "change", "remove", "compact", "twins"])
        if action == "add":
            new = range(100 * (step + 1), 100 * (step + 1) + rng.randrange(1, 12))
            index.add(new)
            live |= set(new)
        elif action == "change" and live:
            index.add(rng.sample(sorted(live), min(4, len(live))), seed=step + 1)
        elif action == "remove" and live:
            gone = rng.sample(sorted(live), min(len(live), rng.randrange(1, 9)))
            index.remove(gone)
            live -= set(gone)
        elif action == "compact":
            with index.store.writer() as writer:
                writer.compact()
        bank, plain = index.now()
        assert len(bank) == len(live)
        if rng.random() < 0.7:  # now and then nobody searches between two commits
            assert_alike(bank, plain, seed=step)
    assert_alike(*index.now())
    assert len(loads) == 1


def test_nothing_is_loaded_before_the_first_search(index, monkeypatch):
    index.add(range(3))
    monkeypatch.setattr(NativeModel, "load", lambda *_: pytest.fail("loaded"))
    bank, _ = index.now()
    assert len(bank) == 3
    (hits,) = bank._hits([(np.arange(3), np.zeros(3, np.float32))], None)
    assert [hit.id for hit in hits] == [1, 2, 3]


def test_an_update_packs_only_what_came(index, monkeypatch):
    index.add(range(40))
    assert_alike(*index.now())
    packed = []
    append = NativeModel.append
    monkeypatch.setattr(
        NativeModel,
        "append",
        lambda self, bank, snapshot, positions, progress=None: (
            packed.extend(snapshot.ids[positions].tolist())
            or append(self, bank, snapshot, positions, progress)
        ),
    )
    index.add(range(40, 45))
    index.remove([3, 44])
    assert_alike(*index.now())
    assert packed == [41, 42, 43, 44]
    index.remove([5])
    assert_alike(*index.now())
    assert packed == [41, 42, 43, 44]


def test_rows_go_to_the_core_in_blocks_of_bounded_memory(index, monkeypatch):
    index.add(range(25))
    index.add(range(25, 50))
    row = sum(index.scorer.columns[name].row_bytes for name in index.native.columns)
    monkeypatch.setattr(native, "LOAD_BYTES", 7 * row)
    sizes = []
    bank, plain = index.now()
    index.native.load(bank.snapshot, sizes.append)
    assert sum(sizes) == 50 and max(sizes) == 7
    assert_alike(bank, plain)
    index.add(range(100, 120))
    assert_alike(*index.now())


def test_readers_keep_the_state_they_began_with(index):
    index.add(range(20))
    bank, _ = index.now()
    text = text_of(2)
    before, hits = bank.scores(text), [hits_of(found) for found in bank.search(text, 20, None, None)]
    index.remove(range(10))
    index.add(range(20, 30))
    later, _ = index.now()
    assert later.scores(text).shape == (2, 20)
    np.testing.assert_array_equal(bank.scores(text), before)
    for old, new in zip(hits, bank.search(text, 20, None, None), strict=True):
        np.testing.assert_array_equal(old, hits_of(new))


def test_equal_scores_go_to_the_smaller_id(index):
    """Copies of a file share their features."""
    index.add(range(4))
    copies = [record for record in index.store.snapshot().records() for _ in range(5)]
    with index.store.writer() as writer:
        for number, record in enumerate(copies):
            changes = {"path": Path(f"/copy{number}"), "metadata": {}}
            writer.link(VideoRecord(**{**vars(record), **changes, "id": 0, "added_at": 0.0}), record)
    bank, plain = index.now()
    for k in (3, 9, 24):
        for hits, others in zip(
            bank.search(text_of(2), k, None, None), plain.search(text_of(2), k, None, None), strict=True
        ):
            assert [hit.id for hit in hits] == [hit.id for hit in others]
            assert len({hit.score for hit in hits}) == -(-k // 6)


@pytest.mark.parametrize("videos", [0, 1])
def test_nothing_to_find(index, videos):
    bank, _ = index.now() if not videos else (index.add(range(videos)), index.now())[1]
    assert [len(hits) for hits in bank.search(text_of(2), 5, None, None)] == [videos, videos]
    assert bank.search(text_of(2), 5, 3, "even=false") == [[], []]
    assert bank.scores(text_of(2)).shape == (2, videos)
    assert bank.scores(text_of(2), np.empty(0, np.int64)).shape == (2, 0)
    none = text_of(2)[:0]
    assert bank.search(none, 5, None, None) == [] and bank.scores(none).shape == (0, videos)


def test_many_texts_are_made_ready_a_lot_at_a_time(index, monkeypatch):
    index.add(range(9))
    bank, plain = index.now()
    monkeypatch.setattr(native, "TEXTS", 4)
    text = text_of(11)
    np.testing.assert_allclose(bank.scores(text), plain.scores(text), rtol=0, atol=TOLERANCE)
    found = [hits_of(hits) for hits in bank.search(text, 3, None, None)]
    assert_ranked_alike(found, plain.scores(text), 3, plain.snapshot.ids)


def test_a_damaged_block_is_found_before_it_is_used(index, monkeypatch):
    index.add(range(20))
    (segment,) = (index.store.path / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    rows = index.store.snapshot().gather("video")
    at = data.find(rows[7].tobytes())
    data[at] ^= 1
    segment.write_bytes(data)
    monkeypatch.setattr("vtr.index.segment._checked", set())
    bank = Bank(IndexStore.open(index.store.path).snapshot(), index.scorer, index.native)
    for _ in range(2):
        with pytest.raises(vtr.IndexStoreError, match="checksum"):
            bank.search(text_of(1), 3, None, None)


# ---- which changes can be taken over -------------------------------------------------------------------


class FakeSnapshot:
    def __init__(self, version, ids, contents=None):
        self.version, self.ids = version, np.array(ids, np.int64)
        self.contents = self.ids * 7 if contents is None else np.array(contents, np.int64)

    def __len__(self):
        return len(self.ids)


@pytest.mark.parametrize(
    ("old", "new", "last", "gone", "came"),
    [
        ([1, 2, 3], [1, 2, 3], 3, [], []),
        ([1, 2, 3], [2, 3, 5, 9], 3, [1], [2, 3]),
        ([], [4, 5], -1, [], [0, 1]),
        ([1, 2], [], 2, [1, 2], []),
        ([], [], 7, [], []),
        ([5, 8], [5, 8, 9], 8, [], [2]),
    ],
)
def test_changes_between_snapshots(old, new, last, gone, came):
    changes = changes_between(FakeSnapshot(1, old), FakeSnapshot(2, new), last)
    assert [part.tolist() for part in changes] == [gone, came]


@pytest.mark.parametrize(
    ("old", "new", "last"),
    [
        (FakeSnapshot(1, [2, 4]), FakeSnapshot(2, [2, 3, 4]), 4),  # an id in between
        (FakeSnapshot(1, [2, 4]), FakeSnapshot(2, [2, 4, 9]), 9),  # an id that was there once
        (FakeSnapshot(1, [2, 4]), FakeSnapshot(2, [2, 4], [14, 5]), 4),  # another content
        (FakeSnapshot(5, [2, 4]), FakeSnapshot(2, [2, 4, 9]), 4),  # an older state: a copy was restored
    ],
)
def test_what_the_store_never_does_means_loading_anew(old, new, last):
    assert changes_between(old, new, last) is None


def test_an_id_that_was_there_once_means_loading_anew(index, tmp_path):
    """As when an index is replaced by a copy that went on in another way."""
    index.add(range(3))
    index.now()[0].scores(text_of(1))
    index.remove([2])
    assert_alike(*index.now())
    other = Index(tmp_path / "other", index.kind)
    other.add(range(2))
    other.add([2], seed=5)
    other.add([3])
    bank = Bank(other.store.snapshot(), index.scorer, index.native, index.bank)
    assert_alike(bank, other.now()[1])


# ---- choosing ------------------------------------------------------------------------------------------


def test_scoring_can_be_forced(models):
    bundle = models("tcmgc")[1]
    assert "scoring: native" in repr(vtr.Engine(bundle))
    assert "scoring: native" in repr(vtr.Engine(bundle, scoring="native"))
    assert "scoring: fast" in repr(vtr.Engine(bundle, scoring="fast"))
    assert "scoring: numpy" in repr(vtr.Engine(bundle, scoring="numpy"))
    with pytest.raises(vtr.UsageError, match="gpu"):
        vtr.Engine(bundle, scoring="gpu")


def test_a_cross_encoder_stays_in_numpy(models):
    bundle = models("clip4clip-tightTransf")[1]
    assert "scoring: numpy, for" in repr(vtr.Engine(bundle))
    with pytest.raises(vtr.UnsupportedError, match="cross"):
        vtr.Engine(bundle, scoring="native")
    with pytest.raises(vtr.UnsupportedError, match="cross"):
        vtr.Engine(bundle, scoring="fast")


def test_fast_keeps_bfloat16_and_says_so():
    model = NativeModel("xclip", head_of("xclip", **SIZES), SIZES, fast=True)
    assert (model.core.fast, model.core.storage) == (True, "bfloat16")
    assert NativeModel("xclip", head_of("xclip", **SIZES), SIZES).core.storage == "float16"


@pytest.mark.parametrize(("changed", "size"), [("dim", 40), ("frames", 65), ("words", 78)])
def test_sizes_beyond_the_core_are_refused_by_name(changed, size):
    sizes = {**SIZES, changed: size}
    head = head_of("xclip", **sizes)
    make_scorer(head, "xclip", sizes)
    with pytest.raises(vtr.UnsupportedError, match=changed):
        NativeModel("xclip", head, sizes)


def test_a_core_that_is_missing_is_said(models, monkeypatch):
    def missing():
        raise vtr.BackendError("the native core cannot be loaded")

    monkeypatch.setattr(native, "import_core", missing)
    with pytest.raises(vtr.BackendError, match="cannot be loaded"):
        vtr.Engine(models("xclip")[1])
    vtr.Engine(models("xclip")[1], scoring="numpy")


def test_engines_share_a_pool(models):
    assert native.shared_pool(None) is native.shared_pool(None)
    assert native.shared_pool(2) is not native.shared_pool(None)
    assert native.shared_pool(2).threads == 2
    assert native.shared_pool(None).threads == len(os.sched_getaffinity(0))


def test_a_forked_process_searches_with_threads_of_its_own():
    code = """
import os, sys, threading
sys.path[:0] = sys.argv[1:]
from native_cases import *
from vtr import _core
from vtr.native import NativeModel, shared_pool
scorer, model = scorer_of("holistic"), NativeModel("holistic", head_of("holistic", **SIZES), SIZES, threads=4)
bank = _core.Bank(model.core)
bank.append(np.arange(5000), columns_of("holistic", rows_of(scorer, 5000)))
query = model.query(text_of(9))
pool = shared_pool(4)
before = bank.search(query, 7, pool=pool)[1]
child = os.fork()
sound = (bank.search(query, 7, pool=shared_pool(4))[1] == before).all()
if child:
    sound = sound and shared_pool(4) is pool and os.waitpid(child, 0)[1] == 0
else:
    sound = sound and shared_pool(4) is not pool
sys.exit(not sound)
"""
    tests = Path(__file__).parents[1]
    run = [sys.executable, "-W", "ignore", "-c", code, str(tests)]
    assert subprocess.run(run, timeout=120, check=False).returncode == 0
