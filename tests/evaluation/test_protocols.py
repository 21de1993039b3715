"""Every annotation format, on small files written as the published ones are."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from vtr.cli.eval import PROTOCOLS as CHOICES
from vtr.errors import UsageError
from vtr.evaluation import read_annotations
from vtr.evaluation.documents import read_names
from vtr.evaluation.protocols import PROTOCOLS

MSRVTT_1KA = """key,vid_key,video_id,sentence
ret0,msr9770,video9770,a person is connecting something to system
ret1,msr9771,video9771,"a little girl does gymnastics, twice"
"""
MSRVTT = {
    "info": {"year": "2016"},
    "videos": [
        {"video_id": "video0", "url": "https://example.org/a", "split": "train", "id": 0},
        {"video_id": "video7011", "url": "https://example.org/b", "split": "test", "id": 7011},
        {"video_id": "video7010", "url": "https://example.org/c", "split": "test", "id": 7010},
        {"video_id": "video6513", "url": "https://example.org/d", "split": "validate", "id": 6513},
    ],
    "sentences": [
        {"caption": "a car is shown", "video_id": "video0", "sen_id": 0},
        {"caption": "people sing", "video_id": "video7010", "sen_id": 1},
        {"caption": "a man  cooks", "video_id": "video7011", "sen_id": 2},
        {"caption": "a choir", "video_id": "video7010", "sen_id": 3},
        {"caption": "a goal", "video_id": "video6513", "sen_id": 4},
    ],
}
MSVD = {
    "-4wsuPCjDBc_5_15": [["a", "squirrel", "is", "eating"], ["a", "chipmunk"]],
    "mv89psg6zh4_33_46": [["a", "bird", "in", "a", "sink"]],
}
MSVD_LINES = """# comment of the corpus

