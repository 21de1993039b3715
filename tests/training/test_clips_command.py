"""`vtr train --clips`: a model that starts from nothing learns from clips that are drawn as it goes."""

import json

import pytest

torch = pytest.importorskip("torch")

from support import run_command  # noqa: E402

from vtr.cli import main  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.training.fresh import SIZES, TowerSizes  # noqa: E402


def test_a_small_model_from_nothing(world, tmp_path, monkeypatch):
    monkeypatch.setattr("vtr.training.clips.load_world", lambda: world)
    monkeypatch.setitem(SIZES, "mini", TowerSizes(16, (1, 1, 1, 1), 32, 32, 64, 1, 16))
    arguments = ["train", "--clips", "-o", tmp_path, "--size", "mini", "--family", "clip4clip", "--steps", 3]
    arguments += ["--batch", 4, "--frames", 4, "--words", 16, "--no-bundle", "--device", "cpu"]
    run_command(main, *arguments)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3 and 0 < lines[-1]["loss"] < 10
    assert load_checkpoint(tmp_path / "model.safetensors")["clip.visual.conv1.weight"].shape[0] == 8
