"""The command line, as a user types it."""

import json
import os
import shutil
import subprocess
import sys

import click
import pytest
import torch
from click.testing import CliRunner
from support import SMALL, run_command

from vtr.cli import COMMANDS, main
from vtr.cli.group import ReportingGroup
from vtr.cli.output import clock, size_text
from vtr.export.synthetic import random_checkpoint
from vtr.files import printable


def vtr(*arguments, status=0):
    """Run a command in this process; returns its standard output."""
    result = run_command(main, *arguments, status=status)
    return result.stdout if status in (0, 3) else result.output


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    torch.save(random_checkpoint("teachclip", **SMALL), folder / "best_model.bin")
    vtr("export", folder / "best_model.bin", "-o", folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def index(bundle, clips, tmp_path_factory):
    directory = tmp_path_factory.mktemp("index")
    vtr("index", clips, "--model", bundle, "--index", directory)
    return directory


def test_every_command_has_help():
    overview = vtr("--help")
    for name, line in COMMANDS.items():
        assert name in overview and line in " ".join(overview.split())
        assert "Usage" in vtr(name, "--help")


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys, vtr\nfrom vtr.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'av', 'tokenizers', 'ftfy', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"


def test_search_prints_ranked_hits(index):
    lines = vtr("search", "a", "red", "square", "--index", index, "-k", 3).splitlines()
    assert [line.split("\t")[0] for line in lines] == ["1", "2", "3"]
    assert all("–" in line.split("\t")[3] for line in lines)
    hits = json.loads(vtr("search", "a red square", "--index", index, "-k", 3, "--json"))
    assert [os.path.basename(hit["path"]) for hit in hits] == [
        os.path.basename(line.split("\t")[2]) for line in lines
    ]
    assert {"id", "path", "score", "moments", "duration", "metadata"} == set(hits[0])


def test_search_by_video(index, clips):
    hits = json.loads(vtr("search", "--video", clips / "clip3.mp4", "--index", index, "-k", 2, "--json"))
    assert hits[0]["path"].endswith("clip3.mp4")


def test_texts_for_a_video(index, clips, tmp_path):
    (tmp_path / "captions.txt").write_text("a dog\n\nred squares\na man is cooking\n")
    arguments = [
        "search",
        "--video",
        clips / "clip3.mp4",
        "--texts",
        tmp_path / "captions.txt",
        "--index",
        index,
    ]
    lines = [line.split("\t")[2] for line in vtr(*arguments).splitlines()]
    assert sorted(lines) == ["a dog", "a man is cooking", "red squares"]
    assert [hit["text"] for hit in json.loads(vtr(*arguments, "-k", 2, "--json"))] == lines[:2]


def test_index_report_and_exit_status(bundle, clips, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(clips / "clip0.mp4", folder)
    (folder / "bad.mp4").write_text("no video")
    (tmp_path / "meta.json").write_text('{"clip0.mp4": {"camera": "front"}}')
    arguments = ["index", folder, "--model", bundle, "--index", tmp_path / "i", "--json"]
    report = json.loads(vtr(*arguments, "--metadata", tmp_path / "meta.json", status=3))
    assert len(report["added"]) == 1 and "bad.mp4" in report["failed"][0]["path"]
    again = json.loads(vtr(*arguments))
    assert len(again["unchanged"]) == 1 and len(again["skipped"]) == 1
    assert "1 failed" in vtr(*arguments[:-1], "--retry", status=3)
    assert (
        len(json.loads(vtr("search", "x", "--index", tmp_path / "i", "--where", "camera=front", "--json")))
        == 1
    )


def test_remove_and_compact(bundle, clips, tmp_path):
    folder = shutil.copytree(clips, tmp_path / "videos")
    vtr("index", folder, "--model", bundle, "--index", tmp_path / "i")
    assert "1 removed" in vtr("remove", folder / "clip0.mp4", "--index", tmp_path / "i")
    (folder / "clip1.mp4").unlink()
    assert "1 removed" in vtr("remove", "--missing", "--index", tmp_path / "i")
    first = json.loads(vtr("search", "x", "--index", tmp_path / "i", "-k", 1, "--json"))[0]["id"]
    assert "1 removed" in vtr("remove", "--id", first, "--index", tmp_path / "i")
    facts = json.loads(vtr("info", tmp_path / "i", "--json"))
    assert facts["videos"] == 5 and facts["dead_rows"] == 3
    assert "compacted" in vtr("remove", "--compact", "--index", tmp_path / "i")
    assert json.loads(vtr("info", tmp_path / "i", "--json"))["dead_rows"] == 0
    (folder / "clip7.mp4").unlink()
    assert "0 removed" in vtr("remove", folder / "clip5.mp4", "--missing", "--index", tmp_path / "i")
    assert "1 removed" in vtr("remove", folder, "--missing", "--index", tmp_path / "i")
    assert json.loads(vtr("remove", folder, "--index", tmp_path / "i", "--json"))["removed"] == 4


def test_info_tells_what_matters(bundle, index):
    text = vtr("info", bundle)
    assert "TeachCLIP" in text and "12 frames" in text and "parity" in text
    assert json.loads(vtr("info", bundle, "--json"))["format"] == "vtr-bundle"
    text = vtr("info", index)
    assert "8, 0:51.0 in all" in text and "TeachCLIP" in text


def test_verify_finds_a_flipped_byte(bundle, index, tmp_path):
    assert "sound" in vtr("verify", bundle) and "sound" in vtr("verify", index)
    broken = shutil.copytree(index, tmp_path / "index")
    segment = next((broken / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert segment.name in vtr("verify", broken, status=1)
    broken = shutil.copytree(bundle, tmp_path / "bundle")
    data = bytearray((broken / "text.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "text.onnx").write_bytes(data)
    assert "text.onnx" in vtr("verify", broken, status=1)
    assert json.loads(vtr("verify", broken, "--json", status=1))["sound"] is False
    assert "text.onnx" in vtr("search", "x", "--index", index, "--model", broken, status=1)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["search", "x", "--index", "nowhere"], 2, "vtr index"),
        (["info", "x" * 300], 1, "too long"),
        (["remove", "nothing.mp4", "--index", "INDEX"], 2, "nothing at or below"),
        (["index", "", "--index", "INDEX"], 2, "path"),
        (["search", "--index", "nowhere"], 2, "TEXT or --video"),
        (["index", "x.mp4", "--index", "new"], 2, "--model"),
        (["index", "x.mp4", "--index", "new", "--model", "nowhere"], 1, "nowhere"),
        (["info", "nowhere"], 2, "does not exist"),
        (["verify", "."], 2, "manifest.json"),
        (["remove", "--index", "nowhere"], 2, "nothing to do"),
        (["remove", "x", "--index", "nowhere"], 1, "nowhere"),
        (["export", "nowhere.bin", "-o", "out"], 1, "nowhere.bin"),
        (["index", "x", "--index", "new", "--metadata", "nowhere.json"], 2, "nowhere.json"),
        (["serve", "--index", "nowhere", "--port", "70000"], 2, "port"),
        (["serve", "--index", "INDEX", "--host", "192.0.2.1"], 2, "cannot listen on 192.0.2.1"),
        (["serve", "--index", "INDEX", "--allow-host", "example.org:80"], 2, "without a port"),
        (["serve", "--index", "INDEX", "--allow-host", "a*.example.org"], 2, "without a port"),
        (["remove", "", "--index", "INDEX"], 2, "got an empty text"),
        (["search", "x", "--index", ""], 2, "got an empty text"),
        (["remove", "--id", "999", "--index", "INDEX"], 2, "no video with id 999"),
        (["remove", "x\x1b[31m.mp4", "--index", "INDEX"], 2, "x\\x1b[31m.mp4"),
        (
            ["search", "--video", "v.mp4", "--texts", "t.txt", "--where", "a=1", "--index", "INDEX"],
            2,
            "--where",
        ),
    ],
)
def test_mistakes_get_one_clear_line(arguments, status, message, tmp_path, monkeypatch, index):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("a cat")
    output = vtr(*[index if word == "INDEX" else word for word in arguments], status=status)
    assert message in output and "Traceback" not in output


def test_a_terminal_that_is_no_utf8_and_one_without_colours(index):
    """What it cannot show is written as escapes."""
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "vtr", "search", "two dogs", "--index", str(index), "-k", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0 and b"\\u2013" in done.stdout, done.stderr
    seen = []
    command = ReportingGroup(
        commands=[click.Command("x", callback=lambda: seen.append(click.get_current_context().color))]
    )
    CliRunner().invoke(command, ["x"], env={"NO_COLOR": "1"})
    CliRunner().invoke(command, ["x"], env={"NO_COLOR": ""})
    assert seen == [False, None]


def test_want_of_memory_is_one_line():
    def fail():
        raise MemoryError("of the test")

    found = CliRunner().invoke(ReportingGroup(commands=[click.Command("x", callback=fail)]), ["x"])
    assert found.exit_code == 1 and found.output == "vtr: out of memory: of the test\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell):
    assert "_VTR_COMPLETE" in vtr("completion", shell)


def test_completion_completes(tmp_path):
    environment = {**os.environ, "_VTR_COMPLETE": "bash_complete", "COMP_WORDS": "vtr se", "COMP_CWORD": "1"}
    output = subprocess.run(
        [sys.executable, "-c", "from vtr.cli import main; main(prog_name='vtr')"],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert output.split() == ["plain,search", "plain,serve"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (61.25, "1:01.2"), (3723.4, "1:02:03.4")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_small_helpers():
    assert size_text(0) == "0 B" and size_text(1536) == "1.5 KiB" and size_text(5 << 40) == "5120.0 GiB"
    assert printable("a\nb\x1b[31m\udce9") == "a\\nb\\x1b[31m\\xe9"
