"""The README's commands and Python are run as they stand, on small files."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support import SMALL

from vtr.cli import COMMANDS, main
from vtr.export.synthetic import random_checkpoint

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(clips, tmp_path, monkeypatch, random_mini):
    """A folder with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(clips, tmp_path / "Videos")
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips" / "clip3.mp4").rename(tmp_path / "clips" / "kitchen.mp4")
    torch.save(random_checkpoint("xclip", **SMALL), tmp_path / "pytorch_model.bin.4")
    return tmp_path


def test_commands_then_python(workplace):
    commands = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines()]
    ours = [line for line in commands if line.startswith("vtr ")]
    assert len(ours) >= 3
    for line in ours:
        arguments = [re.sub("^~", str(workplace), word) for word in shlex.split(line)[1:]]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}: {result.output}\n{result.exception!r}"
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["logits"].shape == (1, 1)


def test_the_makefile_has_the_targets_it_speaks_of():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    told = set(re.findall(r"(?:^|`)make ([a-z]+)", README, flags=re.MULTILINE))
    assert told and told <= targets


def test_every_command_is_in_the_table():
    assert set(COMMANDS) <= set(re.findall(r"`vtr ([a-z]+)", README))
