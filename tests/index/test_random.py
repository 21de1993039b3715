"""Random work on an index beside the same work on a plain dictionary: after each step they say the same."""

import random
from dataclasses import replace

import numpy as np
import pytest
from index_library import content_of, features, record, sha

from vtr.index import compaction, verify_index


class Reference:
    """What an index is, without files: videos by path, the contents whose features are kept, failures."""

    def __init__(self):
        self.videos = {}  # path → (record, content)
        self.kept = set()  # contents
        self.failed = {}
        self.ids = {}  # path → id
        self.used = 0  # ids given so far

    def add(self, given, content):
        self.failed.pop(given.path, None)
        if given.path not in self.videos or self.videos[given.path][1] != content:
            self.used += 1
            self.ids[given.path] = self.used
        self.videos[given.path] = (given, content)
        self.kept.add(content)
        return self.ids[given.path]

    def remove(self, path):
        self.failed.pop(path, None)
        return self.videos.pop(path, None) is not None

    def compact(self):
        self.kept = {content for _, content in self.videos.values()}

    def content(self):
        videos = {}
        for path, (given, content) in self.videos.items():
            rows = [array[0].tobytes() for array in features([content]).values()]
            seen = (given.sha256, given.size, given.mtime_ns, given.duration, given.width, given.codec)
            videos[path] = (*seen, dict(given.metadata), rows)
        return {"videos": videos, "failed": dict(self.failed)}


@pytest.mark.parametrize("seed", range(6))
def test_random_work(store, monkeypatch, seed):
    monkeypatch.setattr(compaction, "FANOUT", 3)
    monkeypatch.setattr(compaction, "TARGET_BYTES", 6000)
    dice = random.Random(seed)
    reference, past = Reference(), []
    writer = store.writer()
    for step in range(60):
        kind = dice.choice(
            ["add", "add", "add", "link", "remove", "metadata", "touch", "fail", "compact", "reopen"]
        )
        if kind == "add":
            numbers = [dice.randrange(25) for _ in range(dice.choice([1, 2, 5, 19]))]
            contents = [dice.randrange(30) for _ in numbers]  # paths and contents may repeat in a batch
            given = [
                record(i, content=c, metadata={"step": step}) for i, c in zip(numbers, contents, strict=True)
            ]
            ids = writer.add(given, features(contents))
            assert ids == [reference.add(g, c) for g, c in zip(given, contents, strict=True)]
        elif kind == "link":
            content = dice.randrange(30)
            known = writer.find_hash(sha(content))
            assert (known is not None) == (content in reference.kept)
            if known is not None:
                given = record(dice.randrange(25), content=content)
                assert writer.link(given, known) == reference.add(given, content)
        elif kind == "remove":
            paths = {record(dice.randrange(25)).path for _ in range(3)}
            assert writer.remove(paths) == sum([reference.remove(path) for path in paths])
        elif kind in ("metadata", "touch") and reference.videos:
            path = dice.choice(sorted(reference.videos))
            given, content = reference.videos[path]
            if kind == "metadata":
                given = replace(given, metadata={"changed": step})
                writer.set_metadata(reference.ids[path], given.metadata)
            else:
                given = replace(given, size=step, mtime_ns=step)
                writer.touch(writer.find(path).id, step, step)
            reference.videos[path] = (given, content)
        elif kind == "fail":
            path = record(dice.randrange(25)).path
            writer.fail(path, step, step, None, f"bad {step}")
            reference.failed[path] = (f"bad {step}", step, step)
        elif kind == "compact":
            writer.compact()
            reference.compact()
        elif kind == "reopen":
            writer.close()
            writer = store.writer()
        assert content_of(store) == reference.content(), (step, kind)
        reference.kept = _really_kept(writer, reference.kept)
        if step % 10 == 0:
            snapshot = store.snapshot()
            assert [snapshot.record(i).path for i in snapshot.ids] == sorted(
                reference.videos, key=reference.ids.get
            )
            past.append((snapshot, snapshot.records(), snapshot.gather("video")))
    writer.close()
    for snapshot, records, video in past:
        assert snapshot.records() == records
        np.testing.assert_array_equal(snapshot.gather("video"), video)
    assert verify_index(store.path) == []


def _really_kept(writer, kept):
    """Merging on the way drops features that no video uses, too; which is no fault of the store."""
    return {content for content in kept if writer.find_hash(sha(content)) is not None}
