"""Block sizes of the kernels: pure functions of the model's sizes and the target.

The ahead-of-time compiler and the launchers both ask here, so what is launched is what was compiled. Nothing
is tuned at run time: the numbers below come from counting registers and shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtr.errors import UsageError

ARCHES = (80, 86, 89, 90, 100, 120)
STORAGES = ("fp16", "bf16")
SCORINGS = ("holistic", "xclip", "tcmgc")


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below ``number``."""
    return 1 << (max(number, 1) - 1).bit_length()


@dataclass(frozen=True)
class Spec:
    """What a set of kernels is compiled for: F ``frames``, L ``words``, D ``dim``, K ``keep``."""

    scoring: str
    frames: int
    words: int
    dim: int
    keep: int
    storage: str = "fp16"

    def __post_init__(self) -> None:
        if self.scoring not in SCORINGS:
            raise UsageError(f"expected scoring as one of {', '.join(SCORINGS)}, got {self.scoring!r}")
        if self.storage not in STORAGES:
            raise UsageError(f"expected storage as one of {', '.join(STORAGES)}, got {self.storage!r}")
        for name, most in (("frames", 64), ("words", 64), ("dim", 2048)):
            if not 1 <= getattr(self, name) <= most:
                raise UsageError(
                    f"expected {name} from 1 to {most}, got {getattr(self, name)}: score on the CPU"
                )
        if self.dim % 16:
            raise UsageError(f"expected dim as a multiple of 16, got {self.dim}: score on the CPU")
        if self.scoring == "tcmgc":
            self._check_tcmgc()

    def _check_tcmgc(self) -> None:
        """More frames or words than this do not fit the registers of a block."""
        for name, most in (("frames", 16), ("words", 32)):
            if getattr(self, name) > most:
                raise UsageError(
                    f"expected {name} of TC-MGC up to {most}, got {getattr(self, name)}: score on the CPU"
                )
        if not 1 <= self.keep <= self.words:
            raise UsageError(f"expected keep from 1 to {self.words} (words), got {self.keep}")


@dataclass(frozen=True)
class Tile:
    """How one program is cut: ``videos`` of a tile, ``depth`` of a step along D, warps and pipeline
    stages."""

    videos: int
    depth: int
    warps: int
    stages: int


def depth(dim: int, most: int) -> int:
    """The largest power of two up to ``most`` that divides ``dim``."""
    return min(dim & -dim, most)


def padded_frames(frames: int) -> int:
    """Frames as an axis in registers. 16 is the least that a matrix unit takes as an inner size."""
    return max(16, power_of_two(frames))


def padded_words(words: int) -> int:
    return max(16, power_of_two(words))


def large_shared(arch: int) -> bool:
    """Whether a block may have well over 99 KiB of shared memory (sm_80, sm_90, sm_100)."""
    return arch in (80, 90, 100)


def multi_grained_tile(arch: int, spec: Spec) -> Tile:
    """TC-MGC and X-CLIP: 256 threads, and as many videos as their registers take.

    A tile of 4 videos × 4 frames is the least that fills a matrix unit's 16 rows. TC-MGC's largest array,
    videos × W × W numbers of fp32, is 16 registers a thread for 4 videos at W = 32, and several such arrays
    are alive at a time: 8 videos pass the limit of 255 registers. X-CLIP's are smaller: 8 videos fit on sm_90
    and sm_100; on sm_80 half a step along D lets two blocks share a processor.
    """
    stages = 3 if large_shared(arch) else 2
    if spec.scoring == "tcmgc":
        return Tile(4, depth(spec.dim, 64), 8, stages)
    most = 8 if arch in (90, 100) else 4
    area = padded_words(spec.words) * padded_frames(spec.frames)
    videos = max(1, min(most, most * 1024 // area))
    return Tile(videos, depth(spec.dim, 32 if arch == 80 else 64), 8, stages)


TOPK_BLOCK = 512  # scores of one round's program: 4 keys of 64 bits a thread
TOPK_MOST = 128  # of k: a round leaves at most a quarter
TOPK_WARPS = 4
HOLISTIC_TEXTS = 16  # of one program: the least that a matrix unit takes, and more would cost registers


def holistic_tile(arch: int, spec: Spec) -> Tile:
    """16 texts × 256 videos are 32 keys of 64 bits a thread."""
    return Tile(256, depth(spec.dim, 64), 4, 3 if large_shared(arch) else 2)


def pool_warps(frames: int, dim: int) -> int:
    """Of a program that holds all frames of a video in fp32: 64 registers a thread, or as near as warps
    allow."""
    return max(1, min(16, power_of_two(frames) * power_of_two(dim) // 2048))


def afa_tile(large: bool, frames: int, dim: int) -> tuple[int, int, int]:
    """Videos, hidden units of a step, and warps. Frames and a step of weights are in shared memory together,
    128 KiB at D = 512 where there is room for that (``large``), else 64 KiB."""
    rows = 64 if large else 32
    return max(1, rows // padded_frames(frames)), min(64, max(16, rows * 512 // power_of_two(dim))), 8


def intra_tile(frames: int, dim: int) -> tuple[int, int, int]:
    """As :func:`afa_tile`, on every machine with little shared memory and half a step: the means lie beside
    the frames."""
    videos, hidden, warps = afa_tile(False, frames, dim)
    return videos, max(16, hidden // 2), warps


GRAM_VIDEOS = 4  # 64 rows of 16 frames; three Gram matrices are 24 registers a thread
GRAM_STEP = 32
GRAM_WARPS = 4
