"""Several processes of one machine that train together, each on its share of a step's batch.

On processors this beats threads: the operations of a small tower are too short to divide well (measured on
two cores: two processes took 270 frames a second through a small tower and back, one with two threads 150).
Every process holds the whole model and makes the same updates of it.

What they exchange lies in memory that all of them see; a pipe between the first process and each other says
when it may be read. A process that dies closes its pipes, so the others notice, whatever it died of.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from vtr.errors import UsageError, VtrError

SLOT = 32 << 20  # bytes that a process lays down at a time
PATIENCE = 30.0  # seconds that a copy may take to end when the others have


class LostProcessError(VtrError):
    """One of the processes that train together is gone."""


class Ranks:
    """This process among ``size``. Rank 0 is the one that was started: it saves, logs and validates.

    Every method is called by all ranks, in the same order, and raises LostProcessError where one is gone.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, links: Sequence[Connection] = (), slots: Tensor | None = None
    ):
        """``links``: of rank 0, pipes to the others in order; of another, the one to rank 0. ``slots`` uint8
        ``[size, SLOT]``: shared memory."""
        self.rank, self.size = rank, size
        self._links, self._slots = links, slots

    @property
    def first(self) -> bool:
        return self.rank == 0

    def meet(self, value: Any = None) -> list[Any]:
        """What every rank gives (anything that pickles), by rank; nobody leaves before all came."""
        if self.size == 1:
            return [value]
        if not self.first:
            self._over(0, lambda link: link.send(value))
            return self._over(0, lambda link: link.recv())
        others = range(self.size - 1)
        values = [value, *(self._over(number, lambda link: link.recv()) for number in others)]
        for number in others:
            self._over(number, lambda link: link.send(values))
        return values

    def _over(self, number: int, act: Callable[[Connection], Any]) -> Any:
        """Use a link, whose other end may be gone."""
        try:
            return act(self._links[number])
        except (EOFError, OSError) as error:
            lost = number + 2 if self.first else 1
            raise LostProcessError(
                f"process {lost} of {self.size} that train together has ended; what it said of the reason "
                "stands above. Start again to go on from the last checkpoint"
            ) from error

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks (of one shape), one after another along the first axis. No gradients."""
        if self._slots is None:
            return tensor
        own = tensor.detach().contiguous()
        found = own.new_empty(self.size, *own.shape)
        given, taken = own.view(-1).view(torch.uint8), found.view(self.size, -1).view(torch.uint8)
        for start in range(0, len(given), SLOT):
            part = given[start : start + SLOT]
            self._slots[self.rank, : len(part)] = part
            self.meet()  # all have written
            taken[:, start : start + len(part)] = self._slots[:, : len(part)]
            self.meet()  # all have read
        return found.flatten(0, 1)

    def own(self, gathered: Tensor) -> Tensor:
        """This rank's part of what `gather` gave."""
        share = len(gathered) // self.size
        return gathered[self.rank * share : (self.rank + 1) * share]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Every tensor becomes its sum over the ranks, in place: the same bits in every rank."""
        if self.size == 1 or not tensors:
            return
        total = self.gather(torch.cat([tensor.flatten() for tensor in tensors])[None]).sum(0)
        for tensor, part in zip(tensors, total.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any rank."""
        return any(self.meet(flag))


def run_ranks(size: int, work: Callable[[Ranks], None]) -> None:
    """Call ``work`` in ``size`` processes: this one, and copies of it, which have one thread each.

    Copies are forked, so that they share what was loaded; call this before other threads are started. Raises
    what this process's ``work`` raises, and LostProcessError where a copy fails; no copy outlives the call.
    """
    if size == 1:
        return work(Ranks())
    if not hasattr(os, "fork"):
        raise UsageError("training in several processes needs fork; take --processes 1 on this system")
    threads = torch.get_num_threads()
    context = multiprocessing.get_context("fork")
    slots = torch.frombuffer(mmap.mmap(-1, size * SLOT), dtype=torch.uint8).view(size, SLOT)
    pipes = [context.Pipe() for _ in range(1, size)]
    copies = [context.Process(target=_copy, args=(rank, size, pipes, slots, work)) for rank in range(1, size)]
    torch.set_num_threads(1)
    try:
        for copy in copies:
            copy.start()
        for _, theirs in pipes:
            theirs.close()
        work(Ranks(0, size, [ours for ours, _ in pipes], slots))
    finally:
        for ours, _ in pipes:
            ours.close()
        for copy in copies:
            _end(copy)
        torch.set_num_threads(threads)
    for rank, copy in enumerate(copies, 1):
        if copy.exitcode:
            raise LostProcessError(f"process {rank + 1} of {size} ended with status {copy.exitcode}")


def _end(copy: Any) -> None:
    """Wait for a copy, which ends when it misses the first process; not for ever."""
    if copy.pid is None:
        return
    copy.join(PATIENCE)
    if copy.is_alive():
        copy.kill()
        copy.join()


def _copy(
    rank: int,
    size: int,
    pipes: Sequence[tuple[Connection, Connection]],
    slots: Tensor,
    work: Callable[[Ranks], None],
) -> None:
    """What a copy does. Ctrl-C reaches it too, but rank 0 says when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    for number, (first, other) in enumerate(pipes, 1):
        first.close()  # or the first process could not be missed
        if number != rank:
            other.close()
    with contextlib.suppress(LostProcessError, KeyboardInterrupt):  # the first process says what happened
        return work(Ranks(rank, size, [pipes[rank - 1][1]], slots))
    raise SystemExit(1)
