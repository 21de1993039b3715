"""Writing bundles: into a temporary directory beside the target, put in its place only when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vtr import __version__
from vtr.errors import UsageError
from vtr.files import sync_folder
from vtr.manifest import FORMAT, FORMAT_VERSION, MANIFEST, check_manifest, fingerprint
from vtr.safetensors_io import write_safetensors


class BundleWriter:
    """Collects the files of one bundle in ``directory``."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, content: bytes) -> None:
        _write(self.directory / name, content)
        self.files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    def add_tensors(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        buffer = io.BytesIO()
        write_safetensors(buffer, tensors)
        self.add(name, buffer.getvalue())

    def write_manifest(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest of the files so far; ``entries`` are those that describe the model."""
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "created_by": f"vtr {__version__}",
            **entries,
            "files": dict(sorted(self.files.items())),
        }
        manifest["fingerprint"] = fingerprint(manifest)
        check_manifest(manifest)
        _write(self.directory / MANIFEST, (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode())
        return manifest


def check_target(output: Path, force: bool) -> None:
    """Raise UsageError unless a bundle may be put at ``output``."""
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: expected the directory to make the bundle in, found none")
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise UsageError(
            f"{output}: expected a directory or nothing, found a file or link; choose another name"
        )
    if (output / MANIFEST).is_file():
        if not force:
            raise UsageError(f"{output}: a bundle is there already; replace it with --force (force=True)")
    elif any(output.iterdir()):
        raise UsageError(f"{output}: this directory holds other files than a bundle; choose another name")


@contextlib.contextmanager
def new_bundle(output: Path, force: bool = False) -> Iterator[BundleWriter]:
    """A writer whose files become the bundle ``output`` when the block ends, and vanish if it fails."""
    check_target(output, force)
    directory = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
    directory.mkdir()
    try:
        writer = BundleWriter(directory)
        yield writer
        for folder in {directory, *((directory / name).parent for name in writer.files)}:
            sync_folder(folder)
        _put_in_place(directory, output, force)
    finally:
        shutil.rmtree(directory, ignore_errors=True)  # nothing is there any more when all went well


def _put_in_place(directory: Path, output: Path, force: bool) -> None:
    check_target(output, force)  # again: exporting took a while
    old = directory.with_suffix(".old")
    if output.exists():
        output.rename(old)
    try:
        directory.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    sync_folder(output.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
