"""Annotation files: MSR-VTT, MSVD, LSMDC, DiDeMo, ActivityNet, VATEX as published, and generic ones.

Each protocol is one entry of ``PROTOCOLS``: a test that recognises its files and a reader that gives
(video, caption) pairs. What is read out of each follows the data loaders published with CLIP4Clip: DiDeMo
and ActivityNet captions are joined to one paragraph a video; MSVD, VATEX and full MSR-VTT keep every
caption.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vtr.errors import UsageError
from vtr.evaluation.annotations import Annotations, Pair, from_pairs
from vtr.evaluation.documents import Document, read_document, read_names
from vtr.evaluation.names import list_some, video_key

MSVD_ID = re.compile(r"\S{11}_\d+_\d+")  # YouTube id, start, end
MSVD_TABLE = ["VideoID", "Start", "End", "Language", "Description"]  # columns of the corpus, among others
VATEX_ID = re.compile(r"\S{11}_\d{6}_\d{6}")
LSMDC_TIME = re.compile(r"[\d.:]+")
VIDEO_COLUMNS = ["video", "video_id", "videoid", "clip", "clip_id", "vid", "file", "filename", "path"]
CAPTION_COLUMNS = ["caption", "captions", "sentence", "sentences", "text", "texts", "description", "query"]


@dataclass(frozen=True)
class Protocol:
    """How one kind of annotation file is recognised and read."""

    title: str
    expects: str  # shown when a file is not of this kind
    matches: Callable[[Document], bool]
    pairs: Callable[[Document], Iterable[tuple[Any, Any]]]
    test_videos: int | None = None  # videos in the published test set


def read_annotations(
    path: str | os.PathLike[str],
    protocol: str = "auto",
    split: str | os.PathLike[str] | None = None,
) -> Annotations:
    """Read the captions of a test set.

    Args:
        protocol: a key of ``PROTOCOLS``, or "auto" for the first that recognises the file.
        split: a file that lists the videos of the test set, in the order that the result then has; for
            MSR-VTT's JSON also the name of a split in it ("test", "validate", "train"; default "test").

    Raises:
        UsageError: the file is not of that kind, is damaged, or does not hold what the split asks for.
    """
    document = read_document(path)
    name = protocol if protocol != "auto" else _detect(document)
    if name not in PROTOCOLS:
        raise UsageError(f"expected protocol as auto, {', '.join(PROTOCOLS)}; got {name!r}")
    kind = PROTOCOLS[name]
    if not kind.matches(document):
        raise UsageError(f"{path} is not in the format of {kind.title}: expected {kind.expects}")
    notes = [f"{document.path.name} is in the format of {kind.title}{_columns_note(name, document)}"]
    pairs = [_checked(document, pair) for pair in kind.pairs(document)]
    wanted: list[str] | None = None
    if name == "msrvtt" and (split is None or not os.path.isfile(split)):
        wanted = _msrvtt_split(document, split)
        notes.append(f"the split {os.fspath(split or 'test')!r} of the file")
    elif split is not None:
        wanted = read_names(split)
        notes.append(f"the {len(wanted):,} videos listed in {os.path.basename(split)}")
    if wanted is not None:
        pairs = _in_order_of(pairs, wanted, document)
    annotations = from_pairs(name, pairs, notes)
    count = len(annotations.videos)
    if kind.test_videos not in (None, count):
        annotations.notes.append(
            f"{count:,} videos, where the published test set has {kind.test_videos:,}: not comparable with "
            f"published figures{'' if wanted is not None else ' (--split FILE picks the test videos)'}"
        )
    return annotations


def _detect(document: Document) -> str:
    for name, protocol in PROTOCOLS.items():
        if protocol.matches(document):
            return name
    raise UsageError(
        f"{document.path} is in no format that vtr knows. Simplest is a CSV file with the columns video and "
        "caption; or " + "; or ".join(f"{p.title}: {p.expects}" for p in PROTOCOLS.values() if p.test_videos)
    )


def _checked(document: Document, pair: tuple[Any, Any]) -> Pair:
    video, text = pair
    if not isinstance(video, str) or not video.strip() or not isinstance(text, str):
        raise UsageError(
            f"{document.path}: expected a video and a caption as texts, got {video!r:.60} and {text!r:.60}"
        )
    return video.strip(), text


def _in_order_of(pairs: Sequence[Pair], wanted: Sequence[str], document: Document) -> list[Pair]:
    """The pairs of the wanted videos, video by video."""
    captions: dict[str, list[Pair]] = {}
    for pair in pairs:
        captions.setdefault(video_key(pair[0]), []).append(pair)
    without = [name for name in wanted if video_key(name) not in captions]
    if without:
        raise UsageError(
            f"{document.path} has no caption for {len(without):,} of {len(wanted):,} videos of the split: "
            f"{list_some(without)}"
        )
    return [pair for key in dict.fromkeys(map(video_key, wanted)) for pair in captions[key]]


# ---- MSR-VTT ----------------------------------------------------------------------------------------


def _is_msrvtt_1ka(document: Document) -> bool:
    columns = set(document.header)
    return {"video_id", "sentence"} <= columns and bool({"key", "vid_key"} & columns)


def _msrvtt_1ka(document: Document) -> Iterator[Pair]:
    header, rows = document.table()
    video, sentence = header.index("video_id"), header.index("sentence")
    return ((row[video], row[sentence]) for row in rows)


def _is_msrvtt(document: Document) -> bool:
    value = document.value
    return isinstance(value, dict) and _records(value.get("sentences"), "video_id", "caption")


def _msrvtt(document: Document) -> Iterator[tuple[Any, Any]]:
    return ((item["video_id"], item["caption"]) for item in document.value["sentences"])


def _msrvtt_split(document: Document, split: str | os.PathLike[str] | None) -> list[str]:
    """Videos of a named split ("test" if ``None``), in the order of the file's list of videos."""
    videos = document.value.get("videos")
    if not _records(videos, "video_id", "split"):
        if split is not None:
            raise UsageError(f"the split {split} is not a file, and {document.path} names no splits itself")
        raise UsageError(
            f"{document.path} does not say which videos are for testing: list them in a file (--split)"
        )
    name = "test" if split is None else os.fspath(split)
    wanted = [str(item["video_id"]) for item in videos if item["split"] == name]
    if not wanted:
        names = ", ".join(sorted({str(item["split"]) for item in videos}))
        raise UsageError(
            f"{name!r} is neither a split of {document.path} ({names}) nor a file that lists videos (--split)"
        )
    return wanted


