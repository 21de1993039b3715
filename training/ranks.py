"""Several processes of one machine that train together, each on its share of a step's batch.

On processors this beats threads: the operations of a small tower are too short to divide well (measured on
two cores: two processes took 270 frames a second through a small tower and back, one with two threads 150).
Every process holds the whole model and makes the same updates of it; features and gradients are exchanged
(gloo).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from vtr.errors import UsageError

PATIENCE = timedelta(hours=2)  # that a process waits for the others, which may be validating or saving


class Ranks:
    """This process among ``size``. Rank 0 is the one that was started: it saves, logs and validates."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks (of one shape), one after another along the first axis. No gradients."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def own(self, gathered: Tensor) -> Tensor:
        """This rank's part of what `gather` gave."""
        share = len(gathered) // self.size
        return gathered[self.rank * share : (self.rank + 1) * share]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Every tensor becomes its sum over the ranks, in place."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, total in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(total.view_as(tensor))

    def gather_values(self, values: dict[str, float]) -> list[dict[str, float]]:
        """What every rank gives, in the order of ranks."""
        found: list[dict[str, float]] = [{} for _ in range(self.size)]
        dist.all_gather_object(found, values)
        return found

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any rank."""
        if self.size == 1:
            return flag
        found = torch.tensor(float(flag))
        dist.all_reduce(found)
        return bool(found > 0)


def run_ranks(size: int, work: Callable[[Ranks], None]) -> None:
    """Call ``work`` in ``size`` processes: this one, and copies of it, which have one thread each.

    Copies are forked, so that they share what was loaded; call this before other threads are started. Raises
    what this process's ``work`` raises; a copy that dies makes the others' exchange fail.
    """
    if size == 1:
        return work(Ranks())
    if not hasattr(os, "fork"):
        raise UsageError("training in several processes needs fork; take --processes 1 on this system")
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="vtr-ranks-") as folder:
        context = multiprocessing.get_context("fork")
        others = [context.Process(target=_copy, args=(rank, size, folder, work)) for rank in range(1, size)]
        torch.set_num_threads(1)
        for other in others:
            other.start()
        try:
            _join(0, size, folder)
            work(Ranks(0, size))
            for other in others:
                other.join()
        finally:
            for other in others:
                if other.is_alive():
                    other.terminate()
                other.join()
            if dist.is_initialized():
                dist.destroy_process_group()
            torch.set_num_threads(threads)


def _join(rank: int, size: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size, timeout=PATIENCE
    )


def _copy(rank: int, size: int, folder: str, work: Callable[[Ranks], None]) -> None:
    """What a copy does. Ctrl-C reaches it too, but rank 0 says when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _join(rank, size, folder)
    work(Ranks(rank, size))
    dist.destroy_process_group()
