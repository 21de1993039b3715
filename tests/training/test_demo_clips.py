"""The demo's script: its searches have one answer each, and what is shipped is what it makes."""

import json
from dataclasses import replace

import pytest

from vtr.errors import UsageError
from vtr.training.mini import demo_clips
from vtr.training.mini.demo_clips import FOLDER, First, answers, scene_of, write_demo
from vtr.training.mini.demo_script import CLIPS, SEARCHES, Made, Search, a, plain, shows


@pytest.fixture(scope="module")
def scenes(real_world):
    return {made.name: scene_of(made, real_world) for made in CLIPS}


def test_each_search_has_one_answer(scenes, real_world):
    assert len(scenes) == len(CLIPS) == 36
    for search in SEARCHES:
        assert answers(search, scenes, real_world) == [search.clip], search.text


def test_the_shipped_catalog_is_up_to_date(scenes, real_world):
    shipped = json.loads((FOLDER / "clips.json").read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(demo_clips.catalog(scenes, real_world)))


def test_things_to_find_come_with_others(scenes):
    """Enough clips show more than they are about; all fit the twelve frames of a model."""
    assert sum(len(scene.segments) > 1 for scene in scenes.values()) >= 12
    assert all(scene.segments[-1].end <= 12 for scene in scenes.values())


def small(world, monkeypatch, clips, searches):
    monkeypatch.setattr(demo_clips, "STYLES", world.pictures.styles)
    monkeypatch.setattr(demo_clips, "CLIPS", clips)
    monkeypatch.setattr(demo_clips, "SEARCHES", searches)


BOAT = Made("boat", "inked", (shows(plain("black"), a("boat", "left"), seconds=1),))
CAT = Made("cat", "inked", (shows(plain("white"), a("cat", "bounce"), seconds=2),))
FIND = Search("a boat", "boat", SEARCHES[-1].claim)


def test_writing(world, monkeypatch, tmp_path):
    claim = (replace(FIND.claim[0], actors=(replace(FIND.claim[0].actors[0], concept="boat"),)),)
    find = replace(FIND, claim=claim)
    small(world, monkeypatch, (BOAT, CAT), (find,))
    size = write_demo(tmp_path, world)
    assert {path.name for path in tmp_path.iterdir()} == {"boat.mp4", "cat.mp4", "clips.json"}
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())
    written = json.loads((tmp_path / "clips.json").read_text(encoding="utf-8"))
    assert [clip["caption"] for clip in written["clips"]] == [
        "a boat moves to the left on a black background",
        "a cat bounces on a white background",
    ]
    assert written["searches"] == [{"text": "a boat", "file": "boat.mp4", "spans": [[0.0, 1.0]]}]
    with pytest.raises(UsageError, match=rf"these have {size}"):
        write_demo(tmp_path, world, limit=size - 1)
    (tmp_path / "mine.mp4").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"found mine\.mp4"):
        write_demo(tmp_path, world)
    small(world, monkeypatch, (BOAT, replace(BOAT, name="other")), (find,))
    with pytest.raises(UsageError, match="only boat to answer 'a boat', got boat, other"):
        write_demo(tmp_path / "new", world)


def test_what_cannot_be_made(world, monkeypatch):
    small(world, monkeypatch, (), ())
    with pytest.raises(UsageError, match="does not stand out"):
        scene_of(replace(BOAT, segments=(shows(plain("blue"), a("cat")),)), world)
    with pytest.raises(UsageError, match="a style of"):
        scene_of(replace(BOAT, style="emojione"), world)


def test_the_plainest_wording():
    assert First().choice("abc") == "a" and First().random() == First().random() == 0.99
