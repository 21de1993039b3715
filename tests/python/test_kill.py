"""kill -9 at seeded moments of indexing runs: no committed row is lost, and the work can be finished.

Eight kills here; `make kills` does 200.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import vtr
from vtr.index import IndexStore, verify_index

KILLS = int(os.environ.get("VTR_KILLS", "8"))
TARGET = Path(__file__).with_name("kill_target.py")


def start(bundle, index, clips):
    command = [sys.executable, str(TARGET), str(bundle), str(index), str(clips)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def run_until(process, lines, seconds=0.0) -> list[str]:
    """Kill the process that long after it has said so many lines; all that it had said by then."""
    said = [process.stdout.readline().rstrip("\n") for _ in range(lines)]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines()
    process.wait()
    return said


def content(index) -> dict[str, dict[str, np.ndarray]]:
    snapshot = IndexStore.open(index).snapshot()
    return {
        record.path.name: {
            name: snapshot.gather(name, snapshot.positions([record.id])) for name in snapshot.columns
        }
        for record in snapshot.records()
    }


def test_kills_lose_no_committed_row(models, clips, tmp_path):
    bundle = models("tcmgc")[1]
    undisturbed = tmp_path / "undisturbed"
    process = start(bundle, undisturbed, clips)
    begin = time.perf_counter()
    assert process.communicate(timeout=120)[0].endswith("finished\n")
    step = (time.perf_counter() - begin) / 8

    rng = random.Random(20)
    index, round_number, committed, midway = tmp_path / "index-0", 0, set(), 0
    for _ in range(KILLS):
        said = run_until(start(bundle, index, clips), rng.randrange(8), rng.uniform(0, step))
        committed |= {line.split(" ", 1)[1] for line in said if line.startswith("added")}
        if IndexStore.exists(index):
            assert verify_index(index) == []
            found = {record.path.name for record in IndexStore.open(index).snapshot().records()}
            assert committed <= found
            midway += 0 < len(found) < 8
        else:
            assert not committed
        if "finished" in said or len(committed) == 8:
            assert_equal(content(index), content(undisturbed))
            round_number, committed = round_number + 1, set()
            index = tmp_path / f"index-{round_number}"
    assert start(bundle, index, clips).communicate(timeout=120)[0].endswith("finished\n")
    assert_equal(content(index), content(undisturbed))
    assert verify_index(index) == []
    assert midway, "no kill came between the first commit and the last: the moments prove nothing"


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for video, columns in expected.items():
        for name, values in columns.items():
            # The towers' sums may differ in order between runs by an fp16 step.
            np.testing.assert_allclose(
                found[video][name], values, rtol=2e-3, atol=2e-3, err_msg=f"{video} {name}"
            )


def test_the_engine_opens_what_a_kill_left(models, clips, tmp_path):
    bundle = models("tcmgc")[1]
    process = start(bundle, tmp_path / "index", clips)
    while not process.stdout.readline().startswith("added"):
        pass
    run_until(process, lines=0)
    engine = vtr.Engine(None, tmp_path / "index")
    assert 1 <= len(engine.search("x", k=100)) <= 8
