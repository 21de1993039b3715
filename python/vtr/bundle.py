"""Bundles: exported models as directories, read without trusting them.

A bundle holds ``manifest.json`` (what the model is, and the SHA-256 of every file), the ONNX graphs of the
towers and heads, the scorer's parameters (``head.safetensors``) and ``tokenizer.json``. A bundle that was
truncated, altered, forged or made for another version of the format is refused with a `BundleError`.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import BundleError
from vtr.files import content_hash
from vtr.manifest import AGAIN, MANIFEST, fingerprint, head_shapes, parse_manifest
from vtr.safetensors_io import SafetensorsError, read_safetensors
from vtr.tokenizer import Tokenizer
from vtr.types import Sampling

MAX_MANIFEST = 1 << 20
MAX_HEAD = 1 << 30
MAX_LOGIT_SCALE = 50.0  # CLIP clamps it at log 100; e^50 times a cosine is still a float32


@dataclass(frozen=True)
class Bundle:
    """An exported model on disk. Make one with `Bundle.open`."""

    path: Path
    manifest: Mapping[str, Any]
    head: Mapping[str, NDArray[np.float32]]  # logit_scale [1], raw, and the scorer's parameters

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> Bundle:
        """Open the bundle in a directory.

        Args:
            verify: also compare every file's SHA-256 with the manifest; without it, only sizes.

        Raises:
            BundleError: the bundle is missing, damaged, forged or of another version.
        """
        directory = Path(os.path.abspath(path))
        manifest = _read_manifest(directory)
        for problem in _file_problems(directory, manifest, verify):
            raise BundleError(f"{directory / problem}; {AGAIN}")
        _check_fingerprint(directory, manifest)
        return cls(directory, manifest, _read_head(directory, manifest))

    def file(self, name: str) -> Path:
        """Path of one of the files that the manifest lists."""
        if name not in self.manifest["files"]:
            listed = ", ".join(sorted(self.manifest["files"]))
            raise BundleError(f"{self.path} has no file {name!r}, only {listed}")
        return self.path / name

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return _read_tokenizer(self.path, self.manifest)

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def family(self) -> str:
        return str(self.manifest["family"])

    @property
    def scoring(self) -> str:
        """How logits are computed: "holistic", "xclip", "tcmgc" or "cross"."""
        return str(self.manifest["scoring"])

    @property
    def sizes(self) -> dict[str, Any]:
        """frames F, words L, dim D, image and patch in pixels, vocab, and keep K (or None)."""
        return dict(self.manifest["sizes"])

    @property
    def frame_coupling(self) -> bool:
        """Whether the frames of one video see each other in the vision graph."""
        return bool(self.manifest["frame_coupling"])

    @property
    def sampling(self) -> Sampling:
        return Sampling(**self.manifest["sampling"])

    @property
    def fingerprint(self) -> str:
        """Hexadecimal; equal for bundles that compute the same features and logits."""
        return str(self.manifest["fingerprint"])


def verify_bundle(path: str | os.PathLike[str]) -> list[str]:
    """Check a bundle byte by byte; returns what is wrong with it, nothing if it is sound."""
    directory = Path(os.path.abspath(path))
    try:
        manifest = _read_manifest(directory)
    except BundleError as error:
        return [str(error)]
    damaged = _file_problems(directory, manifest, verify=True)
    problems = [str(directory / problem) for problem in damaged]
    checks: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {
        MANIFEST: _check_fingerprint,
        "head.safetensors": _read_head,
        "tokenizer.json": _read_tokenizer,
    }
    for name, check in checks.items():
        if not any(problem.startswith(f"{name}:") for problem in damaged):
            try:
                check(directory, manifest)
            except BundleError as error:
                problems.append(str(error))
    return problems


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{directory}: expected a bundle, which is a directory with {MANIFEST}, found none; "
            "`vtr export` makes them"
        )
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_MANIFEST + 1)
        if len(text) > MAX_MANIFEST:
            raise BundleError(f"expected at most {MAX_MANIFEST} bytes, got more; {AGAIN}")
        return parse_manifest(text)
    except (BundleError, OSError) as error:
        raise BundleError(f"{path}: {error}") from None


def _check_fingerprint(directory: Path, manifest: Mapping[str, Any]) -> None:
    if (actual := fingerprint(manifest)) != manifest["fingerprint"]:
        raise BundleError(
            f"{directory / MANIFEST}: expected fingerprint {actual}, got {manifest['fingerprint']}: "
            f"the manifest was altered; {AGAIN}"
        )


def _file_problems(directory: Path, manifest: Mapping[str, Any], verify: bool) -> list[str]:
    """What is wrong with the files that the manifest lists: one line a file, beginning with its name."""

    def problem(item: tuple[str, Mapping[str, Any]]) -> str | None:
        try:
            reason = _file_problem(directory, *item, verify)
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
        return reason and f"{item[0]}: {reason}"

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:  # hashing releases the GIL
        return [found for found in pool.map(problem, sorted(manifest["files"].items())) if found]


def _file_problem(directory: Path, name: str, entry: Mapping[str, Any], verify: bool) -> str | None:
    path = directory
    for part in name.split("/"):
        path = path / part
        if not os.path.lexists(path):
            return "missing"
        if path.is_symlink():
            return "a symbolic link, which may lead out of the bundle: put the file itself there"
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size != entry["bytes"]:
        return f"expected {entry['bytes']} bytes, got {status.st_size}"
    if not verify:
        return None
    if (digest := content_hash(path)) != entry["sha256"]:
        return f"expected SHA-256 {entry['sha256']}, got {digest}: its content changed"
    if name.endswith(".onnx") and _mentions_external_data(path):
        return "refers to weights in other files: a bundle's graphs hold their own"
    return None


def _mentions_external_data(path: Path) -> bool:
    """ONNX names a file of weights under the key "location", and no graph of ours holds that word."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(b"location") >= 0


