"""Snapshots against plain NumPy: gathering, history, compaction behind their back, threads, processes."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from index_library import COLUMNS, add, content_of, features, new_store, record

from vtr.errors import IndexStoreError, UsageError
from vtr.index import IndexStore, compaction


@pytest.fixture
def scattered(store, monkeypatch):
    """111 videos in several segments, some removed, some sharing rows; and the contents that are left."""
    monkeypatch.setattr(compaction, "TARGET_BYTES", 4000)
    with store.writer() as writer:
        for start in range(0, 111, 19):
            add(writer, range(start, min(start + 19, 111)))
        writer.remove(list(range(5, 50, 7)))
        contents = [i for i in range(111) if i + 1 not in range(5, 50, 7)]
        for i in range(200, 205):
            writer.link(record(i, content=i - 190))
            contents.append(i - 190)
    return store, contents


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_gather(scattered, name, compacted):
    store, contents = scattered
    if compacted:
        with store.writer() as writer:
            writer.compact()
    snapshot, expected = store.snapshot(), features(contents)[name]
    assert store.stats()["segments"] > 1
    np.testing.assert_array_equal(snapshot.gather(name), expected)
    generator = np.random.default_rng(0)
    for count in (0, 1, 19, 300):
        positions = generator.integers(0, len(contents), count)
        np.testing.assert_array_equal(snapshot.gather(name, positions), expected[positions])
    np.testing.assert_array_equal(snapshot.gather(name, range(30, 60)), expected[30:60])
    out = np.empty(expected.shape, np.float32)
    assert snapshot.gather(name, out=out) is out
    np.testing.assert_array_equal(out, expected.astype(np.float32))


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_blocks(scattered, rows):
    store, contents = scattered
    snapshot, expected, seen = store.snapshot(), features(contents), 0
    assert len(list(snapshot.blocks(["gram"], rows))) <= 4 * len(contents) / rows + 1, "no crumbs"
    for span, arrays in snapshot.blocks(["gram", "frames"], rows):
        assert span.start == seen and span.stop - span.start <= rows
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name][span])
        seen = span.stop
    assert seen == len(contents)


def test_blocks_are_views_where_rows_lie_together(store):
    with store.writer() as writer:
        add(writer, range(40))
        add(writer, range(40, 70))
    spans = []
    for span, arrays in store.snapshot().blocks(["frames"], 32):
        assert not arrays["frames"].flags.writeable and not arrays["frames"].flags.owndata
        spans.append((span.start, span.stop))
    assert spans == [(0, 32), (32, 40), (40, 70)]


def test_arguments_are_checked(scattered):
    snapshot = scattered[0].snapshot()
    for positions in ([-1], [len(snapshot)], [0.5], [[0]], ["a"]):
        with pytest.raises(UsageError, match="expected positions"):
            snapshot.gather("video", positions)
    with pytest.raises(UsageError, match="no column 'x'"):
        snapshot.gather("x")
    with pytest.raises(UsageError, match="expected out of shape"):
        snapshot.gather("video", [0], out=np.empty((2, 5), np.float16))
    with pytest.raises(UsageError, match="no video with id 5"):
        snapshot.record(5)
    with pytest.raises(ValueError, match="read-only"):
        snapshot.ids[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        next(snapshot.blocks(["video"], 3))[1]["video"][0] = 1


@pytest.mark.parametrize("positions", [[], [5], [7, 3, 3, 0], range(10), range(2, 6)], ids=str)
def test_rows_are_what_gather_gives(scattered, positions):
    snapshot = scattered[0].snapshot()
    chosen = np.array(positions, np.int64)
    rows = snapshot.rows(snapshot.columns, chosen)
    assert list(rows) == list(snapshot.columns)
    for name, array in rows.items():
        expected = snapshot.gather(name)[chosen]
        assert array.dtype == expected.dtype and np.array_equal(array, expected), name
    with pytest.raises(UsageError, match="no column 'x'"):
        snapshot.rows(["video", "x"], chosen)


def test_positions_and_records(scattered):
    snapshot = scattered[0].snapshot()
    ids = snapshot.ids[[7, 3, 3]].tolist()
    assert snapshot.positions(ids).tolist() == [7, 3, 3]
    assert [video.id for video in snapshot.records(ids)] == ids
    for label, video in zip(snapshot.labels(ids), snapshot.records(ids), strict=True):
        assert label == (video.id, video.path, video.metadata, video.duration)
    assert snapshot.records([]) == snapshot.labels([]) == [] and snapshot.positions([]).tolist() == []


# ---- while others write ------------------------------------------------------------------------------


def test_a_snapshot_does_not_change(store):
    """Every state stays readable, features, records and filters, while the index goes on."""
    states = []

    def remember():
        snapshot = store.snapshot()
        wanted = snapshot.select("n>=3").tolist()
        states.append((snapshot, snapshot.records(), snapshot.gather("frames"), wanted))

    with store.writer() as writer:
        for step in (
            lambda: add(writer, range(10)),
            lambda: writer.remove([2, 5]),
            lambda: writer.set_metadata(1, {"n": 100}),
            lambda: add(writer, [3], content="new"),
            lambda: writer.touch(7, 1, 1),
            lambda: writer.compact(),
            lambda: writer.remove(list(range(20))),
            lambda: writer.compact(),
        ):
            step()
            remember()
    assert os.listdir(store.path / "segments") == []
    for snapshot, records, frames, wanted in states:
        snapshot._selections.clear()  # ask again
        assert snapshot.records() == records
        assert snapshot.select("n>=3").tolist() == wanted
        np.testing.assert_array_equal(snapshot.gather("frames"), frames)
    assert [len(wanted) for *_, wanted in states] == [7, 6, 7, 7, 7, 7, 0, 0]


def test_history_is_forgotten_after_its_time(store, monkeypatch):
    with store.writer() as writer:
        add(writer, range(3))
        old = store.snapshot()
        writer.remove(1)
        current = store.snapshot()
        monkeypatch.setattr(compaction, "HISTORY_SECONDS", -1.0)
        writer.compact()
        assert len(current.records()) == 2 and len(store.snapshot().select("n>=0")) == 2
        np.testing.assert_array_equal(old.gather("gram"), features([0, 1, 2])["gram"])
        for call in (old.records, lambda: old.select("n>=0")):
            with pytest.raises(IndexStoreError, match="take a new snapshot"):
                call()


def test_a_segment_compacted_away_between_catalog_and_file(store, monkeypatch):
    """The window is hit on purpose: the writer compacts just before the first segment is mapped."""
    with store.writer() as writer:
        add(writer, range(4))
        add(writer, range(4, 8))
        expected = content_of(store)
        reader = IndexStore.open(store.path)
        honest, calls = IndexStore.segment, []

        def late(self, row):
            if self is reader and not calls:
                calls.append(row.name)
                writer.compact()
            return honest(self, row)

        monkeypatch.setattr(IndexStore, "segment", late)
        assert content_of(reader) == expected and calls


def test_a_lost_segment_is_an_error(store):
    with store.writer() as writer:
        add(writer, range(4))
    (segment,) = (store.path / "segments").iterdir()
    segment.unlink()
    with pytest.raises(IndexStoreError, match="is missing"):
        IndexStore.open(store.path).snapshot()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from index_library import features, record
from vtr.index import IndexStore
with IndexStore.open(sys.argv[1]).writer() as writer:
    for batch in range(40):
        numbers = list(range(batch * 10, batch * 10 + 10))
        writer.add([record(i, metadata={"batch": batch}) for i in numbers], features(numbers))
        if batch >= 5:
            writer.remove([record(i).path for i in range(batch * 10 - 50, batch * 10 - 40)])
        if batch % 4 == 3:
            writer.compact()
"""


def test_readers_see_whole_commits_of_another_process(tmp_path):
    """Four threads read while a process adds batches of ten, removes batches of ten, and compacts."""
    store = new_store(tmp_path / "index")
    process = subprocess.Popen([sys.executable, "-c", WRITER, store.path, os.path.dirname(__file__)])
    every = features(list(range(400)))["gram"]
    seen: set[int] = set()
    lock = threading.Lock()

    def read(number):
        while process.poll() is None:
            snapshot = store.snapshot()
            batches = [video.metadata["batch"] for video in snapshot.records()]
            assert all(batches.count(batch) == 10 for batch in set(batches)), "half a commit was seen"
            assert not batches or max(batches) - min(batches) <= 5
            rows = [int(video.path.stem) for video in snapshot.records()]
            np.testing.assert_array_equal(snapshot.gather("gram"), every[rows])
            assert len(snapshot.select({"batch": {">=": 0}})) == len(snapshot)
            with lock:
                seen.add(snapshot.version)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert process.wait() == 0 and len(seen) > 3
    assert len(store.snapshot()) == 50