-4wsuPCjDBc_5_15 a squirrel is eating
-4wsuPCjDBc_5_15 a chipmunk
mv89psg6zh4_33_46 a bird in a sink
"""
MSVD_TABLE = """VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description
-4wsuPCjDBc,5,15,1,clean,57,English,a squirrel is eating
-4wsuPCjDBc,5,15,2,unverified,9,Slovene,Veverica je.
-4wsuPCjDBc,5,15,3,clean,8,English,"a chipmunk"
mv89psg6zh4,33,46,1,clean,7,English,
mv89psg6zh4,33,46,1,clean,7,English,a bird in a sink
"""
LSMDC = (
    "1004_Juno_00.04.40.880-00.04.45.767\t00.04.40.880\t00.04.45.767\t00.04.40.830\t00.04.45.800\t"
    'SOMEONE says "hello, and leaves.\n'
    "1004_Juno_00.05.01.000-00.05.02.500\t00.05.01.000\t00.05.02.500\t00.05.00.950\t00.05.02.600\t"
    "She\u2028smiles.\n"
)
DIDEMO = [
    {"description": "the cat jumps", "times": [[0, 0]], "video": "1234@N00_55_ab.avi", "annotation_id": 1},
    {"description": "a dog", "times": [[1, 1]], "video": "9@N02_7_cd.mov", "annotation_id": 2},
    {"description": "it lands ", "times": [[2, 2]], "video": "1234@N00_55_ab.avi", "annotation_id": 3},
]
ACTIVITYNET = {
    "v_uqiMw7tQ1Cc": {
        "duration": 55.15,
        "timestamps": [[0.28, 55.15], [13.79, 54.32]],
        "sentences": ["A weight lifting tutorial is given.", "  The coach helps."],
    },
    "v_bXdq2zI1Ms0": {"duration": 73.1, "timestamps": [[0, 3]], "sentences": ["Three men speak."]},
}
VATEX = [
    {"videoID": "G9zN5TTuGO4_000179_000189", "enCap": ["A guy sits.", "A man."], "chCap": ["一个人"]},
    {"videoID": "xJnNp1cmkHk_000003_000013", "enCap": ["Two kids play."]},
]

SQUIRREL = ["-4wsuPCjDBc_5_15", "mv89psg6zh4_33_46"]
CASES = [
    pytest.param(
        "msrvtt-1ka", "test.csv", MSRVTT_1KA,
        ["video9770", "video9771"],
        ["a person is connecting something to system", "a little girl does gymnastics, twice"],
        [0, 1], id="msrvtt-1ka",
    ),
    pytest.param(
        "msrvtt", "MSRVTT_data.json", MSRVTT,
        ["video7011", "video7010"], ["a man cooks", "people sing", "a choir"], [0, 1, 1], id="msrvtt",
    ),
    pytest.param(
        "msvd", "raw-captions.json", MSVD,
        SQUIRREL, ["a squirrel is eating", "a chipmunk", "a bird in a sink"], [0, 0, 1], id="msvd-json",
    ),
    pytest.param(
        "msvd", "joined.json", {video: [" ".join(words) for words in MSVD[video]] for video in MSVD},
        SQUIRREL, ["a squirrel is eating", "a chipmunk", "a bird in a sink"], [0, 0, 1], id="msvd-joined",
    ),
    pytest.param(
        "msvd", "AllVideoDescriptions.txt", MSVD_LINES,
        SQUIRREL, ["a squirrel is eating", "a chipmunk", "a bird in a sink"], [0, 0, 1], id="msvd-lines",
    ),
    pytest.param(
        "msvd", "MSR Video Description Corpus.csv", MSVD_TABLE,
        SQUIRREL, ["a squirrel is eating", "a chipmunk", "a bird in a sink"], [0, 0, 1], id="msvd-table",
    ),
    pytest.param(
        "lsmdc", "LSMDC16_challenge_1000_publictect.csv", LSMDC,
        ["1004_Juno_00.04.40.880-00.04.45.767", "1004_Juno_00.05.01.000-00.05.02.500"],
        ['SOMEONE says "hello, and leaves.', "She smiles."], [0, 1], id="lsmdc",
    ),
    pytest.param(
        "didemo", "test_data.json", DIDEMO,
        ["1234@N00_55_ab.avi", "9@N02_7_cd.mov"], ["the cat jumps it lands", "a dog"], [0, 1], id="didemo",
    ),
    pytest.param(
        "activitynet", "val_1.json", ACTIVITYNET,
        ["v_uqiMw7tQ1Cc", "v_bXdq2zI1Ms0"],
        ["A weight lifting tutorial is given. The coach helps.", "Three men speak."],
        [0, 1], id="activitynet",
    ),
    pytest.param(
        "vatex", "vatex.json", VATEX,
        ["G9zN5TTuGO4_000179_000189", "xJnNp1cmkHk_000003_000013"],
        ["A guy sits.", "A man.", "Two kids play."], [0, 0, 1], id="vatex",
    ),
    pytest.param(
        "vatex", "ref_captions.json", {item["videoID"]: item["enCap"] for item in VATEX},
        ["G9zN5TTuGO4_000179_000189", "xJnNp1cmkHk_000003_000013"],
        ["A guy sits.", "A man.", "Two kids play."], [0, 0, 1], id="vatex-map",
    ),
    pytest.param(
        "csv", "mine.csv", 'no,Caption,video\n1,"a cat, asleep",a.mp4\n2,a dog,sub/b.mp4\n3,two cats,a.mp4\n',
        ["a.mp4", "sub/b.mp4"], ["a cat, asleep", "a dog", "two cats"], [0, 1, 0], id="csv",
    ),
    pytest.param("csv", "mine.tsv", "video\ttext\na\tcat, dog\n", ["a"], ["cat, dog"], [0], id="tsv"),
    pytest.param(
        "csv", "windows.csv", "\ufeff\"video\",\"caption\"\r\n\"a\",\"two\r\nlines\"\r\n\r\n",
        ["a"], ["two lines"], [0], id="csv-bom-crlf",
    ),
    pytest.param(
        "json", "mine.jsonl", '{"video": "a", "caption": "x"}\n\n{"video": "b", "caption": ["y", "z"]}\n',
        ["a", "b"], ["x", "y", "z"], [0, 1, 1], id="jsonl",
    ),
    pytest.param("json", "one.jsonl", '{"video": "a", "caption": "x"}', ["a"], ["x"], [0], id="jsonl-one"),
    pytest.param(
        "json", "list.json", [{"file": "a", "text": "x"}, {"file": "b", "text": "y"}],
        ["a", "b"], ["x", "y"], [0, 1], id="json-list",
    ),
    pytest.param(
        "json", "records.json", [{"video": "a", "description": "x"}, {"video": "a", "description": "y"}],
        ["a"], ["x", "y"], [0, 0], id="json-descriptions",
    ),
    pytest.param(
        "json", "map.json", {"a": "x", "b": ["y", "z"]},
        ["a", "b"], ["x", "y", "z"], [0, 1, 1], id="json-map",
    ),
]  # fmt: skip


def write(folder: Path, name: str, content) -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("named", [False, True], ids=["detected", "named"])
@pytest.mark.parametrize(("protocol", "name", "content", "videos", "texts", "targets"), CASES)
def test_formats(tmp_path, protocol, name, content, videos, texts, targets, named):
    found = read_annotations(write(tmp_path, name, content), protocol if named else "auto")
    assert found.protocol == protocol
    assert (found.videos, found.texts, found.targets.tolist()) == (videos, texts, targets)
    assert found.targets.dtype == np.int64
    assert PROTOCOLS[protocol].title in found.notes[0]
    assert any("not comparable" in note for note in found.notes) == (protocol not in ("csv", "json"))


def test_a_test_set_of_the_published_size_is_comparable(tmp_path):
    table = "key,vid_key,video_id,sentence\n"
    table += "".join(f"ret{n},msr{n},video{n},caption {n}\n" for n in range(1000))
    found = read_annotations(write(tmp_path, "test.csv", table))
    assert len(found.notes) == 1 and "MSR-VTT 1k-A" in found.notes[0]


def test_the_command_line_offers_every_protocol():
    assert ["auto", *PROTOCOLS] == [name for name in ["auto", *PROTOCOLS] if name in CHOICES]
    assert len(CHOICES) == len(PROTOCOLS) + 1


def test_the_note_names_the_columns_that_were_taken(tmp_path):
    path = write(tmp_path, "a.csv", "path,video_id,sentence,text\nx.mp4,a,one,two\n")
    found = read_annotations(path)
    assert "videos from 'video_id' and captions from 'sentence'" in found.notes[0]
    assert (found.videos, found.texts) == (["a"], ["one"])


def test_a_named_protocol_must_fit(tmp_path):
    path = write(tmp_path, "a.json", ACTIVITYNET)
    with pytest.raises(UsageError, match=r"not in the format of VATEX: expected JSON \[\{\"videoID\""):
        read_annotations(path, "vatex")
    with pytest.raises(UsageError, match="expected protocol as auto, msrvtt-1ka"):
        read_annotations(path, "imagenet")


# ---- splits -------------------------------------------------------------------------------------------


def test_msrvtt_splits_by_name_and_by_file(tmp_path):
    path = write(tmp_path, "MSRVTT_data.json", MSRVTT)
    assert read_annotations(path, split="validate").videos == ["video6513"]
    listed = write(tmp_path, "list.csv", "key,vid_key,video_id,sentence\nr,m,video0,x\nr,m,video7010,y\n")
    found = read_annotations(path, split=listed)
    assert found.videos == ["video0", "video7010"]
    assert found.texts == ["a car is shown", "people sing", "a choir"]
    with pytest.raises(UsageError, match=r"'tset' is neither a split of .*\(test, train, validate\)"):
        read_annotations(path, split="tset")
    bare = write(tmp_path, "bare.json", {"sentences": MSRVTT["sentences"]})
    with pytest.raises(UsageError, match="does not say which videos are for testing"):
        read_annotations(bare)
    with pytest.raises(UsageError, match="names no splits itself"):
        read_annotations(bare, split="test")


def test_a_split_file_chooses_videos_and_their_order(tmp_path):
    path = write(tmp_path, "raw-captions.json", MSVD)
    split = write(tmp_path, "test_list.txt", "mv89psg6zh4_33_46\n-4wsuPCjDBc_5_15\n\n")
    found = read_annotations(path, split=split)
    assert found.videos == ["mv89psg6zh4_33_46", "-4wsuPCjDBc_5_15"]
    assert found.targets.tolist() == [0, 1, 1]
    ids = write(tmp_path, "val_ids.json", ["v_bXdq2zI1Ms0"])
    assert read_annotations(write(tmp_path, "val_1.json", ACTIVITYNET), split=ids).texts == [
        "Three men speak."
    ]
    names = write(tmp_path, "didemo.txt", "9@N02_7_cd\n")  # without its suffix
    assert read_annotations(write(tmp_path, "d.json", DIDEMO), split=names).videos == ["9@N02_7_cd.mov"]


def test_a_split_must_be_covered(tmp_path):
    path = write(tmp_path, "raw-captions.json", MSVD)
    split = write(tmp_path, "test_list.txt", "unknown_1_2\n-4wsuPCjDBc_5_15\n")
    with pytest.raises(UsageError, match="no caption for 1 of 2 videos of the split: unknown_1_2"):
        read_annotations(path, split=split)
    with pytest.raises(UsageError, match="cannot read"):
        read_annotations(path, split=tmp_path / "absent.txt")


def test_lists_of_names(tmp_path):
    assert read_names(write(tmp_path, "a.txt", "b\n a \nb\n")) == ["b", "a"]
    assert read_names(write(tmp_path, "a.json", {"x": 1, "y": 2})) == ["x", "y"]
    with pytest.raises(UsageError, match="list of video names"):
        read_names(write(tmp_path, "b.json", [1, 2]))
    with pytest.raises(UsageError, match="empty one"):
        read_names(write(tmp_path, "c.json", ["a", ""]))


# ---- files that are not what they should be -----------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was loaded",))


@pytest.mark.parametrize("name", ["raw-captions.pkl", "raw-captions.bin"])
def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UsageError, match=r"is a pickle.*json\.dump\(pickle\.load") as error:
        read_annotations(path)
    assert f"{name} captions.json" in str(error.value)


BAD = [
    ("", "is empty"),
    ("  \n", "is empty"),
    ("{", "expected JSON or JSON lines"),
    ("[" * 100_000, "expected JSON or JSON lines"),
    ('{"video": "a", "caption": "x"}\n{"video": "b"', "expected JSON or JSON lines"),
    ("[]", "no format that vtr knows"),
    ("{}", "no format that vtr knows"),
    ("[1, 2]", "no format that vtr knows"),
    ('{"a": {"b": 1}}', "no format that vtr knows"),
    ("just words\n", "no format that vtr knows"),
    ("video_id\nvideo1\n", "no format that vtr knows"),
    ("video,caption\n", "at least one caption"),
    ("video,caption\na,b,c\n", r"row 2: expected 2 fields \(video, caption\), got 3"),
    ("video,caption\na,b\n,c\n", "expected a video and a caption"),
    ("video,caption\na,b\nc,  \n", "empty caption for the video 'c'"),
    ('video,caption\na,"b\n', "not a CSV file: unexpected end of data"),
    ('video,caption\na,"b"c\n', "line 2: not a CSV file"),
    (",\nvideo,caption\na,b\n", "no format that vtr knows"),
    ('video,caption,"x\ny"\na,b,c\n', "no format that vtr knows"),
    ('{"a": [1]}', "expected a video and a caption as texts"),
    ('{"a": [[1]]}', "expected a video and a caption as texts"),
    ('{"a": []}', "at least one caption"),
    ('[{"videoID": 3, "enCap": ["x"]}]', "expected a video and a caption as texts"),
    ('{"v": {"sentences": ["x", null]}}', "expected a video and a caption as texts"),
    (LSMDC + "1004_Juno\tShe goes.\n", "entry 3: expected 6 fields separated by tabs, got 2"),
    ("video,caption\n" + "a," + "x" * 200_000, "field larger than field limit"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_bad_files_get_one_clear_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_annotations(write(tmp_path, "bad", text))


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("video,caption\na,café\n".encode("latin-1"))
    with pytest.raises(UsageError, match="expected UTF-8 text, got byte 0xe9 at position 19"):
        read_annotations(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_annotations(tmp_path)
