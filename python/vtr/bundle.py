"""Bundles: exported models as directories, read without trusting them.

A bundle holds ``manifest.json`` (what the model is, and the SHA-256 of every file), the ONNX graphs of the
towers and heads, the scorer's parameters (``head.safetensors``) and ``tokenizer.json``. A bundle that was
truncated, altered, forged or made for another version of the format is refused with a `BundleError`: when it
is opened, but for the content of graphs, which is compared when they are loaded (`Bundle.graph`). They are
nearly all of a bundle's bytes, and a search needs one of them.

Bundles may share files: what is not in a bundle's own folder is looked for in a second one, whose files have
the same names and are checked against the same hashes. So are built-in models (`vtr.builtin`) laid out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.builtin import AGAIN as INSTALL
from vtr.builtin import NAMES, builtin_name, locate
from vtr.errors import BundleError
from vtr.files import content_hash
from vtr.manifest import AGAIN, KERNELS, MANIFEST, fingerprint, head_shapes, parse_manifest
from vtr.safetensors_io import SafetensorsError, read_safetensors
from vtr.tokenizer import Tokenizer
from vtr.types import Sampling

GRAPH = ".onnx"
EXTERNAL = b"location"  # the key under which ONNX names a file of weights; no graph of ours holds that word
MISSING = "missing"
MAX_MANIFEST = 1 << 20
MAX_HEAD = 1 << 30
MAX_LOGIT_SCALE = 50.0  # CLIP clamps it at log 100; e^50 times a cosine is still a float32

Folders = tuple[Path, ...]  # where listed files may lie: a bundle's own folder, and the shared one if any


@dataclass(frozen=True)
class Bundle:
    """An exported model on disk. Make one with `Bundle.open`."""

    path: Path
    manifest: Mapping[str, Any]
    head: Mapping[str, NDArray[np.float32]]  # logit_scale [1], raw, and the scorer's parameters
    shared: Path | None = None  # folder of the files that are not in ``path``
    builtin: str | None = None  # the name of a built-in model: "mini-xclip", never "mini"
    verified: bool = True  # whether contents are compared with the manifest

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        verify: bool = True,
        *,
        shared: str | os.PathLike[str] | None = None,
    ) -> Bundle:
        """Open the bundle in a directory, or a built-in model.

        Args:
            path: of the directory; or one of ``vtr.builtin.NAMES`` as a str ("mini", "mini-xclip", ...),
                which means the built-in model even where a directory of that name lies: write
                ``"./mini"`` or ``Path("mini")`` for the directory.
            verify: also compare every file's SHA-256 with the manifest, that of a graph when `graph` is
                asked for it; without it, only sizes.
            shared: folder where listed files are looked for that are not in the directory itself.

        Raises:
            BundleError: the bundle is missing, damaged, forged or of another version.
        """
        if name := builtin_name(path):
            place = locate(name)
            with _named(place.name):
                return cls._open((place.bundle, place.towers), verify, place.name)
        return cls._open(_folders(path, shared), verify)

    @classmethod
    def _open(cls, folders: Folders, verify: bool, name: str | None = None) -> Bundle:
        manifest = _read_manifest(folders[0])
        hashed = frozenset(file for file in manifest["files"] if verify and not file.endswith(GRAPH))
        for problem in _file_problems(folders, manifest, hashed).values():
            raise BundleError(f"{problem}; {AGAIN}")
        _check_fingerprint(folders, manifest)
        shared = folders[1] if len(folders) > 1 else None
        return cls(folders[0], manifest, _read_head(folders, manifest), shared, name, verify)

    def __str__(self) -> str:
        """How a user calls it: the built-in model's name, or the path."""
        return self.builtin or str(self.path)

    def file(self, name: str) -> Path:
        """Path of one of the files that the manifest lists."""
        if name not in self.manifest["files"]:
            listed = ", ".join(sorted(self.manifest["files"]))
            raise BundleError(f"{self.path} has no file {name!r}, only {listed}")
        return _folder_of(_folders(self.path, self.shared), name) / name

    def graph(self, name: str) -> Path:
        """Path of a graph that is loaded next: its content is compared with the manifest now.

        Raises:
            BundleError: the file went or changed since the bundle was opened, or was damaged before.
        """
        path, folders = self.file(name), _folders(self.path, self.shared)
        with _named(self.builtin):
            if problem := _problem(folders, name, self.manifest["files"][name], self.verified):
                raise BundleError(f"{problem}; {AGAIN}")
        return path

    @property
    def kernels(self) -> Path | None:
        """Folder of the GPU kernels that ``vtr export --cuda`` compiled for this model, if it did."""
        return self.file(KERNELS).parent if KERNELS in self.manifest["files"] else None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return _read_tokenizer(_folders(self.path, self.shared), self.manifest)

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


