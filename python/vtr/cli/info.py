"""`vtr info`: what a bundle or an index holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vtr.builtin import builtin_name
from vtr.cli.options import MODEL, json_option
from vtr.cli.output import clock, print_json, size_text
from vtr.errors import BundleError, UsageError
from vtr.files import printable
from vtr.manifest import AGAIN, KERNELS

FAMILIES = {
    "clip4clip": "CLIP4Clip",
    "ea": "EA-CLIP4Clip",
    "teachclip": "TeachCLIP",
    "xclip": "X-CLIP",
    "tcmgc": "TC-MGC",
}
KERNELS_FOLDER = KERNELS.partition("/")[0] + "/"
SLICES = {"uniform": "spread evenly", "head": "the first ones", "tail": "the last ones"}


def kind_of(name: str) -> str:
    """ "bundle" or "index": a built-in model's name, or a directory, by what it holds."""
    path = Path(name)
    if builtin_name(name) or (path / "manifest.json").exists():
        return "bundle"
    if (path / "catalog.sqlite").exists():
        return "index"
    what = "is not a directory" if path.exists() and not path.is_dir() else "holds neither"
    raise UsageError(
        f"expected a bundle (with manifest.json) or an index (with catalog.sqlite); {path} "
        f"{what if path.exists() else 'does not exist'}"
    )


@click.command()
@click.argument("path", type=MODEL)
@json_option
def command(path: str, as_json: bool) -> None:
    """Describe the bundle or index at PATH, or a built-in model such as mini."""
    facts = bundle_facts(path) if kind_of(path) == "bundle" else index_facts(path)
    if as_json:
        print_json(facts["json"])
        return
    click.secho(printable(facts["title"]), bold=True)
    width = max(len(label) for label, _ in facts["lines"])
    for label, value in facts["lines"]:
        click.echo(f"  {printable(label):<{width}}  {printable(value)}")


def bundle_facts(path: str) -> dict[str, Any]:
    """Title, lines and JSON for a bundle."""
    from vtr.bundle import Bundle

    bundle = Bundle.open(path, verify=False)
    manifest, sizes, sampling = bundle.manifest, bundle.sizes, bundle.sampling
    head = FAMILIES[bundle.family] + ", " + manifest["sim_header"]
    if manifest.get("variant"):
        head += f", {manifest['variant']}"
    lines = [
        ("model", head + ("" if manifest.get("trained", True) else "  (random weights: it knows nothing)")),
        ("sees", f"{sizes['frames']} frames of {sizes['image']}×{sizes['image']}, {sampling.fps} a second, "
                 f"{SLICES[sampling.slice]} when there are more"),
        ("reads", f"{sizes['words']} tokens of a vocabulary of {sizes['vocab']}"),
        ("features", f"{sizes['dim']} wide; scoring: {bundle.scoring}"),
        ("precision", manifest["precision"]),
        ("fingerprint", bundle.fingerprint[:16]),
        ("made by", manifest["created_by"]),
    ]  # fmt: skip
    sizes_of = {name: entry["bytes"] for name, entry in sorted(manifest["files"].items())}
    of_kernels = [name for name in sizes_of if "cuda" in manifest and name.startswith(KERNELS_FOLDER)]
    lines += [(name, size_text(size)) for name, size in sizes_of.items() if name not in of_kernels]
    document = dict(manifest)
    if of_kernels:
        document["kernels"] = kernels = read_kernels(bundle.file(KERNELS))
        lines += kernel_lines(manifest["cuda"], sum(sizes_of[name] for name in of_kernels), kernels)
    if bundle.builtin:
        lines += [("built in", f"{bundle.builtin}, in {bundle.path.parent}")]
    lines += [("parity", _parity_text(manifest.get("parity") or {}))]
    return {"title": f"bundle {manifest['name']}", "lines": lines, "json": document}


def read_kernels(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    """What each kernel takes on each architecture, of ``kernels.json``.

    Raises:
        BundleError: the file is not what `vtr export --cuda` writes.
    """
    try:
        kernels = json.loads(path.read_bytes())["kernels"]
        return {
            name: {
                arch: {what: int(variant[what]) for what in ("registers", "shared", "warps")}
                for arch, variant in kernel["variants"].items()
            }
            for name, kernel in kernels.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: expected a description of kernels ({error!r}); {AGAIN}") from None


def kernel_lines(
    cuda: dict[str, Any], size: int, kernels: dict[str, dict[str, dict[str, int]]]
) -> list[tuple[str, str]]:
    """A line on all kernels, then one for each with its registers and shared memory by architecture."""
    arches = ", ".join(f"sm_{arch}" for arch in cuda["arches"])
    lines = [("kernels", f"{arches}; Triton {cuda['triton']}; {size_text(size)}")]
    for name, variants in kernels.items():
        uses = (
            f"{arch} {use['registers']} registers, {size_text(use['shared'])}"
            for arch, use in variants.items()
        )
        lines += [("  " + name, "; ".join(uses))]
    return lines


def _parity_text(parity: dict[str, Any]) -> str:
    """The largest differences from the reference model that the export measured."""
    numbers = {name: value for name, value in parity.items() if isinstance(value, (int, float))}
    return ", ".join(f"{name} {value:.2g}" for name, value in numbers.items()) or "not recorded"


def index_facts(path: str) -> dict[str, Any]:
    """Title, lines and JSON for an index."""
    from vtr.index import IndexStore

    store = IndexStore.open(path)
    stats = store.stats()
    model = store.model
    failures = store.failures()
    place = "built in" if model.get("builtin") else f"at {model.get('path')}"
    made_with = f"{model.get('name')} ({FAMILIES.get(model.get('family', ''), '?')}) {place}"
    advice = " (vtr remove --compact frees them)" if stats["dead_rows"] else ""
    lines = [
        ("videos", f"{stats['videos']}, {clock(stats['seconds'])} in all"),
        ("removed rows", f"{stats['dead_rows']}{advice}"),
        ("segments", f"{stats['segments']}, {size_text(stats['bytes'])}"),
        ("model", made_with),
        ("fingerprint", store.fingerprint[:16]),
        ("bad files", f"{len(failures)}"),
    ]  # fmt: skip
    lines += [("  " + failure.path.name, failure.reason) for failure in failures[:10]]
    document = {**stats, "model": dict(model), "fingerprint": store.fingerprint}
    document["failures"] = [{"path": str(f.path), "reason": f.reason} for f in failures]
    return {"title": f"index {path}", "lines": lines, "json": document}
