"""Which file is meant: videos of an annotation file and files on disk, matched by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from os.path import splitext
from pathlib import Path, PurePath

from vtr.errors import UsageError
from vtr.files import VIDEO_SUFFIXES

CLIP_TIMES = re.compile(r"_\d{6}_\d{6}$")  # VATEX: start and end in the YouTube video


def video_key(name: str) -> str:
    """The name of a file or of an annotated video without folders and video suffixes ("a.avi.mp4": "a")."""
    key = unicodedata.normalize("NFC", PurePath(name).name)
    while splitext(key)[1].lower() in VIDEO_SUFFIXES:
        key = splitext(key)[0]
    return key


def keys_of(video: str, protocol: str) -> Iterator[str]:
    """Keys that the file of an annotated video may go by, the likeliest first."""
    key = video_key(video)
    yield key
    if protocol in ("activitynet", "vatex"):  # distributed with and without v_ before the YouTube id
        bare = key.removeprefix("v_")
        yield from (bare, "v_" + bare)
        if protocol == "vatex":
            yield CLIP_TIMES.sub("", bare)


def match_videos(videos: Sequence[str], paths: Sequence[Path], protocol: str) -> list[int | None]:
    """For each annotated video the position of its file in ``paths``, ``None`` if there is none.

    Raises:
        UsageError: several files answer to one name, or several names to one file.
    """
    by_key: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        by_key.setdefault(video_key(str(path)), []).append(position)
    matches = [_match(video, paths, by_key, protocol) for video in videos]
    taken: dict[int, str] = {}
    for video, match in zip(videos, matches, strict=True):
        if match is not None and taken.setdefault(match, video) != video:
            raise UsageError(
                f"the annotated videos {taken[match]!r} and {video!r} both mean the file {paths[match]}: "
                "give files and videos names that tell them apart"
            )
    return matches


def _match(video: str, paths: Sequence[Path], by_key: dict[str, list[int]], protocol: str) -> int | None:
    for key in keys_of(video, protocol):
        found = by_key.get(key, [])
        if len(found) > 1:  # the annotation may name folder or suffix
            parts = PurePath(video).parts
            named = [position for position in found if paths[position].parts[-len(parts) :] == parts]
            if len(named) != 1:
                files = list_some([str(paths[position]) for position in found])
                raise UsageError(
                    f"several files answer to the video {video!r}: {files}; remove all but one or write the "
                    "folder into the annotations"
                )
            found = named
        if found:
            return found[0]
    return None


def list_some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    text = ", ".join(names[:most])
    return text + (f" and {len(names) - most:,} more" if len(names) > most else "")
