"""No room, and failing calls, at every step of a commit: an IndexStoreError, and the last commit intact."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from index_library import add, content_of, new_store, record

from vtr.errors import IndexStoreError
from vtr.index import IndexStore, compaction, segment, verify_index
from vtr.index import session as sessions
from vtr.index.catalog import as_index_errors


@pytest.fixture
def filled(store):
    with store.writer() as writer:
        add(writer, range(6))
        add(writer, range(6, 9))
        writer.remove([2, 3])
    return store


OPERATIONS = {
    "add": lambda writer: add(writer, range(20, 30)),
    "replace": lambda writer: add(writer, range(3), content="new"),
    "compact": lambda writer: writer.compact(),
    "remove": lambda writer: writer.remove([1, 4]),
    "fail": lambda writer: writer.fail("/x", 1, 1, None, "y" * 100),
}
CALLS = {
    "write": (segment._Summed, "write"),
    "fsync": (segment.os, "fsync"),
    "rename": (segment.os, "rename"),
    "statement": (sessions.Session, "_run"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails(filled, monkeypatch, operation, call):
    """The first call of a kind fails, then the second, …, until the operation gets through."""
    before = content_of(filled)
    owner, name = CALLS[call]
    honest = getattr(owner, name)
    with filled.writer() as writer:
        for failing in range(40):
            seen = []

            def broken(*args, seen=seen, failing=failing):
                seen.append(args)
                if len(seen) == failing + 1:
                    with as_index_errors(filled.path):
                        raise OSError(errno.ENOSPC, "No space left on device")
                return honest(*args)

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, broken)
                try:
                    OPERATIONS[operation](writer)
                    break
                except IndexStoreError as error:
                    assert "free some space and run again" in str(error) and str(filled.path) in str(error)
            assert content_of(filled) == before and verify_index(filled.path) == []
            assert not any(name.endswith(".tmp") for name in os.listdir(filled.path / "segments"))
        assert (failing > 0) == (call == "statement" or operation in ("add", "replace", "compact"))
    assert verify_index(filled.path) == []
    with filled.writer():
        pass
    assert len(os.listdir(filled.path / "segments")) == filled.stats()["segments"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_catalog_is_full(filled, operation):
    """SQLite itself meets its end of room in the middle of the transaction."""
    before = content_of(filled)
    with filled.writer() as writer:
        db = writer._session.db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        failures = 0
        for number in range(200):
            try:
                if operation == "compact":
                    add(writer, range(number * 5 + 100, number * 5 + 105))
                    writer.compact()
                elif operation == "fail":
                    writer.fail(f"/{number}", 1, 1, None, "y" * 1000)
                else:
                    add(writer, range(number * 5 + 100, number * 5 + 105), metadata={"x": "y" * 300})
                    OPERATIONS[operation](writer)
            except IndexStoreError as error:
                assert "full" in str(error) and "free some space" in str(error)
                failures += 1
                after = content_of(filled)
                assert verify_index(filled.path) == []
                if failures == 3:
                    break
        assert failures == 3
        db.execute("PRAGMA max_page_count = 1000000")
        add(writer, [5000])
    assert content_of(filled)["videos"].keys() == after["videos"].keys() | {record(5000).path}
    assert before["videos"].keys() & after["videos"].keys()


LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from index_library import add
from vtr.errors import IndexStoreError
from vtr.index import IndexStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
with IndexStore.open(sys.argv[1]).writer() as writer:
    for batch in range(1000):
        try:
            add(writer, range(batch * 10, batch * 10 + 10))
        except IndexStoreError as error:
            print(batch, error, flush=True)
            break
"""


@pytest.mark.parametrize("limit", [1000, 30_000, 150_000])
def test_files_that_may_not_grow(tmp_path, limit):
    """The kernel refuses to write more: below the size of a segment, of the log, of the catalog."""
    store = new_store(tmp_path / "index")
    command = [sys.executable, "-c", LIMITED, store.path, Path(__file__).parent, limit]
    output = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True).stdout
    batches, message = output.split(" ", 1)
    assert "run again" in message or "intact" in message
    assert [video.path for video in store.snapshot().records()] == [
        record(i).path for i in range(int(batches) * 10)
    ]
    assert verify_index(store.path) == []
    with store.writer() as writer:
        add(writer, range(10_000, 10_010))
    assert len(store.snapshot()) == int(batches) * 10 + 10


def test_creating_without_room(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(IndexStoreError, match="free some space"):
            new_store(tmp_path / "index")
    assert not IndexStore.exists(tmp_path / "index")
    assert len(new_store(tmp_path / "index").snapshot()) == 0


def test_a_failed_merge_does_not_fail_the_commit_before_it(store, monkeypatch):
    def full(session, segments):
        raise IndexStoreError("no room")

    monkeypatch.setattr(compaction, "_rewrite", full)
    with store.writer() as writer:
        for i in range(12):
            add(writer, [i])
        with pytest.raises(IndexStoreError, match="no room"):
            writer.compact()
    assert len(store.snapshot()) == 12 and verify_index(store.path) == []


def test_order_of_durability(store, monkeypatch):
    """Contents before names, names before the commit, unlinking after it."""
    trace = []

    def watch(owner, name, label):
        honest = getattr(owner, name)

        def call(*args, **named):
            trace.append((label, args))
            return honest(*args, **named)

        monkeypatch.setattr(owner, name, call)

    with store.writer() as writer:
        add(writer, range(3))
        assert writer._session.db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
        assert writer._session.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        watch(segment.os, "fsync", "fsync")
        watch(segment.os, "rename", "rename")
        watch(Path, "unlink", "unlink")
        watch(sessions.Session, "_run", "sql")
        add(writer, range(3, 5))
        writer.compact()
    steps = [label if label != "sql" else args[1].split()[0] for label, args in trace]
    commit = ["BEGIN", "fsync", "rename", "fsync", "COMMIT"]
    assert steps == [*commit, *commit, "unlink", "unlink"]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_directory_without_permission(filled):
    os.chmod(filled.path, 0o500)
    try:
        with pytest.raises(IndexStoreError, match="permissions"):
            IndexStore.open(filled.path).writer()
    finally:
        os.chmod(filled.path, 0o700)


def test_room_is_given_back(filled, tmp_path):
    with filled.writer() as writer:
        add(writer, range(100, 400))
        writer.remove(list(filled.snapshot().ids[:-5]))
        full = sum(file.stat().st_size for file in (filled.path / "segments").iterdir())
        writer.compact()
    left = sum(file.stat().st_size for file in (filled.path / "segments").iterdir())
    assert left < full / 10 and filled.stats()["dead_rows"] == 0
    shutil.copytree(filled.path, tmp_path / "copy")
    assert content_of(IndexStore.open(tmp_path / "copy")) == content_of(filled)
