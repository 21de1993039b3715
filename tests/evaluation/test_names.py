"""Annotated videos find their files."""

import unicodedata
from pathlib import Path

import pytest

from vtr.errors import UsageError
from vtr.evaluation.names import list_some, match_videos, video_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("video7010", "video7010"),
        ("/data/video7010.mp4", "video7010"),
        ("1234@N00_55_ab.avi", "1234@N00_55_ab"),
        ("1234@N00_55_ab.MOV.mp4", "1234@N00_55_ab"),
        ("1004_Juno_00.04.40.880-00.04.45.767", "1004_Juno_00.04.40.880-00.04.45.767"),
        ("1004_Juno_00.04.40.880-00.04.45.767.avi", "1004_Juno_00.04.40.880-00.04.45.767"),
        ("-4wsuPCjDBc_5_15.avi", "-4wsuPCjDBc_5_15"),
        (".mp4", ".mp4"),
        (unicodedata.normalize("NFD", "café.webm"), unicodedata.normalize("NFC", "café")),
    ],
)
def test_keys(name, key):
    assert video_key(name) == key


def paths(*names):
    return [Path("/videos") / name for name in names]


def test_matching_by_name_and_alias():
    files = paths("b.mp4", "x/a.avi.mp4", "uqiMw7tQ1Cc.mkv", "G9zN5TTuGO4.mp4")
    assert match_videos(["a.avi", "b", "c"], files, "csv") == [1, 0, None]
    assert match_videos(["v_uqiMw7tQ1Cc"], files, "activitynet") == [2]
    assert match_videos(["v_uqiMw7tQ1Cc"], files, "csv") == [None]
    assert match_videos(["G9zN5TTuGO4_000179_000189"], files, "vatex") == [3]


def test_folder_or_suffix_tells_equal_names_apart():
    files = paths("x/a.mp4", "y/a.mp4", "y/b.mp4", "y/b.avi")
    assert match_videos(["y/a.mp4", "b.avi"], files, "csv") == [1, 3]
    with pytest.raises(UsageError, match=r"several files answer to the video 'a': .*x/a.mp4, .*y/a.mp4"):
        match_videos(["a"], files, "csv")


def test_two_videos_must_not_share_a_file():
    with pytest.raises(UsageError, match="both mean the file"):
        match_videos(["Q_000001_000011", "Q_000021_000031"], paths("Q.mp4"), "vatex")


def test_long_lists_are_cut():
    assert list_some(["a", "b"]) == "a, b"
    assert list_some([str(n) for n in range(2000)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 1,992 more"
