"""Five bundles on one pair of towers become the folder of built-in models that `vtr.builtin` reads.

``python -m vtr.training.mini.package BUNDLE... --best FAMILY --into python/vtr/models``
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vtr.builtin import BEST, CATALOG, HEADS, SHARED, TOWERS
from vtr.bundle import Bundle, verify_bundle
from vtr.errors import BundleError, UsageError
from vtr.manifest import MANIFEST

from ..command import command

LIMIT = 16_000_000  # bytes of the whole folder


def package(
    bundles: Sequence[Path], into: Path, best: str, untrained: bool = False, limit: int = LIMIT
) -> int:
    """Write the built-in models; returns their bytes.

    Args:
        bundles: one of each family in ``vtr.builtin.HEADS``, with the same towers byte for byte.
        into: the folder; one with built-in models is replaced when the new one is whole.
        best: the family that "mini" stands for.
        untrained: take bundles with random weights, for tests.
        limit: the most bytes that the folder may have.

    Raises:
        BundleError: a bundle is damaged, or the towers differ.
        UsageError: other families than those five, random weights, too many bytes, a folder of other files.
    """
    _check_target(into)
    found = _by_family(bundles, untrained)
    if best not in found:
        raise UsageError(f"expected the best as one of {', '.join(found)}, got {best!r}")
    _check_towers(list(found.values()))
    partial = into.with_name(f".{into.name}.{secrets.token_hex(4)}.partial")
    try:
        _write(partial, found, best)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        if size > limit:
            raise UsageError(
                f"the built-in models may have {limit} bytes together, these have {size}: train smaller "
                "towers, or export them with --precision fp16 or int8"
            )
        for family in found:
            for problem in verify_bundle(partial / family, shared=partial / TOWERS):
                raise BundleError(problem)
        if into.exists():
            shutil.rmtree(into)
        partial.rename(into)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # nothing is there any more when all went well
    return size


def _check_target(into: Path) -> None:
    if not into.parent.is_dir():
        raise UsageError(f"{into.parent}: expected the directory to make {into.name} in, found none")
    if into.is_symlink() or (into.exists() and not into.is_dir()):
        raise UsageError(f"{into}: expected a directory or nothing, found a file or link")
    if into.exists() and any(into.iterdir()) and not (into / CATALOG).is_file():
        raise UsageError(f"{into}: this directory holds other files than built-in models; name another one")


def _by_family(paths: Sequence[Path], untrained: bool) -> dict[str, Bundle]:
    """The bundles by family, in the order of ``HEADS``: exactly one of each."""
    for path in paths:
        for problem in verify_bundle(path):
            raise BundleError(problem)
    bundles = [Bundle.open(path, verify=False) for path in paths]
    families = sorted(bundle.family for bundle in bundles)
    if families != sorted(HEADS.values()):
        raise UsageError(
            f"expected one bundle of each of {', '.join(HEADS.values())}; got {', '.join(families)}"
        )
    for bundle in bundles:
        if not (untrained or bundle.manifest["trained"]):
            raise UsageError(f"{bundle.path} has random weights: built-in models must be trained")
    found = {bundle.family: bundle for bundle in bundles}
    return {family: found[family] for family in HEADS.values()}


def _check_towers(bundles: Sequence[Bundle]) -> None:
    """Raise BundleError unless the shared files of all bundles are equal; their hashes were verified."""
    first = bundles[0]
    for other in bundles[1:]:
        for name in SHARED:
            one, two = (bundle.manifest["files"][name]["sha256"] for bundle in (first, other))
            if one != two:
                raise BundleError(
                    f"{first.file(name)} and {other.file(name)} differ (SHA-256 {one[:16]} and {two[:16]}): "
                    "built-in models share their towers byte for byte, so export all from one training run"
                )


def _write(folder: Path, bundles: Mapping[str, Bundle], best: str) -> None:
    names = {family: name for name, family in HEADS.items()}
    (folder / TOWERS).mkdir(parents=True)
    for name in SHARED:
        shutil.copyfile(bundles[best].file(name), folder / TOWERS / name)
    for family, bundle in bundles.items():
        for name in sorted(set(bundle.manifest["files"]) - set(SHARED)):
            target = folder / family / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.file(name), target)
        manifest = {**bundle.manifest, "name": names[family]}  # no part of the fingerprint
        _write_json(folder / family / MANIFEST, manifest)
    _write_json(folder / CATALOG, {BEST: names[best]})


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vtr.training.mini.package", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("bundles", type=Path, nargs="+", help="one bundle of each family, on the same towers")
    parser.add_argument("--best", required=True, choices=list(HEADS.values()), help='what "mini" stands for')
    parser.add_argument("--into", type=Path, required=True, help="folder to make: python/vtr/models")
    parser.add_argument("--untrained", action="store_true", help="take random weights, to try things out")
    given = parser.parse_args(arguments)
    size = package(given.bundles, given.into.absolute(), given.best, given.untrained)
    print(f"{len(given.bundles)} models, {size} of {LIMIT} bytes, in {given.into}; mini is {given.best}")


if __name__ == "__main__":
    sys.exit(main())
