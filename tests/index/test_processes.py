"""Several processes and threads: the lock of the one writer, and what a fork inherits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from index_library import add, features, record
from support import in_threads

from vtr.errors import IndexStoreError
from vtr.index import IndexStore, verify_index

HOLDER = r"""
import os, sys, time
from vtr.index import IndexStore
with IndexStore.open(sys.argv[1]).writer() as writer:
    if os.fork() == 0:  # such as a decoder worker that outlives the one who started it
        os.write(1, b"worker %d\n" % os.getpid())
        time.sleep(60)
        os._exit(0)
    os.write(1, b"holder\n")
    time.sleep(60)
"""


def test_one_writer_in_a_process(store):
    with store.writer() as writer:
        for other in (store, IndexStore.open(store.path)):
            with pytest.raises(IndexStoreError, match="being written by this process: wait"):
                other.writer()
        add(writer, [1])
    with store.writer() as writer:
        writer.close()
        writer.close()
        with IndexStore.open(store.path).writer():
            pass


def test_one_writer_among_processes_and_freed_by_a_kill(store):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, store.path], stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline().split(), process.stdout.readline().split()]
    (worker,) = (int(words[1]) for words in lines if words[0] == "worker")
    try:
        with pytest.raises(IndexStoreError, match=f"being written by process {process.pid}: wait"):
            store.writer()
        assert len(store.snapshot()) == 0, "reading goes on"
        process.kill()
        process.wait()
        os.kill(worker, 0)  # it lives on, and yet the lock is free
        with store.writer() as writer:
            add(writer, [1])
    finally:
        os.kill(worker, signal.SIGKILL)
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_link_in_the_place_of_the_lock_is_not_followed(store, tmp_path):
    (tmp_path / "precious").write_text("keep")
    (store.path / "writer.lock").unlink()
    (store.path / "writer.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(IndexStoreError):
        store.writer()
    assert (tmp_path / "precious").read_text() == "keep"


def test_connections_do_not_cross_a_fork(store):
    """A child opens its own, and its end leaves those of its parent alone."""
    with store.writer() as writer:
        add(writer, range(3))
    store.snapshot().records()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if len(store.snapshot().records()) == 3 else 2
            store.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with store.writer() as writer:
        add(writer, range(3, 5))
    assert len(store.snapshot().records()) == 5 and verify_index(store.path) == []


def test_threads_share_a_writer_and_a_store(store):
    """Eight threads add and read through the same objects; no commit mixes with another."""
    failures = []

    def work(number):
        try:
            for step in range(4):
                numbers = range(number * 100 + step * 3, number * 100 + step * 3 + 3)
                with writer.transaction():
                    add(writer, numbers)
                    writer.remove(record(numbers[0]).path)
                snapshot = store.snapshot()
                assert len(snapshot) % 2 == 0
                wanted = {Path(record(i).path): i for i in numbers[1:]}
                found = [video for video in snapshot.records() if video.path in wanted]
                assert len(found) == 2
                at = snapshot.positions([video.id for video in found])
                expected = features([wanted[video.path] for video in found])["frames"]
                assert (snapshot.gather("frames", at) == expected).all()
        except BaseException as error:
            failures.append(error)

    with store.writer() as writer:
        in_threads(work, 8)
    assert not failures
    assert len(store.snapshot()) == 64 and store.version() >= 32 and verify_index(store.path) == []


def test_opening_again_leaks_no_descriptors(store):
    """Connections are pooled and closed with the store; maps go with the last snapshot."""
    with store.writer() as writer:
        add(writer, range(5))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with IndexStore.open(store.path) as other:
            assert len(other.snapshot().records()) == 5
    assert len(os.listdir("/proc/self/fd")) <= before + 1
