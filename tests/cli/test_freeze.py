"""`vtr freeze`: what is in the file is what was in the index."""

import json
import os
import shutil

import numpy as np
import pytest
from support import run_command

import vtr
from vtr import _core
from vtr.cli import main


def run(*arguments, status=0):
    return run_command(main, *arguments, status=status)


@pytest.fixture(scope="module")
def engine(models, clips, tmp_path_factory):
    """An index of five clips; the name of one of them is not text."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        shutil.copy(clips / f"clip{number}.mp4", folder)
    os.rename(folder / "clip3.mp4", os.fsencode(folder) + b"/caf\xe9.mp4")
    engine = vtr.Engine(models("xclip")[1], tmp_path_factory.mktemp("index") / "index", precision="fp32")
    engine.index(folder)
    return engine


@pytest.mark.parametrize(("storage", "tolerance"), [("float16", 0), ("bfloat16", 1.0)])
def test_the_file_answers_as_the_index_does(engine, storage, tolerance, tmp_path):
    index, file = engine.store().path, tmp_path / "videos.vtrbank"
    result = run("freeze", "--index", index, "-o", file, "--storage", storage, "--json")
    facts = json.loads(result.stdout)
    assert facts["videos"] == 5 and facts["bytes"] == file.stat().st_size
    assert (facts["storage"], facts["scoring"], facts["path"]) == (storage, "xclip", str(file))
    bank = _core.Bank.load(file)
    text = engine.encode_text(["a red square"])
    scores = bank.score(_core.Query(bank.model, text.sentence, text.words))
    np.testing.assert_allclose(scores, engine.bank().scores(text), rtol=0, atol=tolerance)
    records = engine.bank().snapshot.records()
    assert {record.id: os.fsencode(record.path) for record in records} == {
        number: bank.path(number) for number in bank.ids().tolist()
    }


def test_it_says_what_it_did_and_replaces_what_was_there(engine, tmp_path):
    file = tmp_path / "bank"
    file.write_text("something else")
    result = run("freeze", "--index", engine.store().path, "-o", file)
    assert "5 videos" in result.stdout and "xclip" in result.stdout and str(file) in result.stdout
    assert len(_core.Bank.load(file)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--index": "nowhere"}, 2, "nowhere"),
        ({"-o": "missing/bank"}, 1, "missing/bank"),
        ({"--storage": "int8"}, 2, "int8"),
        ({"--model": "nowhere"}, 1, "nowhere"),
        ({"--model": "OTHER"}, 1, "was made with"),
    ],
)
def test_mistakes_get_one_clear_line(engine, models, changes, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if changes.get("--model") == "OTHER":
        changes = {"--model": models("teachclip")[1]}
    options = {"--index": engine.store().path, "-o": "bank", **changes}
    result = run("freeze", *[word for option in options.items() for word in option], status=status)
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "bank").exists()


def test_a_cross_encoder_cannot_be_frozen(models, clips, tmp_path):
    engine = vtr.Engine(models("clip4clip-tightTransf")[1], tmp_path / "index", precision="fp32")
    engine.index(clips / "clip0.mp4")
    result = run("freeze", "--index", tmp_path / "index", "-o", tmp_path / "bank", status=2)
    assert "cross" in result.output and not (tmp_path / "bank").exists()


def test_an_empty_index_is_an_empty_bank(engine, tmp_path):
    other = engine.with_index(tmp_path / "index")
    other.store(create=True)
    run("freeze", "--index", tmp_path / "index", "-o", tmp_path / "bank")
    assert len(_core.Bank.load(tmp_path / "bank")) == 0