def _read_tokenizer(directory: Path, manifest: Mapping[str, Any]) -> Tokenizer:
    """The bundle's tokenizer, whose ids the text tower is known to have embeddings for."""
    path = directory / "tokenizer.json"
    tokenizer = Tokenizer.load(path)
    if len(tokenizer) > (vocab := manifest["sizes"]["vocab"]):
        raise BundleError(f"{path}: expected at most {vocab} tokens, got {len(tokenizer)}; {AGAIN}")
    return tokenizer


def _read_head(directory: Path, manifest: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The scorer's parameters, float32, of exactly the names and shapes that the sizes ask for."""
    path = directory / "head.safetensors"
    if (size := manifest["files"]["head.safetensors"]["bytes"]) > MAX_HEAD:
        raise BundleError(f"{path}: expected at most {MAX_HEAD} bytes, got {size}; {AGAIN}")
    try:
        head, _ = read_safetensors(path, mmap=False)  # in memory: what was checked is what is used
    except (SafetensorsError, OSError) as error:
        raise BundleError(f"{error}; {AGAIN}") from None
    expected = head_shapes(manifest["scoring"], manifest["sizes"])
    actual = {name: array.shape for name, array in head.items()}
    if actual != expected:
        odd = min(name for name in {*expected, *actual} if expected.get(name) != actual.get(name))
        raise BundleError(
            f"{path}: expected {odd} of shape {expected.get(odd)}, got {actual.get(odd)}; {AGAIN}"
        )
    for name, array in head.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise BundleError(f"{path}: expected {name} as finite float32, got {array.dtype}; {AGAIN}")
    if abs(scale := float(head["logit_scale"][0])) > MAX_LOGIT_SCALE:
        raise BundleError(f"{path}: expected a logit_scale within ±{MAX_LOGIT_SCALE}, got {scale}; {AGAIN}")
    return head
