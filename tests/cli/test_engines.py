"""`vtr engines`: plans of every graph for every architecture, by a stand-in for TensorRT-RTX."""

import json

import pytest
import stand_in_tensorrt
from click.testing import CliRunner

from vtr.bundle import Bundle
from vtr.cli.engines import command
from vtr.encoders import tensorrt_build
from vtr.encoders.tensorrt import plan_ahead
from vtr.encoders.tensorrt_build import Library, plan_here
from vtr.errors import BackendError

pytest.importorskip("onnxruntime")


@pytest.fixture
def bundle(models, tmp_path, monkeypatch):
    """A bundle with a cross encoder, whose plans go into the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("vtr.encoders.plans.FOLDER", "manifest.json")  # no folder: plans go to the cache
    return models("clip4clip-tightTransf")[1]


def install(monkeypatch, name):
    module = stand_in_tensorrt.make_module(name)
    monkeypatch.setattr(tensorrt_build, "find_spec", lambda wanted: wanted == name or None)
    monkeypatch.setattr(tensorrt_build, "_load", lambda wanted: Library(wanted, module))
    monkeypatch.setattr("vtr.encoders.tensorrt.plan_apart", plan_here)  # other processes have no such module
    return module


def test_every_graph_for_every_architecture(bundle, tmp_path, monkeypatch):
    module = install(monkeypatch, "tensorrt_rtx")
    arguments = [str(bundle), "--arch", "89", "--arch", "120", "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    made = json.loads(result.stdout)
    assert module.log["builds"] == 8 and len({entry["path"] for entry in made}) == 8
    assert [entry["arch"] for entry in made] == [89] * 4 + [120] * 4
    for entry in made:
        (path,) = tmp_path.rglob(entry["path"].rpartition("/")[2])
        assert entry["bytes"] == path.stat().st_size and f"sm{entry['arch']}" in path.name


def test_what_cannot_be_planned_ahead(bundle, monkeypatch):
    opened = Bundle.open(bundle, verify=False)
    install(monkeypatch, "tensorrt_rtx")
    with pytest.raises(BackendError, match="plans for sm_89, sm_120, not for sm_90: pip install tensorrt"):
        list(plan_ahead(opened, 90))
    object.__setattr__(opened, "manifest", {**opened.manifest, "precision": "int8"})
    with pytest.raises(BackendError, match="no int8 bundles"):
        list(plan_ahead(opened, 89))
    install(monkeypatch, "tensorrt")
    with pytest.raises(BackendError, match="pip install tensorrt-rtx-cu13"):
        list(plan_ahead(opened, 89))
