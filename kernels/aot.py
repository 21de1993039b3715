"""Kernels compiled ahead of time: cubins and PTX for a bundle's sizes, with no GPU present.

``build`` writes, for each kernel that a :class:`Spec` needs, ``<kernel>.sm_XX.cubin`` for every architecture,
one ``<kernel>.ptx`` (of the lowest) and ``kernels.json``, which says all that a loader has to know: the
entry's symbol, its arguments in order, the grid, threads and shared memory. A kernel that keeps registers in
memory ("spills") is an error: it would be several times slower than its sizes promise.

A cubin is for one architecture, and those from 90 on use instructions that no other has (sm_90a, sm_100a,
sm_120a). The PTX is for newer machines, compiled by their driver.

Every argument list ends with Triton's two hidden pointers (scratch memory for the kernel and for profiling);
these kernels use neither, so a loader passes null.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vtr.errors import UsageError

from .config import (
    ARCHES,
    HOLISTIC_TEXTS,
    TOPK_BLOCK,
    TOPK_WARPS,
    Spec,
    Tile,
    holistic_tile,
    multi_grained_tile,
)

FORMAT = 1
MOST_BLOCKS = 65535  # of a grid's second axis
Grid = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Kernel:
    """One kernel of a spec, as it is compiled for one architecture."""

    name: str
    function: Any  # triton.JITFunction
    args: dict[str, str]  # name -> "*fp16", "i32", …, in order
    constants: dict[str, int]
    tile: Tile
    grid: Grid


def kernels(spec: Spec, arch: int, k: int) -> list[Kernel]:
    """All kernels that scoring with ``spec`` launches, the ``k`` best taken on the device."""
    from . import topk

    best = topk.sizes_of(k)
    one = Tile(TOPK_BLOCK, 1, TOPK_WARPS, 1)
    blocks: Grid = {"x": {"of": "texts"}, "y": {"of": "count", "per": TOPK_BLOCK}}
    merge_args = {"keys": "*i64", "out": "*i64", "count": "i32"}
    scores_args = {"scores": "*fp32", "keys": "*i64", "live": "*u8"}
    scores_args |= {"count": "i32", "stride": "i32", "first": "i32"}
    merge = Kernel("topk_merge", topk.topk_merge, merge_args, best, one, blocks)
    chosen = [Kernel("topk_scores", topk.topk_scores, scores_args, best, one, blocks), merge]
    if spec.scoring == "holistic":
        return [*_holistic(spec, arch, k), *chosen]
    return [_tcmgc(spec, arch) if spec.scoring == "tcmgc" else _xclip(spec, arch), *chosen]


def _per_tile(tile: Tile) -> Grid:
    return {"x": {"of": "texts"}, "y": {"of": "count", "per": tile.videos}}


def _tcmgc(spec: Spec, arch: int) -> Kernel:
    from . import tcmgc

    tile, stored = multi_grained_tile(arch, spec), f"*{spec.storage}"
    args = {"frames": stored, "gram": "*fp32", "probes": stored, "offsets": "*fp32", "weights": "*fp32"}
    args |= {"logits": "*fp32", "count": "i32", "stride": "i32"}
    return Kernel("tcmgc_score", tcmgc.tcmgc_score, args, tcmgc.constants(arch, spec), tile, _per_tile(tile))


def _xclip(spec: Spec, arch: int) -> Kernel:
    from . import xclip

    tile, stored = multi_grained_tile(arch, spec), f"*{spec.storage}"
    args = {"frames": stored, "vectors": stored, "probes": stored, "weights": "*fp32", "logits": "*fp32"}
    args |= {"count": "i32", "stride": "i32"}
    return Kernel("xclip_score", xclip.xclip_score, args, xclip.constants(arch, spec), tile, _per_tile(tile))


def _holistic(spec: Spec, arch: int, k: int) -> list[Kernel]:
    from . import holistic

    tile, stored = holistic_tile(arch, spec), f"*{spec.storage}"
    grid: Grid = {"x": {"of": "texts", "per": HOLISTIC_TEXTS}, "y": {"of": "count", "per": tile.videos}}
    args = {"vectors": stored, "probes": stored}
    of_best = {"keys": "*i64", "live": "*u8", "count": "i32", "texts": "i32", "first": "i32", "scale": "fp32"}
    of_all = {"logits": "*fp32", "count": "i32", "texts": "i32", "stride": "i32", "scale": "fp32"}
    best, every = holistic.constants(arch, spec, k), holistic.score_constants(arch, spec)
    return [
        Kernel("holistic_topk", holistic.holistic_topk, args | of_best, best, tile, grid),
        Kernel("holistic_score", holistic.holistic_score, args | of_all, every, tile, grid),
    ]


# ---- compiling -----------------------------------------------------------------------------------------


def build(
    spec: Spec, out: Path, arches: Iterable[int] = ARCHES, k: int = 10, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Compile the kernels of ``spec`` into the folder ``out``; returns what ``kernels.json`` holds.

    Args:
        arches: compute capabilities, e.g. 90.
        k: how many best the top-k kernels keep.
        names: only these kernels.

    Raises:
        UsageError: an architecture is unknown, or a kernel spills.
    """
    wanted = sorted(set(arches))
    if not wanted or not set(wanted) <= set(ARCHES):
        raise UsageError(f"expected architectures of {', '.join(map(str, ARCHES))}, got {wanted}")
    out.mkdir(parents=True, exist_ok=True)
    described: dict[str, Any] = {}
    for arch in wanted:
        for kernel in kernels(spec, arch, k):
            if names is not None and kernel.name not in names:
                continue
            compiled = compile_kernel(kernel, arch)
            if resources(compiled.asm["cubin"])[1]:
                # The assembler may rather keep a few bytes in memory than give up a second block on each
                # processor. Told the limit, it stops weighing that.
                compiled = compile_kernel(kernel, arch, most_registers(kernel.tile.warps))
            if kernel.name not in described:  # its PTX: of the oldest, which newer ones run too
                described[kernel.name] = _describe(kernel, compiled, out)
            entry = described[kernel.name]
            _check_abi(kernel.name, compiled.asm["ptx"], entry["args"])
            entry["variants"][f"sm_{arch}"] = _variant(kernel, compiled, arch, out)
    metadata = {"format": FORMAT, "spec": {**asdict(spec), "k": k}, "kernels": described}
    (out / "kernels.json").write_text(json.dumps(metadata, indent=1) + "\n")
    return metadata


