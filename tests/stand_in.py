"""The stand-in for NVIDIA's driver (tests/engine/fake_cuda) as tests in Python use it, and kernels for it.

The library's own kernels compute what kernels/ does, plainly, so that a search through libvtr's GPU code ends
in real scores. What is compiled into a real kernel is written into the stand-in's images as text.
"""

import ctypes
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "tests" / "engine" / "fake_cuda"
GIB = 1 << 30

OUT_OF_MEMORY, LAUNCH_FAILED, LAUNCH_OUT_OF_RESOURCES = 2, 719, 701  # of the driver

# Arguments of each kernel, as kernels/aot.py lists them; tests/python/test_device.py compares them with it.
HIDDEN = {"global_scratch": "ptr", "profile_scratch": "ptr"}
POINTERS = {
    "holistic_topk": "vectors probes keys live",
    "holistic_score": "vectors probes logits",
    "xclip_score": "frames vectors probes weights logits",
    "tcmgc_score": "frames gram probes offsets weights logits",
    "topk_scores": "scores keys live",
    "topk_merge": "keys out",
}
NUMBERS = {
    "holistic_topk": "count texts first scale",
    "holistic_score": "count texts stride scale",
    "xclip_score": "count stride",
    "tcmgc_score": "count stride",
    "topk_scores": "count stride first",
    "topk_merge": "count",
}
OF_SCORING = {
    "holistic": ("holistic_topk", "holistic_score", "topk_scores", "topk_merge"),
    "xclip": ("xclip_score", "topk_scores", "topk_merge"),
    "tcmgc": ("tcmgc_score", "topk_scores", "topk_merge"),
}
TEXTS, BLOCK = 16, 512  # of a program of the holistic kernels; of those that choose


# ---- the driver --------------------------------------------------------------------------------------


def build(folder: Path) -> Path:
    """The stand-in's library; skips where there is no C++ compiler."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the stand-in driver with")
    whole = folder / "fake_cuda.cpp"  # one file: the headers, which are most of the work, are read once
    whole.write_text("".join(f'#include "{path}"\n' for path in sorted(SOURCES.glob("*.cpp"))))
    library = folder / "libfake_cuda.so"
    includes = [SOURCES, SOURCES.parent, ROOT / "engine" / "src", ROOT / "engine" / "include"]
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", *(f"-I{path}" for path in includes)]
    subprocess.run([compiler, *flags, str(whole), "-o", str(library)], check=True)
    return library


class StandIn:
    """The loaded library, the same that libvtr opens by its path: see fake_cuda.hpp for what is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        for name in ("calls", "launches", "resources", "device_bytes"):
            getattr(self._library, f"fake_cuda_{name}").restype = ctypes.c_size_t

    def reset(self, devices: int = 1, capability: tuple[int, int] = (9, 0), memory: int = GIB) -> None:
        self._library.fake_cuda_reset(devices, *capability, ctypes.c_size_t(memory))

    def fail(self, function: str, result: int, good: int = 0) -> None:
        self._library.fake_cuda_fail(function.encode(), result, ctypes.c_size_t(good))

    def fail_running(self, kernel: str, result: int) -> None:
        self._library.fake_cuda_fail_running(kernel.encode(), result)

    def calls(self, function: str) -> int:
        return self._library.fake_cuda_calls(function.encode())

    def launches(self, kernel: str) -> int:
        return self._library.fake_cuda_launches(kernel.encode())

    @property
    def resources(self) -> int:
        return self._library.fake_cuda_resources()

    @property
    def device_bytes(self) -> int:
        return self._library.fake_cuda_device_bytes()

    @property
    def misuses(self) -> list[str]:
        text = ctypes.create_string_buffer(1 << 14)
        self._library.fake_cuda_misuses(text, ctypes.c_size_t(len(text)))
        return text.value.decode().splitlines()


# ---- kernels -----------------------------------------------------------------------------------------


def power_of_two(number: int) -> int:
    return 1 << (max(number, 1) - 1).bit_length()


def constants(name: str, sizes: dict, k: int, videos: int) -> dict[str, int]:
    """What is compiled into a kernel: sizes, and the ``videos`` of a tile."""
    if name.startswith("topk"):
        return {"K": k, "KP": power_of_two(k), "BLOCK": BLOCK}
    found = {"D": sizes["dim"], "V": videos}
    if name.startswith("holistic"):
        return {**found, "T": TEXTS, **({"K": k, "KP": power_of_two(k)} if name == "holistic_topk" else {})}
    found |= {"F": sizes["frames"], "L": sizes["words"]}
    found |= {"W": max(16, power_of_two(sizes["words"])), "FP": max(16, power_of_two(sizes["frames"]))}
    if name == "tcmgc_score":
        found |= {"K": sizes["keep"], "S": power_of_two(sizes["keep"])}
    return found


def arguments(name: str) -> list[dict[str, str]]:
    kinds = dict.fromkeys(POINTERS[name].split(), "ptr")
    kinds |= {number: "fp32" if number == "scale" else "i32" for number in NUMBERS[name].split()}
    return [{"name": argument, "type": kind} for argument, kind in {**kinds, **HIDDEN}.items()]


def grid(name: str, videos: int) -> dict[str, dict]:
    texts = {"of": "texts", "per": TEXTS} if name.startswith("holistic") else {"of": "texts"}
    return {"x": texts, "y": {"of": "count", "per": BLOCK if name.startswith("topk") else videos}}


def cubin(target: str, compiled: dict[str, int]) -> bytes:
    """An ELF header as NVIDIA's compiler writes it, and behind it what the stand-in reads."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 2, 190, *[0] * 11)
    return header + f"{target} {words(compiled)}".encode()


def words(compiled: dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in compiled.items())


def write_kernels(
    folder: Path, scoring: str, sizes: dict, k: int = 10, tiles=None, storage: str = "fp16"
) -> dict:
    """A bundle's folder of kernels; returns what kernels.json holds.

    Args:
        tiles: videos of a tile by target, as they differ between architectures. "ptx" takes the oldest's.
    """
    tiles = tiles or {"sm_80": 4, "sm_90": 8}
    oldest = min(tiles, key=lambda target: int(target[3:]))
    folder.mkdir(parents=True, exist_ok=True)
    described = {}
    for name in OF_SCORING[scoring]:
        variants = {}
        for target, videos in tiles.items():
            compiled = constants(name, sizes, k, videos)
            image = cubin(target, {**compiled, "BFLOAT": int(storage == "bf16")})
            (folder / f"{name}.{target}.cubin").write_bytes(image)
            own = {"warps": 4, "shared": 1024, "registers": 40, "spills": 0, "grid": grid(name, videos)}
            variants[target] = {"file": f"{name}.{target}.cubin", **own}
        compiled = constants(name, sizes, k, tiles[oldest])
        text = f".version 8.0 {words({**compiled, 'BFLOAT': int(storage == 'bf16')})}"
        (folder / f"{name}.ptx").write_text(text)
        described[name] = {
            "symbol": name,
            "args": arguments(name),
            "grid": {"z": {"of": "one"}, **grid(name, tiles[oldest])},
            "constants": compiled,
            "ptx": {"file": f"{name}.ptx"},
            "variants": variants,
        }
    spec = {"scoring": scoring, "storage": storage, "k": k}
    spec |= {size: sizes[size] or 0 for size in ("frames", "words", "dim", "keep")}
    metadata = {"format": 1, "spec": spec, "kernels": described}
    (folder / "kernels.json").write_text(json.dumps(metadata, indent=1))
    return metadata
