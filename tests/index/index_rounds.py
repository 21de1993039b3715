"""Endless work for a writer that is going to be killed: ``python index_rounds.py INDEX FIRST_ROUND``.

A round brings every video to the content and metadata of that round, whatever was there before, so a
round that is done from the start, or over the ruins of others, ends in the same index. Each change is
announced before ("try") and acknowledged after its commit ("done"), a line each.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from index_library import features, record, sha

from vtr.index import IndexStore

VIDEOS, BATCH = 30, 5


def content(i: int, round: int) -> str:
    return f"{i} of round {round}"


def expected_record(i: int, round: int):
    return record(i, content=content(i, round), metadata={"round": round})


def run_round(writer, round: int, say=lambda *words: None) -> None:
    """Bring the index to the state of a round."""
    for start in range(0, VIDEOS, BATCH):
        batch = range(start, start + BATCH)
        new = [i for i in batch if not _is_current(writer, i, round)]
        if new:
            say("try", round, *new)
            contents = [content(i, round) for i in new]
            writer.add([expected_record(i, round) for i in new], features(contents))
            say("done", round, *new)
        with writer.transaction():  # several verbs, one commit
            twin = expected_record(start, round)
            writer.link(record(1000 + start, content=content(start, round), metadata={"twin": round}), twin)
            writer.fail(f"/videos/bad{start}.mp4", round, round, None, f"bad in round {round}")
            writer.remove(record(2000 + start).path)
        writer.set_metadata(writer.find(record(start).path).id, {"round": round, "first": True})
        if start % 15 == 10:
            writer.compact()


def _is_current(writer, i: int, round: int) -> bool:
    known = writer.find(record(i).path)
    return known is not None and known.sha256 == sha(content(i, round))


def main() -> None:
    def say(*words):
        os.write(1, " ".join(map(str, words)).encode() + b"\n")  # one write, whole or not at all

    with IndexStore.open(sys.argv[1]).writer() as writer:
        say("ready")
        for round in count(int(sys.argv[2])):
            run_round(writer, round, say)


if __name__ == "__main__":
    main()
