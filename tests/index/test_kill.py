"""kill -9 at any moment: no committed row is lost, no half of a commit shows, and the work can be finished.

``VTR_KILLS=200`` runs the long campaign: that many kills, and a stop at every single step.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from index_library import content_of, features, new_store, record, sha
from index_rounds import VIDEOS, content, expected_record, run_round

from vtr.index import IndexStore, compaction, segment, verify_index
from vtr.index import session as sessions

KILLS = int(os.environ.get("VTR_KILLS", "12"))
STRIDE = 1 if KILLS >= 200 else 11  # of the steps at which work is stopped


def test_killed_at_seeded_moments(tmp_path):
    """One index through all kills; each writer begins with a new round over what the last one left."""
    store = new_store(tmp_path / "index")
    moments = random.Random(0)
    committed: dict[int, int] = {}  # video → the round of its content, as the writer acknowledged it
    longest = 0.15  # seconds; a round takes less
    lines_seen = 0
    for kill in range(KILLS):
        command = [
            sys.executable,
            Path(__file__).with_name("index_rounds.py"),
            store.path,
            str(kill * 10_000),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, longest))
            process.kill()
            lines = [line.split() for line in process.stdout.read().split("\n")[:-1]]
        lines_seen += len(lines)
        attempted: dict[int, int] = {}  # announced, and killed before it was acknowledged
        for word, round, *videos in lines:
            for i in map(int, videos):
                if word == "done":
                    committed[i] = int(round)
                    attempted.pop(i, None)
                else:
                    attempted[i] = int(round)
        problems = verify_index(store.path)
        assert problems == [], f"kill {kill}: {problems}"
        _check(store, committed, attempted)
    assert lines_seen > KILLS, "the writers were at work when they were killed"

    with store.writer() as writer:
        run_round(writer, 7)
    undisturbed = new_store(tmp_path / "undisturbed")
    with undisturbed.writer() as writer:
        run_round(writer, 7)
    assert content_of(store) == content_of(undisturbed)
    assert verify_index(store.path) == []
    notes = []
    verify_index(store.path, notes=notes)
    assert notes == [], "nothing is left lying about"


def _check(store, committed, attempted):
    """What was acknowledged is there, with the right features; what was under way is there or not."""
    snapshot = store.snapshot()
    rows = {name: snapshot.gather(name) for name in snapshot.columns}
    found = {}
    for position, video in enumerate(snapshot.records()):
        i = int(video.path.stem)
        if i >= VIDEOS:
            continue  # a twin
        found[i] = video.metadata["round"]
        assert video.sha256 == sha(content(i, found[i])), "metadata and content are of one commit"
        for name, expected in features([content(i, found[i])]).items():
            np.testing.assert_array_equal(rows[name][position], expected[0])
    for i in committed.keys() | attempted.keys() | found.keys():
        assert found.get(i) in {committed.get(i), attempted.get(i, committed.get(i))}, f"video {i}"
    committed.update({i: round for i, round in found.items() if round == attempted.get(i)})


# ---- every step, one after the other -----------------------------------------------------------------


def stopped_after(steps, work):
    """Run ``work`` in a forked child that ends, as if killed, at the given step; whether it got there."""
    child = os.fork()
    if child:
        status = os.WEXITSTATUS(os.waitpid(child, 0)[1])
        assert status in (0, 9), "the work itself failed"
        return status == 9
    try:
        left = [steps]

        def step():
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

        def stepping(honest):
            def call(*args, **named):
                step()
                result = honest(*args, **named)
                step()
                return result

            return call

        for owner, name in (
            (segment._Summed, "write"),
            (segment.os, "fsync"),
            (segment.os, "rename"),
            (sessions.Session, "_run"),
            (Path, "unlink"),
        ):
            setattr(owner, name, stepping(getattr(owner, name)))
        connect = sessions.connect

        def traced(*args):
            db = connect(*args)
            db.set_trace_callback(lambda statement: step())  # before every statement
            return db

        sessions.connect = traced
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def add_batch(path):
    """Replaces some, shares one, adds some, and reaches the number of segments that are merged."""
    with IndexStore.open(path).writer() as writer:
        numbers = [1, 2, 50, 51, 52]
        records = [*(expected_record(i, 9) for i in numbers), record(53, content=4)]
        writer.add(records, features([*(content(i, 9) for i in numbers), 4]))


def compact(path):
    with IndexStore.open(path).writer() as writer:
        writer.compact()


def several(path):
    with IndexStore.open(path).writer() as writer, writer.transaction():
        writer.remove([1, 2])
        writer.add([record(60)], features([60]))
        writer.fail("/bad", 1, 1, None, "bad")
        writer.set_metadata(3, {"changed": True})


@pytest.mark.parametrize("work", [add_batch, compact, several])
def test_stopped_at_steps(tmp_path, work):
    """Before or after, never between; and whatever is left over does not hinder the next writer."""
    source = tmp_path / "source"
    with new_store(source) as store, store.writer() as writer:
        for i in range(compaction.FANOUT - 1):
            writer.add([record(i)], features([i]))
        writer.remove(6)
    before = content_of(IndexStore.open(source))

    def copy(number):
        index = tmp_path / str(number)
        subprocess.run(["cp", "-r", source, index], check=True)
        return index

    work(done := copy("done"))
    after = content_of(IndexStore.open(done))
    assert work is compact or before != after
    seen = []
    for steps in range(0, 1000, STRIDE):
        index = copy(steps)
        stopped = stopped_after(steps, lambda index=index: work(index))
        assert verify_index(index) == []
        state = content_of(IndexStore.open(index))
        assert state in (before, after), f"half a commit after {steps} steps"
        seen.append(state == after)
        work_again = IndexStore.open(index)
        with work_again.writer() as writer:
            writer.add([record(99)], features([99]))
        assert len(work_again.snapshot()) == len(state["videos"]) + 1 and verify_index(index) == []
        assert len(os.listdir(index / "segments")) == work_again.stats()["segments"]
        if not stopped:
            break
    assert steps > 40 and seen == sorted(seen) and seen[-1], "committed at one step, and for good"
