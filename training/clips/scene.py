"""What a clip shows, as plain records: from these alone the frames and the true captions follow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (240, 130, 30),
    "yellow": (248, 208, 40),
    "green": (50, 160, 70),
    "blue": (40, 95, 220),
    "purple": (128, 60, 165),
    "pink": (245, 140, 185),
    "brown": (120, 75, 40),
    "black": (24, 24, 26),
    "white": (244, 244, 244),
    "grey": (135, 138, 142),
}
TINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
LUMINANCE = (0.3, 0.59, 0.11)
TINT_FLOOR = 0.55  # how bright black becomes in a tinted picture; white is 1
SHINE, SHINE_FROM = 0.25, 0.8  # of what is lighter than the second, this share shines white
SIZES = ("small", "big")
TURNS = {"upside down": 180.0, "on its side": 90.0}  # degrees clockwise
MOTIONS = (
    "stay", "right", "left", "up", "down", "bounce", "spin", "grow", "shrink", "enter-left", "enter-right",
    "exit-left", "exit-right", "take off", "fall", "circle", "shake", "blink",
)  # fmt: skip
IN_PLACE = ("stay", "bounce", "spin", "grow", "shrink", "shake", "blink")
PATTERNS = ("stripes", "checks")
PLACES = ("night", "sea", "meadow", "snow", "desert")
UNNAMED = ("gradient", "noise", "blobs")  # backgrounds that no caption mentions


@dataclass(frozen=True)
class Background:
    """What is behind the actors; ``colours`` are names in ``COLOURS`` (none for places)."""

    kind: str  # "plain", or one of PATTERNS, PLACES, UNNAMED
    colours: tuple[str, ...]
    seed: int  # of its texture

    @property
    def name(self) -> str | None:
        """What a caption may call it: a colour, a pattern or a place."""
        if self.kind in UNNAMED:
            return None
        return self.colours[0] if self.kind == "plain" else self.kind


@dataclass(frozen=True)
class Actor:
    """One concept, once or several times, that does one thing.

    Lengths are in units of the frame's short side; (0, 0) is the centre, x to the right, y downwards.
    """

    concept: str
    code: str  # which picture of the concept
    motion: str = "stay"
    count: int = 1
    tint: str | None = None
    size: str | None = None
    turn: str | None = None
    layout: int = 0  # which arrangement, where count > 1
    x: float = 0.0
    y: float = 0.0
    scale: float = 0.4  # longer side of a picture
    pace: float = 0.5  # 0 to 1: how fast, in the motion's own range


@dataclass(frozen=True)
class Segment:
    """A stretch of the clip without a cut. ``relation`` holds between its first and its second actor."""

    start: float  # seconds
    end: float
    background: Background
    actors: tuple[Actor, ...]
    told: bool  # whether captions speak of it; otherwise it distracts
    relation: str | None = None  # "left of", "above"


@dataclass(frozen=True)
class Scene:
    """A clip."""

    style: str
    width: int
    height: int
    fps: int
    segments: tuple[Segment, ...]

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return round(self.segments[-1].end * self.fps)

    @property
    def told(self) -> tuple[Segment, ...]:
        """The segments that captions speak of, in order."""
        return tuple(segment for segment in self.segments if segment.told)

    def segment_at(self, seconds: float) -> Segment:
        """The segment that is on screen at a time."""
        for segment in self.segments:
            if seconds < segment.end:
                return segment
        return self.segments[-1]

    def as_json(self) -> dict[str, Any]:
        """The scene in JSON's types; ``from_json`` reads it."""
        return asdict(self)


def from_json(value: dict[str, Any]) -> Scene:
    """The scene that ``Scene.as_json`` gave, also after a round trip through a file."""
    segments = []
    for item in value["segments"]:
        background = Background(**{**item["background"], "colours": tuple(item["background"]["colours"])})
        actors = tuple(Actor(**actor) for actor in item["actors"])
        segments.append(Segment(**{**item, "background": background, "actors": actors}))
    return Scene(**{**value, "segments": tuple(segments)})
