"""Where a part runs and how large: a GPU at full size, or Triton's interpreter at sizes that take seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


class Missing(Exception):
    """A part cannot run here; the message says what is not there."""


@dataclass(frozen=True)
class Place:
    """F ``frames``, L ``words``, D ``dim``; ``ceilings`` as `benchmarks.gpu.ceilings` measures them."""

    device: torch.device
    tiny: bool
    frames: int = 12
    words: int = 32
    dim: int = 512
    keeps: tuple[int, ...] = (3, 22)  # K of TC-MGC
    videos: int = 1_000_000
    texts: tuple[int, ...] = (1, 8, 64)
    compared: int = 1 << 17  # videos that PyTorch's direct forms score too
    judged: int = 64  # texts whose ten best are compared with float32's
    pooled: int = 1 << 18  # videos whose frames become one vector
    repeats: int = 15
    least: float = 0.02  # seconds of a sample
    ceilings: dict[str, float] = field(default_factory=dict)

    def require_gpu(self) -> None:
        """Raise Missing in the interpreter."""
        if self.device.type != "cuda":
            raise Missing("needs a GPU")

    def fitting(self, wanted: int, each: int, share: float = 0.7) -> int:
        """How many things of ``each`` bytes fit into ``share`` of the free memory, ``wanted`` at most."""
        if self.device.type != "cuda":
            return wanted
        free, _ = torch.cuda.mem_get_info(self.device)
        return max(1, min(wanted, int(share * free) // each))


def gpu() -> Place:
    """The current CUDA device.

    Raises:
        Missing: PyTorch sees none.
    """
    if not torch.cuda.is_available():
        raise Missing("no GPU that PyTorch can use")
    return Place(torch.device("cuda", torch.cuda.current_device()), tiny=False)


def interpreter() -> Place:
    """The CPU, for kernels that were imported with ``TRITON_INTERPRET=1``."""
    return Place(
        torch.device("cpu"),
        tiny=True,
        frames=5,
        words=8,
        dim=64,
        keeps=(3,),
        videos=5,
        texts=(1, 2),
        compared=4,
        judged=1,
        pooled=3,
    )