# ---- VATEX, DiDeMo, ActivityNet ---------------------------------------------------------------------


def _is_vatex(document: Document) -> bool:
    value = document.value
    if isinstance(value, dict):  # as TC-MGC's loader has it
        return _mapping_of(value, list) and all(map(VATEX_ID.fullmatch, value))
    return _records(value, "videoID", "enCap")


def _vatex(document: Document) -> Iterator[tuple[Any, Any]]:
    value = document.value
    videos = (
        value.items() if isinstance(value, dict) else ((item["videoID"], item["enCap"]) for item in value)
    )
    return ((video, caption) for video, captions in videos for caption in _listed(captions))


def _is_didemo(document: Document) -> bool:
    return _records(document.value, "video", "description", "times") and not document.json_lines


def _didemo(document: Document) -> Iterator[tuple[Any, Any]]:
    descriptions: dict[str, list[Any]] = {}
    for item in document.value:
        video, description = _checked(document, (item["video"], item["description"]))
        descriptions.setdefault(video, []).append(description)
    return ((video, " ".join(texts)) for video, texts in descriptions.items())


def _is_activitynet(document: Document) -> bool:
    return _mapping_of(document.value, dict) and all(
        isinstance(item.get("sentences"), list) for item in document.value.values()
    )


def _activitynet(document: Document) -> Iterator[tuple[Any, Any]]:
    for video, item in document.value.items():
        yield video, " ".join(_checked(document, (video, text))[1] for text in item["sentences"])


# ---- MSVD, LSMDC ------------------------------------------------------------------------------------


def _is_msvd(document: Document) -> bool:
    value = document.value
    if value is None:
        video, _, caption = _entries(document)[0].partition(" ")
        return _is_msvd_table(document) or bool(MSVD_ID.fullmatch(video) and caption.strip())
    return _mapping_of(value, list) and (
        all(map(MSVD_ID.fullmatch, value))
        or all(isinstance(caption, list) for captions in value.values() for caption in captions)
    )


def _msvd(document: Document) -> Iterator[tuple[Any, Any]]:
    if _is_msvd_table(document):
        header, rows = document.table()
        places = [header.index(name) for name in MSVD_TABLE]
        for row in rows:
            video, start, end, language, caption = (row[place] for place in places)
            if language == "English" and caption.strip():
                yield f"{video}_{start}_{end}", caption
        return
    if document.value is None:
        for line in _entries(document):
            video, _, caption = line.partition(" ")
            yield video, caption
        return
    for video, captions in document.value.items():
        for words in captions:
            yield video, " ".join(_checked(document, (video, word))[1] for word in _listed(words))


