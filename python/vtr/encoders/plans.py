"""TensorRT's plans and caches on disk: where they lie, what they are for, and whether they are whole.

A plan lies in the bundle's own ``engines`` folder where that can be written, else in the user's cache folder.
Its first line is a JSON object that says what it was made from, for and with, and the SHA-256 of the bytes
that follow. One that was made otherwise is passed over without a word, since a newer library or another GPU
is nothing unusual; one that is damaged is passed over with a warning. Either is then overwritten.

A plan holds programs for the GPU, as a bundle's cubins do. Hashes show damage and no more: a bundle's plans
deserve the trust that the bundle does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vtr.bundle import Bundle
from vtr.files import sync_folder, user_cache

FOLDER = "engines"
FORMAT = "vtr-engine-1"
MAX_HEADER = 1 << 16


@dataclass(frozen=True)
class Key:
    """What a file was made from, for and with. What differs in any of it is of no use.

    ``kind``: "plan", "timing" (what TensorRT measured of kernels) or "kernels" (what TensorRT-RTX compiled
    at run time). ``gpu``: the GPU's name, ``None`` for what serves all GPUs of one ``arch`` (89 is compute
    capability 8.9). ``graph``, the SHA-256 of the ONNX file, and ``sizes``, what is planned for, are those of
    one graph; timings serve all.
    """

    kind: str
    library: str
    version: str
    arch: int
    gpu: str | None = None
    graph: str | None = None
    sizes: str | None = None

    def file_name(self, stem: str) -> str:
        """A name for people: versions and sizes are told apart by the header, so that new replaces old."""
        parts = [stem, self.graph and self.graph[:16], f"sm{self.arch}", self.gpu, self.library]
        return (
            "-".join(re.sub(r"[^\w.]+", "_", part, flags=re.ASCII) for part in parts if part)
            + f".{self.kind}"
        )


def engine_folders(bundle: Bundle) -> list[Path]:
    """Where files are looked for and written to, in this order. What was installed with vtr is left alone."""
    own = [] if bundle.builtin else [bundle.path / FOLDER]
    return [*own, user_cache() / FOLDER]


class Store:
    """Files of one graph, or of none, in the first of several folders that will have them."""

    def __init__(self, folders: Sequence[Path], stem: str) -> None:
        self.folders = list(folders)
        self.stem = stem

    def read(self, key: Key) -> tuple[Path, bytes] | None:
        """What was kept under ``key``, and where; ``None`` if nothing that fits and is whole."""
        for folder in self.folders:
            path = folder / key.file_name(self.stem)
            try:
                content = path.read_bytes()
            except OSError:
                continue
            problem, kept = _checked(content, key)
            if problem:
                self.warn(path, problem)
            elif kept is not None:
                return path, kept
        return None

    def write(self, key: Key, content: bytes) -> Path | None:
        """Keep ``content``; where it went. ``None`` if no folder can be written; for plans with a warning."""
        head = {"format": FORMAT, **asdict(key), "sha256": hashlib.sha256(content).hexdigest()}
        line = json.dumps(head, sort_keys=True).encode() + b"\n"
        reason: OSError | None = None
        for folder in self.folders:
            try:
                return _put(folder, key.file_name(self.stem), line + content)
            except OSError as error:
                reason = error
        if key.kind == "plan":  # of the three, what takes long to make
            text = f"the plan of {self.stem} is not kept and will be made again: {reason}"
            warnings.warn(text, RuntimeWarning, 2)
        return None

    @staticmethod
    def warn(path: Path, problem: str) -> None:
        warnings.warn(f"{path}: {problem}; it is made again", RuntimeWarning, 3)


def _checked(content: bytes, key: Key) -> tuple[str | None, bytes | None]:
    """A problem, or what the file holds, or neither: it was made for something else."""
    line, newline, rest = content.partition(b"\n")
    try:
        head = json.loads(line) if newline and len(line) <= MAX_HEADER else None
    except ValueError:  # damaged UTF-8 is one
        head = None
    if not isinstance(head, dict):
        return "damaged: its first line says nothing", None
    if {**head, "sha256": None} != {"format": FORMAT, **asdict(key), "sha256": None}:
        return None, None
    if head.get("sha256") != hashlib.sha256(rest).hexdigest():
        return "damaged: its bytes are not those that were written", None
    return None, rest


def _put(folder: Path, name: str, content: bytes) -> Path:
    """Write a file that appears under its name only when it is whole and durable."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / name)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(folder)
    return folder / name
