"""The pool: many files, workers that die, and nothing left behind."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vtr.decode.pool
from vtr.decode import DecodePool, Limits, read_clip
from vtr.errors import BackendError, UsageError
from vtr.processes import python_command, signal_name
from vtr.types import Clip, Failure, Sampling

SMALL = Sampling(size=32)
EVERY_FRAME = Sampling(frames=4096, fps=25, size=112)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_gone(pid: int) -> bool:
    """Whether a process has ended (one that its parent has not asked about yet counts as ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_clips_and_failures(make_video: Callable[..., Path], tmp_path: Path) -> None:
    good = [make_video(f"{i}.mp4", count=20 + 10 * i) for i in range(5)]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    strange = make_video("a\udcff\nb.mp4", count=3)  # not UTF-8, two lines
    with DecodePool(2, SMALL) as pool:
        results = dict(pool.map([*good, tmp_path / "bad.mp4", str(tmp_path / "missing.mp4"), strange]))
        assert pool.seconds > 0
        pids = pool.pids
        assert len(pids) == 2
    assert all(is_gone(pid) for pid in pids)
    assert set(results) == {*good, tmp_path / "bad.mp4", tmp_path / "missing.mp4", strange}
    for path in (*good, strange):
        expected, clip = read_clip(path, SMALL), results[path]
        assert isinstance(clip, Clip)
        np.testing.assert_array_equal(clip.frames, expected.frames)
        np.testing.assert_array_equal(clip.indices, expected.indices)
        np.testing.assert_array_equal(clip.timestamps, expected.timestamps)
        assert (clip.duration, clip.fps, clip.codec) == (expected.duration, expected.fps, expected.codec)
    for name, reason in (("bad.mp4", "containers"), ("missing.mp4", "No such file")):
        failure = results[tmp_path / name]
        assert isinstance(failure, Failure) and failure.path == tmp_path / name and reason in failure.reason


def test_paths_are_taken_as_results_are(make_video: Callable[..., Path]) -> None:
    path, taken = make_video("v.mp4", count=2), 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield path

    with DecodePool(2, SMALL) as pool:
        results = pool.map(paths())
        assert taken == 0
        for number, _ in enumerate(results, start=1):
            time.sleep(0.01)  # a slow consumer: the pool must not run ahead of it
            assert taken <= number + 2 * 2
        assert taken == number == 50


def test_paths_are_taken_in_the_callers_thread_and_its_errors_come_back(
    make_video: Callable[..., Path],
) -> None:
    path, threads = make_video("v.mp4", count=2), set()

    def paths() -> Iterator[Path]:
        threads.add(threading.get_ident())
        yield path
        raise KeyError("mine")

    with DecodePool(1, SMALL) as pool:
        with pytest.raises(KeyError, match="mine"):
            list(pool.map(paths()))
        assert threads == {threading.get_ident()}
        assert len(list(pool.map([path]))) == 1  # the pool is as good as before


def test_several_maps_at_once_and_one_abandoned(make_video: Callable[..., Path]) -> None:
    paths = [make_video(f"{i}.mp4", count=5) for i in range(4)]
    with DecodePool(2, SMALL) as pool:
        abandoned = pool.map(paths)
        next(abandoned)
        abandoned.close()
        counts: list[int] = []
        threads = [
            threading.Thread(target=lambda: counts.append(len(dict(pool.map(paths))))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [4, 4, 4]


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGRTMIN + 6])
def test_a_crash_costs_one_file(make_video: Callable[..., Path], endless: Path, killer: int) -> None:
    good = make_video("good.mp4", count=5)
    with DecodePool(1, EVERY_FRAME) as pool:
        list(pool.map([good]))
        (pid,) = pool.pids
        results = pool.map([endless, good, good])
        threading.Timer(0.2, os.kill, (pid, killer)).start()
        (path, failure), *rest = list(results)
        assert path == endless and isinstance(failure, Failure)
        assert f"was ended by {signal_name(killer)}" in failure.reason
        assert [type(outcome) for _, outcome in rest] == [Clip, Clip]
        assert pool.pids != [pid] and is_gone(pid)


def test_a_worker_that_hangs_is_killed(
    make_video: Callable[..., Path], endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtr.decode.pool, "GRACE", 0.2)
    good = make_video("good.mp4", count=5)
    with DecodePool(1, EVERY_FRAME, Limits(seconds=1)) as pool:
        list(pool.map([good]))
        (pid,) = pool.pids
        threading.Timer(0.2, os.kill, (pid, signal.SIGSTOP)).start()  # it answers nothing any more
        (_, failure), (_, clip) = pool.map([endless, good])
        assert isinstance(failure, Failure) and "within 1 s; the decoder hung" in failure.reason
        assert isinstance(clip, Clip)
        assert is_gone(pid)


def test_a_file_that_takes_too_long(endless: Path) -> None:
    with DecodePool(1, EVERY_FRAME, Limits(seconds=0.3)) as pool:
        ((_, failure),) = pool.map([endless])
    assert isinstance(failure, Failure) and "within 0.3 s; gave up" in failure.reason


def test_a_file_that_takes_too_much_memory(make_video: Callable[..., Path]) -> None:
    big = make_video("big.mkv", count=2, width=4096, height=4096, codec="mpeg4")
    good = make_video("good.mp4", count=5)
    with DecodePool(1, SMALL, Limits(memory=64 << 20)) as pool:
        results = dict(pool.map([big, good]))
    failure, clip = results[big], results[good]
    assert isinstance(failure, Failure) and "Limits.memory" in failure.reason
    assert isinstance(clip, Clip)


def test_a_worker_gives_up_what_it_does_not_need() -> None:
    with DecodePool(1, SMALL, Limits(memory=1 << 30)) as pool:
        list(pool.map(["/missing"]))
        limits = Path(f"/proc/{pool.pids[0]}/limits").read_text()
        maps = Path(f"/proc/{pool.pids[0]}/maps").read_text()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max file size"] == ["0", "0"]
    soft, hard = map(int, rows["Max address space"])
    assert 1 << 30 < soft == hard < 6 << 30
    assert "libav" in maps and "torch" not in maps and "onnx" not in maps


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have workers run ``code``."""

    def command(module: str, argument: int) -> list[str]:
        executable, option, _, *arguments = python_command(module, argument)
        return [executable, option, code, *arguments]

    monkeypatch.setattr(vtr.decode.pool, "python_command", command)


def test_a_worker_that_answers_nonsense(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a file had taken it over."""
    good = make_video("good.mp4", count=5)
    run_instead(
        monkeypatch,
        "import sys; sys.path[:] = sys.argv[2:]; import vtr.decode.worker as w; "
        "real = w._answer; w._answer = lambda wire, path, *rest: "
        "wire.send({'clip': {'indices': 7}, 'seconds': 0}) if 'evil' in path else real(wire, path, *rest); "
        "w.main(int(sys.argv[1]))",
    )
    with DecodePool(1, SMALL) as pool:
        (_, failure), (_, clip) = pool.map(["/evil.mp4", good])
    assert isinstance(failure, Failure) and "answered nonsense" in failure.reason
    assert isinstance(clip, Clip)


@pytest.mark.parametrize("failures", [1, 2])
def test_workers_that_cannot_be_started_for_want_of_descriptors(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    left, make = [OSError(errno.EMFILE, "Too many open files")] * failures, socket.socketpair

    def make_or_fail() -> tuple[socket.socket, socket.socket]:
        if left:
            raise left.pop()
        return make()

    monkeypatch.setattr(vtr.decode.pool.socket, "socketpair", make_or_fail)
    outcomes: list[object] = []

    def read(pool: DecodePool) -> None:
        try:
            outcomes.extend(outcome for _, outcome in pool.map([make_video("good.mp4", count=5)]))
        except BackendError as error:
            outcomes.append(str(error))

    with DecodePool(1, SMALL) as pool:
        reader = threading.Thread(target=read, args=(pool,), daemon=True)
        reader.start()
        reader.join(60)
        assert not reader.is_alive(), "it waits for a worker that nobody starts"
    (outcome,) = outcomes
    if failures == 1:  # when the pool was made, and not when the worker was needed
        assert isinstance(outcome, Clip)
    else:
        assert outcome == "expected a decoder process to start, but Too many open files"


def test_workers_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "raise SystemExit(3)")
    with (
        DecodePool(1, SMALL) as pool,
        pytest.raises(BackendError, match="3 times it ended with status 3"),
    ):
        list(pool.map(["/missing"]))


def test_wrong_use() -> None:
    for workers in (0, -1, 2.0, True):
        with pytest.raises(UsageError, match="workers"):
            DecodePool(workers)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"Sampling\.frames"):
        DecodePool(1, Sampling(frames=0))
    pool = DecodePool(1, SMALL)
    pool.close()
    pool.close()
    with pytest.raises(UsageError, match="closed"):
        list(pool.map(["/missing"]))