def verify_bundle(path: str | os.PathLike[str], *, shared: str | os.PathLike[str] | None = None) -> list[str]:
    """Check a bundle byte by byte; returns what is wrong with it, nothing if it is sound.

    The arguments are those of `Bundle.open`.
    """
    try:
        if name := builtin_name(path):
            folders: Folders = locate(name)[1:]
        else:
            folders = _folders(path, shared)
        manifest = _read_manifest(folders[0])
    except BundleError as error:
        return [str(error)]
    damaged = _file_problems(folders, manifest, frozenset(manifest["files"]))
    problems = list(damaged.values())
    checks: dict[str, Callable[[Folders, Mapping[str, Any]], Any]] = {
        MANIFEST: _check_fingerprint,
        "head.safetensors": _read_head,
        "tokenizer.json": _read_tokenizer,
    }
    for file, check in checks.items():
        if file not in damaged:
            try:
                check(folders, manifest)
            except BundleError as error:
                problems.append(str(error))
    return problems


@contextmanager
def _named(name: str | None) -> Iterator[None]:
    """Errors about a built-in model, if ``name`` is one, say so, and what helps."""
    try:
        yield
    except BundleError as error:
        if name is None:
            raise
        problem = str(error).replace(AGAIN, INSTALL)
        raise BundleError(f"built-in model {name}: {problem}") from None


def _folders(path: str | os.PathLike[str], shared: str | os.PathLike[str] | None) -> Folders:
    return tuple(Path(os.path.abspath(folder)) for folder in (path, shared) if folder is not None)


def _folder_of(folders: Folders, name: str) -> Path:
    """The first folder that has a listed file; if none has it, the bundle's own."""
    return next((folder for folder in folders if os.path.lexists(folder / name)), folders[0])


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{directory}: expected a bundle, which is a directory with {MANIFEST}, found none; "
            f"`vtr export` makes them, and {', '.join(NAMES)} are built in"
        )
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_MANIFEST + 1)
        if len(text) > MAX_MANIFEST:
            raise BundleError(f"expected at most {MAX_MANIFEST} bytes, got more; {AGAIN}")
        return parse_manifest(text)
    except (BundleError, OSError) as error:
        raise BundleError(f"{path}: {error}") from None


def _check_fingerprint(folders: Folders, manifest: Mapping[str, Any]) -> None:
    if (actual := fingerprint(manifest)) != manifest["fingerprint"]:
        raise BundleError(
            f"{folders[0] / MANIFEST}: expected fingerprint {actual}, got {manifest['fingerprint']}: "
            f"the manifest was altered; {AGAIN}"
        )


def _file_problems(
    folders: Folders, manifest: Mapping[str, Any], hashed: frozenset[str] = frozenset()
) -> dict[str, str]:
    """What is wrong with the files that the manifest lists: a line each, with its path, by its name.

    ``hashed``: names of the files whose content is compared as well.
    """
    files = dict(sorted(manifest["files"].items()))

    def problem(name: str) -> str | None:
        return _problem(folders, name, files[name], name in hashed)

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:  # hashing releases the GIL
        found = zip(files, pool.map(problem, files), strict=True)
        return {name: reason for name, reason in found if reason}


def _problem(folders: Folders, name: str, entry: Mapping[str, Any], verify: bool) -> str | None:
    """What is wrong with one of them, with its path; ``verify`` compares its content as well."""
    folder = _folder_of(folders, name)
    try:
        reason = _file_problem(folder, name, entry, verify)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    if reason == MISSING and len(folders) > 1:
        reason = f"missing, also from {folders[1]}"
    return reason and f"{folder / name}: {reason}"


def _file_problem(folder: Path, name: str, entry: Mapping[str, Any], verify: bool) -> str | None:
    path = folder
    for part in name.split("/"):
        path = path / part
        if not os.path.lexists(path):
            return MISSING
        if path.is_symlink():
            return "a symbolic link, which may lead out of the bundle: put the file itself there"
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size != entry["bytes"]:
        return f"expected {entry['bytes']} bytes, got {status.st_size}"
    if not verify:
        return None
    external = _External() if name.endswith(GRAPH) else None
    if (digest := content_hash(path, external)) != entry["sha256"]:
        return f"expected SHA-256 {entry['sha256']}, got {digest}: its content changed"
    if external and external.found:
        return "refers to weights in other files: a bundle's graphs hold their own"
    return None


class _External:
    """Looks for the word that names files of weights in the parts of a file, while they are in the cache."""

    def __init__(self) -> None:
        self.found = False
        self._end = b""  # of the part before: the word may lie in both

    def __call__(self, part: memoryview) -> None:
        both = b"".join((self._end, part))
        self.found = self.found or EXTERNAL in both
        self._end = both[-len(EXTERNAL) + 1 :]


def _read_tokenizer(folders: Folders, manifest: Mapping[str, Any]) -> Tokenizer:
    """The bundle's tokenizer, whose ids the text tower is known to have embeddings for."""
    path = _folder_of(folders, "tokenizer.json") / "tokenizer.json"
    tokenizer = Tokenizer.load(path)
    if len(tokenizer) > (vocab := manifest["sizes"]["vocab"]):
        raise BundleError(f"{path}: expected at most {vocab} tokens, got {len(tokenizer)}; {AGAIN}")
    return tokenizer


def _read_head(folders: Folders, manifest: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The scorer's parameters, float32, of exactly the names and shapes that the sizes ask for."""
    path = _folder_of(folders, "head.safetensors") / "head.safetensors"
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
