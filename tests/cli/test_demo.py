"""`vtr demo`, and the clips that come with it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from vtr.builtin import models_folder
from vtr.cli import main
from vtr.decode import read_clip
from vtr.demo.clips import DemoSearch, Verdict, judge, load_clips
from vtr.errors import UsageError
from vtr.types import Hit, Moment, Sampling

LIMIT = 2_500_000  # bytes of the clips together, for a small package


def demo(*arguments, status=0):
    result = CliRunner().invoke(main, ["demo", *map(str, arguments)])
    assert result.exit_code == status, f"{result.exit_code}: {result.output}\n{result.exception!r}"
    return result.output


def test_the_clips_are_all_there():
    clips = load_clips()
    files = {path.name for path in clips.folder.glob("*.mp4")}
    assert files == set(clips.captions) and len(files) >= 30
    assert sum(path.stat().st_size for path in clips.folder.iterdir()) <= LIMIT
    assert len(clips.searches) >= 10 and len({search.text for search in clips.searches}) == len(
        clips.searches
    )
    for search in clips.searches:
        clip = read_clip(clips.folder / search.clip, Sampling(size=32))
        assert clip.codec == "h264"
        times = [0.0, *(time for span in search.spans for time in span), clip.duration + 0.05]  # half a frame
        assert times == sorted(times) and search.spans


def test_pictures_have_their_licences():
    folder = load_clips().folder
    catalog = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
    licences = {item["style"]: item["licence"] for item in catalog["pictures"]}
    assert {clip["style"] for clip in catalog["clips"]} == set(licences)
    assert set(licences.values()) == {"Apache-2.0", "MIT"}
    assert "Microsoft Corporation" in (folder / "LICENSE-fluent-emoji").read_text(encoding="utf-8")
    notice = (Path(__file__).parents[2] / "NOTICE").read_text(encoding="utf-8")
    for owner in ("Noto Emoji", "Fluent Emoji", "Firefox OS Emoji", "Emoji One"):
        assert owner in notice


def test_whole(random_mini, tmp_path):
    output = demo("--folder", tmp_path / "demo")
    clips = load_clips()
    assert "36 added, 0 unchanged, 0 failed" in output and "mini-xclip" in output
    assert "random weights" in output
    for search in clips.searches:
        assert f"search “{search.text}”" in output and search.clip in output
    rows = re.findall(r"^[123]\t", output, flags=re.MULTILINE)
    assert len(rows) == 3 * len(clips.searches)
    found = int(re.search(r"^(\d+) of 14 searches", output, flags=re.MULTILINE)[1])
    assert output.count("right: it shows this") == found
    assert "0 added, 36 unchanged" in demo("--folder", tmp_path / "demo", "--query", "a cat")


def test_own_videos_and_another_model(random_mini, clips, tmp_path):
    output = demo("--folder", tmp_path / "demo", "--videos", clips, "--query", "a red square")
    assert "8 added" in output and output.count(".mp4") == 5
    output = demo("--folder", tmp_path / "demo", "--videos", clips, "--model", "mini-ea")
    assert "8 added" in output and "mini-ea" in output  # an index of its own
    assert "no video" in demo("--folder", tmp_path / "d", "--videos", tmp_path, status=2)


def test_without_models(tmp_path, monkeypatch):
    monkeypatch.setenv("VTR_MODELS", str(tmp_path))
    output = demo("--folder", tmp_path / "demo", status=1)
    assert "install vtr again" in output and not (tmp_path / "demo").exists()


def test_without_clips(tmp_path):
    with pytest.raises(UsageError, match="--videos FOLDER"):
        load_clips(tmp_path)


def hit(name, *moments, duration=8.0):
    return Hit(0, Path("/x") / name, 1.0, [Moment(*m) for m in moments], duration=duration)


SEARCH = DemoSearch("a dog", "dog.mp4", ((3.0, 8.0),))


@pytest.mark.parametrize(
    ("hits", "verdict"),
    [
        ([hit("dog.mp4", (2.5, 8.0, 0.9), (0.0, 1.0, 0.1))], Verdict(1, True)),
        (
            [hit("cat.mp4", (2.5, 8.0, 0.9)), hit("dog.mp4", (0.0, 1.0, 0.9), (3.0, 8.0, 0.1))],
            Verdict(2, False),
        ),
        ([hit("dog.mp4")], Verdict(1, False)),
        ([hit("dog.mp4", (2.5, 5.0, 1.0), duration=5.0)], Verdict(1, None)),  # it shows nothing else
        ([hit("cat.mp4", (2.5, 8.0, 0.9))], Verdict(None)),
        ([], Verdict(None)),
    ],
)
def test_judging(hits, verdict):
    assert judge(SEARCH, hits) == verdict


def test_people_agree_with_the_shipped_model(tmp_path, monkeypatch):
    """The weights reach 10 of 14 searches and 9 of 9 moments; where rounding differs one may be lost."""
    monkeypatch.delenv("VTR_MODELS", raising=False)
    if not (models_folder() / "models.json").exists():
        pytest.skip("the package has no built-in models yet")
    output = demo("--folder", tmp_path / "demo")
    first, searches, fit, moments = map(
        int,
        re.search(r"^(\d+) of (\d+) searches .* In (\d+) of the (\d+)", output, flags=re.MULTILINE).groups(),
    )
    assert (searches, moments) == (14, 9)
    assert first >= 9 and fit >= 8, output