def most_registers(warps: int) -> int:
    """Registers that a thread can have in a block of so many warps."""
    return min(255, 65536 // (32 * warps))


def compile_kernel(kernel: Kernel, arch: int, registers: int | None = None) -> Any:
    """Triton's compiled kernel, for a machine that need not be here; ``registers`` is the most a thread may
    use, and without it the assembler chooses."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = kernel.function
    if not isinstance(function, triton.JITFunction):
        raise UsageError("expected kernels to compile, got interpreted ones: unset TRITON_INTERPRET")
    signature = {name: kernel.args.get(name, "constexpr") for name in function.arg_names}
    numbers = {name: number for number, name in enumerate(function.arg_names)}
    source = ASTSource(
        function,
        signature,
        {(numbers[name],): value for name, value in kernel.constants.items()},
        # Every buffer begins at a multiple of 16 bytes, as all that the driver allocates does.
        {(numbers[name],): [["tt.divisibility", 16]] for name, kind in kernel.args.items() if kind[0] == "*"},
    )
    options = {"num_warps": kernel.tile.warps, "num_stages": kernel.tile.stages, "maxnreg": registers}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def _describe(kernel: Kernel, compiled: Any, out: Path) -> dict[str, Any]:
    ptx = compiled.asm["ptx"]
    (out / f"{kernel.name}.ptx").write_text(ptx)
    args = [
        {"name": name, "type": "ptr" if kind[0] == "*" else kind, "of": kind.lstrip("*")}
        for name, kind in kernel.args.items()
    ]
    args += [{"name": name, "type": "ptr", "of": "scratch"} for name in ("global_scratch", "profile_scratch")]
    return {
        "symbol": compiled.metadata.name,
        "args": args,
        "grid": {"z": {"of": "one"}, **kernel.grid},
        "most_blocks": {"y": MOST_BLOCKS},
        "constants": kernel.constants,
        "ptx": {"file": f"{kernel.name}.ptx", "sha256": hashlib.sha256(ptx.encode()).hexdigest()},
        "variants": {},
    }


def _check_abi(name: str, ptx: str, args: list[dict[str, Any]]) -> None:
    """Compare the list with the entry's own parameters, so that another Triton cannot change it unseen."""
    entry = ptx[ptx.index(".entry") :]
    found = re.findall(r"\.param \.(?:u|b|f|s)(\d+) (\.ptr)?", entry[: entry.index(")")])
    got = ["ptr" if pointer else bits for bits, pointer in found]
    want = ["ptr" if arg["type"] == "ptr" else re.sub(r"\D", "", arg["type"]) for arg in args]
    if got != want:
        raise UsageError(f"{name}: expected parameters {want}, the compiled kernel has {got}: use triton 3.6")


def _variant(kernel: Kernel, compiled: Any, arch: int, out: Path) -> dict[str, Any]:
    cubin: bytes = compiled.asm["cubin"]
    metadata = compiled.metadata
    registers, spilled = resources(cubin)
    if spilled:
        raise UsageError(
            f"{kernel.name} for sm_{arch}: expected all in registers, {spilled} bytes a thread are in memory "
            f"({registers} registers, {kernel.constants}): choose a smaller tile in vtr.kernels.config"
        )
    if metadata.global_scratch_size or metadata.profile_scratch_size:
        raise UsageError(f"{kernel.name} for sm_{arch}: expected a kernel without scratch memory")
    file = out / f"{kernel.name}.sm_{arch}.cubin"
    file.write_bytes(cubin)
    return {
        "file": file.name,
        "sha256": hashlib.sha256(cubin).hexdigest(),
        "warps": metadata.num_warps,
        "shared": metadata.shared,
        "registers": registers,
        "spills": spilled,
        "grid": kernel.grid,
    }


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and bytes of its stack: spills, for these kernels have no arrays in memory.

    Read with the ``cuobjdump`` that comes with Triton.
    """
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernel.cubin")
        Path(path).write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", path]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    if not found:
        raise UsageError(f"expected cuobjdump to tell registers, got {text!r}: use triton 3.6")
    return int(found[1]), int(found[2]) + int(found[3])
