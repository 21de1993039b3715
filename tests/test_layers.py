"""Nothing imports upwards: every import of vtr's own modules is read from the source and checked."""

import ast
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest layer first. A module may import modules of its own or a lower layer; the stages of one layer that
# are listed in ISOLATED do not import each other.
LAYERS = [
    ["vtr.errors", "vtr._core"],
    ["vtr.types", "vtr.columns", "vtr.safetensors_io", "vtr.files", "vtr.processes", "vtr.progress"],
    ["vtr.tokenizer", "vtr.manifest", "vtr.builtin", "vtr.bundle"],
    ["vtr.decode", "vtr.encoders", "vtr.index", "vtr.scoring", "vtr.moments"],
    [
        *("vtr.features", "vtr.ranking", "vtr.native", "vtr.device", "vtr.choices", "vtr.bank"),
        *("vtr.indexing", "vtr.engine"),
    ],
    ["vtr.evaluation"],
    ["vtr.kernels"],
    ["vtr.export"],
    ["vtr.training"],
    ["vtr.demo", "vtr.service", "vtr.cli", "vtr.__main__"],
    ["vtr.benchmarks"],
]
ISOLATED = {"vtr.decode", "vtr.encoders", "vtr.index", "vtr.scoring", "vtr.moments"}
FOLDERS = {
    "vtr": ROOT / "python" / "vtr",
    "vtr.kernels": ROOT / "kernels",
    "vtr.export": ROOT / "export",
    "vtr.training": ROOT / "training",
    "vtr.benchmarks": ROOT / "benchmarks",
}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def home(module: str) -> str | None:
    """The entry of LAYERS that a module belongs to."""
    names = [name for layer in LAYERS for name in layer if module == name or module.startswith(name + ".")]
    return max(names, key=len) if names else None


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imports(path: Path, package: str = "") -> set[str]:
    """Dotted names of vtr's own modules that a file of ``package`` imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = resolve_name("." * node.level + base, package)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("vtr.")}


@pytest.mark.parametrize("module", [name for name in modules() if name != "vtr"])
def test_imports_go_downwards(module):
    own = home(module)
    assert own is not None, f"{module} is in no layer: add it to LAYERS and to CONTRIBUTING.md"
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for imported in imports(path, package):
        other = home(imported)
        if other is None or other == own:
            continue
        assert layer(other) <= layer(own), f"{module} imports {imported}, which is above it"
        assert not {own, other} <= ISOLATED, f"{module} imports {imported}: stages do not know each other"


def test_the_check_sees_an_upward_import(tmp_path):
    source = tmp_path / "bad.py"
    source.write_text("from vtr import engine\nimport vtr.cli.index\n")
    assert {home(name) for name in imports(source)} == {"vtr.engine", "vtr.cli"}
    assert layer("vtr.engine") > layer("vtr.scoring")