def test_closing_does_not_wait(endless: Path) -> None:
    pool = DecodePool(1, EVERY_FRAME)
    results = pool.map([endless, endless])
    reader = threading.Thread(target=lambda: next(results, None), daemon=True)
    reader.start()
    assert wait_until(lambda: bool(pool.pids))
    time.sleep(0.5)
    pids, begin = pool.pids, time.monotonic()
    pool.close()
    assert time.monotonic() - begin < 2
    assert all(is_gone(pid) for pid in pids)


SCRIPT = """
    import sys, time
    from vtr.decode import DecodePool
    from vtr.types import Sampling
    with DecodePool(2, Sampling(frames=4096, fps=25)) as pool:
        while len(pool.pids) < 2:  # the first may be at work before the second is there
            time.sleep(0.05)
        list(pool.map(["/missing"] * 8))
        print(*pool.pids, flush=True)
        list(pool.map([sys.argv[1]] * 50))
"""


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(endless: Path, killer: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(endless)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and not any(is_gone(pid) for pid in pids)
    time.sleep(0.3)  # they decode now
    os.kill(parent.pid, killer)
    _, errors = parent.communicate(timeout=240)
    assert wait_until(lambda: all(is_gone(pid) for pid in pids))
    if killer == signal.SIGINT:
        assert errors.count(b"Traceback") == 1  # the parent's own: no worker complains


def test_importing_stays_light() -> None:
    code = "import sys, vtr.decode.worker; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'av'" in out
    for heavy in ("torch", "onnx", "onnxruntime", "openvino", "cv2", "scipy", "multiprocessing"):
        assert f"'{heavy}'" not in out
