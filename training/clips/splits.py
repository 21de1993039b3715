"""What training may draw, and what is held out: unseen combinations and one unseen drawing style.

The rule: every combination key of ``claims.keys`` ("cat|motion:spin", "apple|count:3", "cat|with:rocket")
falls into one of ten parts by a hash of its text. Parts 0 and 1 are the test's, part 2 is validation's, the
rest is training's. A training clip holds only training keys, in its distractors too. In a clip of the
"combinations" split the two concepts are a test pair or every told step holds a test key, and every caption
says something with a test key, so no caption content of it occurs in training. The "style" split draws
training's combinations in the held-out style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from vtr.errors import UsageError

from .claims import Claim, full_claim, keys, pair_keys, step_keys
from .scene import Scene, Segment

HELD_OUT_STYLE = "twemoji"
SPLITS = ("train", "validation", "combinations", "style")
_PARTS = {0: "combinations", 1: "combinations", 2: "validation"}


@lru_cache(maxsize=1 << 18)
def part_of(key: str) -> str:
    """Which split a combination belongs to: "train", "validation" or "combinations"."""
    digest = hashlib.blake2s(key.encode(), digest_size=4).digest()
    return _PARTS.get(int.from_bytes(digest, "big") % 10, "train")


def check_split(split: str) -> str:
    """Return ``split``, or raise ``UsageError``."""
    if split not in SPLITS:
        raise UsageError(f"expected a split as one of {', '.join(SPLITS)}; got {split!r}")
    return split


def styles_of(split: str, available: Sequence[str]) -> tuple[str, ...]:
    """The drawing styles that a split draws, sorted."""
    held_out = check_split(split) == "style"
    found = tuple(sorted(style for style in available if (style == HELD_OUT_STYLE) == held_out))
    if not found:
        raise UsageError(
            f"the split {split} needs {'the style ' + HELD_OUT_STYLE if held_out else 'other styles'}, got "
            f"{', '.join(available)}: run `python -m vtr.training.fetch`"
        )
    return found


def own_part(split: str) -> str:
    """The part whose keys make a clip belong to the split."""
    return split if split in ("validation", "combinations") else "train"


def admits(split: str, scene: Scene) -> bool:
    """Whether a scene may be drawn for a split."""
    own = own_part(split)
    claim = full_claim(scene)
    distractors = [segment for segment in scene.segments if not segment.told]
    if any(part_of(key) != "train" for segment in distractors for key in _segment_keys(segment)):
        return False
    if any(part_of(key) not in (own, "train") for key in keys(claim)):
        return False
    return own == "train" or _told_apart(own, claim)


def says_own(split: str, claim: Claim) -> bool:
    """Whether a caption with this claim says something that belongs to the split alone."""
    own = own_part(split)
    return own == "train" or any(part_of(key) == own for key in keys(claim))


def _told_apart(own: str, claim: Claim) -> bool:
    if any(part_of(key) == own for key in pair_keys(claim)):
        return True
    return all(any(part_of(key) == own for key in step_keys(step)) for step in claim)


def _segment_keys(segment: Segment) -> list[str]:
    alone = Scene("", 0, 0, 1, (Segment(0, 1, segment.background, segment.actors, True, segment.relation),))
    return list(keys(full_claim(alone)))