def _is_msvd_table(document: Document) -> bool:
    return set(MSVD_TABLE) <= set(document.header)


def _entries(document: Document) -> list[str]:
    """Lines that are not comments: the corpus' own file opens with some."""
    return [line for line in document.lines if not line.startswith("#")] or [""]


def _is_lsmdc(document: Document) -> bool:
    if document.value is not None:
        return False
    fields = document.lines[0].split("\t")
    return len(fields) == 6 and all(LSMDC_TIME.fullmatch(field.strip()) for field in fields[1:5])


def _lsmdc(document: Document) -> Iterator[Pair]:
    for number, line in enumerate(document.lines, 1):
        fields = line.split("\t")
        if len(fields) != 6:
            raise UsageError(
                f"{document.path}, entry {number}: expected 6 fields separated by tabs, got {len(fields)}"
            )
        yield fields[0], fields[5]


# ---- generic files ----------------------------------------------------------------------------------


def _is_csv(document: Document) -> bool:
    return None not in _fields(document.header)


def _csv(document: Document) -> Iterator[Pair]:
    header, rows = document.table()
    video, caption = (header.index(str(name)) for name in _fields(header))
    return ((row[video], row[caption]) for row in rows)


def _is_json(document: Document) -> bool:
    return _mapping_of(document.value, str, list) or _are_pairs(_listed(document.value))


def _json(document: Document) -> Iterator[tuple[Any, Any]]:
    value = document.value
    if isinstance(value, dict) and not _are_pairs([value]):
        entries: Iterable[Any] = value.items()
    else:  # a dict here is JSON lines of one line
        entries = ([item[name] for name in _fields(item)] for item in _listed(value))
    return ((video, caption) for video, captions in entries for caption in _listed(captions))


def _are_pairs(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) and None not in _fields(item) for item in items)


def _fields(names: Iterable[str]) -> tuple[str | None, str | None]:
    """The columns (or keys) that hold the video and the caption; of several the one named first above."""
    given = {name.lower(): name for name in names}
    video = next((given[name] for name in VIDEO_COLUMNS if name in given), None)
    return video, next((given[name] for name in CAPTION_COLUMNS if name in given), None)


def _columns_note(name: str, document: Document) -> str:
    """Which columns were taken, where the format leaves it open."""
    if name == "csv":
        video, caption = _fields(document.header)
    elif name == "json" and _are_pairs(_listed(document.value)):
        video, caption = _fields(_listed(document.value)[0])
    else:
        return ""
    return f", videos from {video!r} and captions from {caption!r}"


# ---- shapes of JSON ---------------------------------------------------------------------------------


def _records(items: Any, *keys: str) -> bool:
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, dict) and all(key in item for key in keys) for item in items)
    )


def _mapping_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(item, kinds) for item in value.values())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


PROTOCOLS = {  # in the order in which they are tried: the particular before the general
    "msrvtt-1ka": Protocol(
        "MSR-VTT 1k-A", "CSV with the columns key, vid_key, video_id, sentence",
        _is_msrvtt_1ka, _msrvtt_1ka, 1000,
    ),
    "msrvtt": Protocol(
        "MSR-VTT", 'JSON {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}',
        _is_msrvtt, _msrvtt, 2990,
    ),
    "vatex": Protocol(
        "VATEX", 'JSON [{"videoID", "enCap": [captions]}] or {videoID: [captions]}', _is_vatex, _vatex, 1500
    ),
    "didemo": Protocol("DiDeMo", 'JSON [{"video", "description", "times"}]', _is_didemo, _didemo, 1004),
    "activitynet": Protocol(
        "ActivityNet Captions", 'JSON {video: {"sentences": [captions]}}',
        _is_activitynet, _activitynet, 4917,
    ),
    "msvd": Protocol(
        "MSVD", "JSON {video: [[words]]} (raw-captions, converted), lines of video and caption, or the "
        "corpus' table",
        _is_msvd, _msvd, 670,
    ),
    "lsmdc": Protocol(
        "LSMDC", "6 fields separated by tabs: clip, four times, sentence", _is_lsmdc, _lsmdc, 1000
    ),
    "csv": Protocol("CSV", "a header that names a column video and a column caption", _is_csv, _csv),
    "json": Protocol(
        "JSON", 'a list or lines of {"video", "caption"}, or {video: caption or captions}', _is_json, _json
    ),
}  # fmt: skip
