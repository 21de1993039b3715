"""``python -m vtr.training.mini.demo_clips`` renders the clips that `vtr demo` searches, with their captions.

What they show is in `demo_script.py`. The pictures are those whose licences ask for no more than a notice
(`STYLES`); `python -m vtr.training.fetch` gets them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from vtr.errors import UsageError

from ..clips import World, caption, draw_frames, full_claim, load_world, satisfies
from ..clips.plan import settled, timed
from ..clips.scene import Actor, Scene, Segment
from ..clips.write import encode
from ..command import command
from ..pictures import SOURCES
from .demo_script import CLIPS, SEARCHES, Made, Search

FOLDER = Path(__file__).parents[2] / "python" / "vtr" / "demo" / "videos"
CATALOG = "clips.json"
STYLES = ("noto", "blob", "fluent-flat", "fluent-3d")  # Apache-2.0 and MIT
WIDTH, HEIGHT, FPS = 320, 240, 12
LIMIT = 2_500_000  # bytes of the whole folder


class First(Random):
    """Takes the first of everything: the plainest wording."""

    def choice(self, seq: Any) -> Any:
        return seq[0]

    def random(self) -> float:
        return 0.99


def scene_of(made: Made, world: World) -> Scene:
    """The scene of a clip, checked: its things are in the style and can be seen against their backgrounds."""
    if made.style not in STYLES:
        raise UsageError(f"{made.name}: expected a style of {', '.join(STYLES)}, got {made.style!r}")
    segments = tuple(_staged(made, segment, world) for segment in made.segments)
    return timed(Scene(made.style, WIDTH, HEIGHT, FPS, segments))


def _staged(made: Made, segment: Segment, world: World) -> Segment:
    random = Random(f"demo/{made.name}")
    actors = []
    for given in segment.actors:
        actor = replace(given, code=world.pick_code(First(), made.style, given.concept))
        actor = actor if len(segment.actors) > 1 else _placed(actor, random)
        if not world.stands_out(made.style, actor, segment.background):
            raise UsageError(f"{made.name}: {actor.concept} does not stand out against {segment.background}")
        actors.append(actor)
    return replace(segment, actors=tuple(actors))


def _placed(actor: Actor, random: Random) -> Actor:
    """The actor with a size that suits it, half as far from the centre as it may be."""
    actor = settled(random, actor)
    return replace(actor, x=round(actor.x / 2, 3), y=round(actor.y / 2, 3))


def answers(search: Search, scenes: dict[str, Scene], world: World) -> list[str]:
    """The clips that bear a search's claim out."""
    return [name for name, scene in scenes.items() if satisfies(scene, search.claim, world.concepts)]


def write_demo(folder: Path, world: World, limit: int = LIMIT) -> int:
    """Render every clip into ``folder`` and write ``clips.json``; returns the bytes of all.

    Raises:
        UsageError: a clip cannot be made so, a search has another answer than its own, or it is too much.
    """
    scenes = {made.name: scene_of(made, world) for made in CLIPS}
    for search in SEARCHES:
        if (found := answers(search, scenes, world)) != [search.clip]:
            raise UsageError(f"expected only {search.clip} to answer {search.text!r}, got {', '.join(found)}")
    folder.mkdir(parents=True, exist_ok=True)
    if other := {path.stem for path in folder.glob("*.mp4")} - set(scenes):
        raise UsageError(f"{folder}: expected no clips but the demo's, found {min(other)}.mp4: remove it")
    for name, scene in scenes.items():
        encode(folder / f"{name}.mp4", scene, draw_frames(scene, world.pictures))
    text = json.dumps(catalog(scenes, world), indent=1, ensure_ascii=False)
    (folder / CATALOG).write_text(text + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > limit:
        raise UsageError(f"the demo's clips may have {limit} bytes together, these have {size}: shorten some")
    return size


def catalog(scenes: dict[str, Scene], world: World) -> dict[str, Any]:
    """What ``clips.json`` holds."""
    clips = [
        {
            "file": f"{name}.mp4",
            "caption": caption(full_claim(scene), world.concepts, First()),
            "style": scene.style,
        }
        for name, scene in scenes.items()
    ]
    searches = [
        {
            "text": search.text,
            "file": f"{search.clip}.mp4",
            "spans": _joined([scenes[search.clip].told[number] for number in search.segments]),
        }
        for search in SEARCHES
    ]
    used = {scene.style for scene in scenes.values()}
    pictures = [
        {"style": source.style, "licence": source.licence, "by": source.attribution}
        for source in SOURCES
        if source.style in used
    ]
    return {"pictures": pictures, "clips": clips, "searches": searches}


def _joined(segments: Sequence[Segment]) -> list[list[float]]:
    """The time spans of segments, in seconds; neighbours as one."""
    spans: list[list[float]] = []
    for segment in segments:
        start, end = round(segment.start, 3), round(segment.end, 3)
        if spans and spans[-1][1] == start:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    return spans


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m vtr.training.mini.demo_clips")
    parser.add_argument("--into", type=Path, default=FOLDER, help="default: %(default)s")
    parser.add_argument("--pictures", type=Path, help="the folder that training.fetch filled")
    given = parser.parse_args(arguments)
    size = write_demo(given.into, load_world(given.pictures))
    print(f"{len(CLIPS)} clips and {len(SEARCHES)} searches, {size} of {LIMIT} bytes, in {given.into}")


if __name__ == "__main__":
    sys.exit(main())
