"""The clips that come with vtr: what each was made to show, and searches that each have one right answer.

`training/mini/demo_clips.py` makes them, with ``clips.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vtr.errors import UsageError
from vtr.types import Hit

FOLDER = Path(__file__).parent / "videos"
CATALOG = "clips.json"

Spans = tuple[tuple[float, float], ...]  # seconds


@dataclass(frozen=True)
class DemoSearch:
    """A text, the one clip that answers it, and when that clip shows it."""

    text: str
    clip: str
    spans: Spans


@dataclass(frozen=True)
class DemoClips:
    """A folder of clips with their captions by file name, and searches for them."""

    folder: Path
    captions: dict[str, str]
    searches: tuple[DemoSearch, ...]


@dataclass(frozen=True)
class Verdict:
    """How a search went."""

    place: int | None  # of the clip that was wanted, from 1; None if it is not among the hits
    moment_fits: bool | None = None  # whether its best moment is right; None if any moment of it would be


def load_clips(folder: Path = FOLDER) -> DemoClips:
    """The clips of a folder. Raises ``UsageError`` where it holds none."""
    try:
        catalog = json.loads((folder / CATALOG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the demo's clips are not in this installation ({error}): install vtr again, or search your own "
            "with --videos FOLDER"
        ) from None
    searches = tuple(
        DemoSearch(item["text"], item["file"], tuple((start, end) for start, end in item["spans"]))
        for item in catalog["searches"]
    )
    return DemoClips(folder, {clip["file"]: clip["caption"] for clip in catalog["clips"]}, searches)


def judge(search: DemoSearch, hits: Sequence[Hit]) -> Verdict:
    """Compare hits, best first, with what the search was made for.

    The best moment is right if its middle lies where the clip shows what the text says. A clip that shows
    that all the time, give or take the half second that sampled frames cannot tell, proves nothing.
    """
    for place, hit in enumerate(hits, 1):
        if hit.path.name == search.clip:
            if sum(end - start for start, end in search.spans) > hit.duration - 0.5:
                return Verdict(place)
            middles = [(moment.start + moment.end) / 2 for moment in hit.moments[:1]]
            fits = any(start <= middle <= end for middle in middles for start, end in search.spans)
            return Verdict(place, fits)
    return Verdict(None)
