"""Several processes that train together do what one process does with the whole batch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training_cases import Batches, interrupt_training, make_model  # noqa: E402

from vtr.errors import UsageError  # noqa: E402
from vtr.training.batches import Batch  # noqa: E402
from vtr.training.loop import TrainingError, train  # noqa: E402
from vtr.training.options import TrainOptions  # noqa: E402
from vtr.training.ranks import SLOT, LostProcessError, Ranks, run_ranks  # noqa: E402

STEPS = 3


class Joined:
    """Steps of one process, of the batches that two processes take."""

    def __init__(self, shares: Batches):
        self.shares = shares

    def __len__(self) -> int:
        return len(self.shares) // 2

    def __getitem__(self, step: int) -> Batch:
        both = [self.shares[2 * step], self.shares[2 * step + 1]]
        return Batch(*(torch.cat([getattr(b, name) for b in both]) for name in ("frames", "counts", "ids")))


def models(names: tuple[str, ...]) -> dict:
    made = {name: make_model(name) for name in names}
    for model in made.values():
        model.clip = made[names[0]].clip
    return made


@pytest.mark.parametrize("names", [("xclip",), ("meanP", "teachclip", "xclip")])
def test_two_processes_learn_what_one_does(names: tuple[str, ...], tmp_path: Path) -> None:
    teacher = "xclip" if len(names) > 1 else None
    shares = Batches(2 * STEPS)
    one, two = models(names), models(names)
    train(one, Joined(shares), TrainOptions(precision="fp32", teacher=teacher), tmp_path / "one")
    options = TrainOptions(precision="fp32", teacher=teacher, processes=2)
    train(two, shares, options, tmp_path / "two")
    before = models(names)
    for name in names:
        for (key, a), b, start in zip(
            one[name].named_parameters(), two[name].parameters(), before[name].parameters(), strict=True
        ):
            # sums in another order: Adam's steps differ where a gradient is next to nothing
            assert torch.allclose(a, b, atol=0.02 * float((a - start).detach().abs().max()) + 1e-7), (
                name,
                key,
            )
        moved = [
            not torch.equal(a, b)
            for a, b in zip(two[name].parameters(), before[name].parameters(), strict=True)
        ]
        assert any(moved)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_processes_go_on_bit_for_bit(number: int, tmp_path: Path) -> None:
    options = TrainOptions(precision="fp32", processes=2)
    whole, resumed = {"m": make_model("tcmgc")}, {"m": make_model("tcmgc")}
    train(whole, Batches(8), options, tmp_path / "whole")
    interrupt_training(
        number, "tcmgc", 8, options, tmp_path / "stopped"
    )  # in the first process's second step
    train(resumed, Batches(8), options, tmp_path / "stopped")
    for a, b in zip(whole["m"].parameters(), resumed["m"].parameters(), strict=True):
        assert torch.equal(a, b)


class Fails(Batches):
    """Raises, or dies without a word, in the second process's second step."""

    def __init__(self, steps: int, silently: bool):
        super().__init__(steps)
        self.silently = silently

    def __getitem__(self, step: int) -> Batch:
        if step == 3:
            if self.silently:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("no such clip")
        return super().__getitem__(step)


@pytest.mark.parametrize("silently", [False, True])
def test_a_failing_process_ends_the_run(
    silently: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = {"m": make_model("meanP")}
    with pytest.raises(LostProcessError, match="process 2 of 2"):
        train(made, Fails(6, silently), TrainOptions(precision="fp32", processes=2), tmp_path)
    assert silently or "no such clip" in capfd.readouterr().err
    assert not multiprocessing.active_children()


LEFT = """
import os, signal
from vtr.training.ranks import run_ranks

def work(ranks):
    ranks.meet()
    if ranks.first:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.meet()

run_ranks(3, work)
"""


def test_copies_end_with_the_first_process() -> None:
    # the copies hold the pipes of standard output and error too: reading to their end waits for them
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL


def test_not_finite_in_one_process(tmp_path: Path) -> None:
    made = models(("meanP",))
    with torch.no_grad():
        made["meanP"].clip.visual.proj[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="step 1"):
        train(made, Batches(4), TrainOptions(precision="fp32", processes=2), tmp_path)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_exchange(size: int) -> None:
    seen = []

    def work(ranks: Ranks) -> None:
        mine = torch.full((2, 3), float(ranks.rank), dtype=torch.bfloat16)
        together = ranks.gather(mine)
        total = [torch.full((2,), 1.0 + ranks.rank), torch.ones(1, 2)]
        ranks.add(total)
        large = torch.arange(SLOT // 4 + 5) + ranks.rank  # of 8 bytes: three rounds
        right = (
            together.tolist() == [[float(rank)] * 3 for rank in range(size) for _ in range(2)]
            and torch.equal(ranks.own(together), mine)
            and total[0].tolist() == [size * (size + 1) / 2] * 2
            and total[1].tolist() == [[size, size]]
            and torch.equal(ranks.own(ranks.gather(large)), large)
            and torch.equal(ranks.gather(large)[: len(large)], torch.arange(len(large)))
            and ranks.any(ranks.rank == size - 1)
            and not ranks.any(False)
        )
        seen.append(ranks.meet(right))

    threads = torch.get_num_threads()
    run_ranks(size, work)
    assert seen == [[True] * size]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"processes": 0}, "processes"), ({"processes": 2, "workers": 1}, "workers"),
     ({"processes": 2, "device": "cuda"}, "device")],
)  # fmt: skip
def test_options(settings: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        TrainOptions(**settings)
