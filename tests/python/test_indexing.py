"""Indexing real files: what is added, skipped, refused and found again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import write_video

import vtr
import vtr.indexing
from vtr.errors import BundleError
from vtr.index import verify_index


@pytest.fixture(scope="module")
def engine(models):
    return vtr.Engine(models("clip4clip-meanP")[1], precision="fp32")


@pytest.fixture
def folder(clips, tmp_path):
    """Three of the clips, in a folder of the test's own."""
    target = tmp_path / "videos"
    target.mkdir()
    for number in (0, 3, 6):
        shutil.copy(clips / f"clip{number}.mp4", target)
    return target


def names(paths) -> list[str]:
    return sorted(Path(path).name for path in paths)


def test_a_folder_becomes_rows_that_equal_encoding_by_hand(engine, folder, tmp_path):
    indexed = engine.with_index(tmp_path / "index")
    report = indexed.index(folder)
    assert names(report.added) == ["clip0.mp4", "clip3.mp4", "clip6.mp4"]
    assert not report.failed and not report.unchanged
    snapshot = indexed.bank().snapshot
    for record in snapshot.records():
        clip = vtr.decode.read_clip(record.path, engine.model.sampling)
        expected = engine.scorer.rows(engine.encode_clips([clip]))
        position = snapshot.positions([record.id])
        for name in engine.scorer.columns:
            stored = snapshot.gather(name, position)
            np.testing.assert_allclose(stored, expected[name], atol=2e-3, err_msg=name)  # features are fp16
        times = snapshot.gather("timestamps", position)[0, : len(clip.timestamps)]
        np.testing.assert_allclose(times, clip.timestamps, atol=1e-4)
    assert verify_index(tmp_path / "index") == []


def test_indexing_again_decodes_nothing(engine, folder, tmp_path, monkeypatch):
    indexed = engine.with_index(tmp_path / "index")
    indexed.index(folder)
    monkeypatch.setattr("vtr.features.FeatureEncoder.clips", lambda *_: pytest.fail("encoded again"))
    os.utime(folder / "clip0.mp4")  # touched, same content
    report = indexed.index(folder)
    assert names(report.unchanged) == ["clip0.mp4", "clip3.mp4", "clip6.mp4"] and not report.added


def test_encoders_are_loaded_while_the_first_clips_are_decoded(models, folder, tmp_path, monkeypatch):
    engine = vtr.Engine(models("clip4clip-meanP")[1], tmp_path / "index", precision="fp32")
    loads, load = [], engine.encoders.load_for_videos
    monkeypatch.setattr(engine.encoders, "load_for_videos", lambda: (loads.append(1), load()))
    assert len(engine.index(folder).added) == 3 and len(loads) == 1
    assert len(engine.index(folder).unchanged) == 3 and len(loads) == 1  # nothing to decode, nothing loaded


def test_a_vision_tower_that_cannot_be_loaded_is_an_error(models, folder, tmp_path):
    """Told once, by the job itself, and nothing is left in the index."""
    bundle = shutil.copytree(models("clip4clip-meanP")[1], tmp_path / "bundle")
    engine = vtr.Engine(bundle, tmp_path / "index", precision="fp32")
    content = (bundle / "vision.onnx").read_bytes()
    (bundle / "vision.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"bundle/vision\.onnx: expected SHA-256"):
        engine.index(folder)
    assert len(engine.store().snapshot()) == 0 and verify_index(tmp_path / "index") == []


def test_changed_content_replaces_the_row(engine, folder, tmp_path):
    indexed = engine.with_index(tmp_path / "index")
    indexed.index(folder)

    def videos():
        snapshot = indexed.bank().snapshot
        return dict(zip([r.path.name for r in snapshot.records()], snapshot.gather("video"), strict=True))

    before = videos()
    write_video(folder / "clip0.mp4", 2, seed=99)
    report = indexed.index(folder)
    assert names(report.added) == ["clip0.mp4"] and len(report.unchanged) == 2
    after = videos()
    assert before.keys() == after.keys()
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed == {"clip0.mp4"}


def test_a_file_that_turned_bad_is_no_longer_found(engine, folder, tmp_path):
    indexed = engine.with_index(tmp_path / "index")
    indexed.index(folder)
    (folder / "clip0.mp4").write_text("no video any more")
    assert names(item.path for item in indexed.index(folder).failed) == ["clip0.mp4"]
    assert names(hit.path for hit in indexed.search("x")) == ["clip3.mp4", "clip6.mp4"]


def test_what_is_no_file_is_refused_without_waiting(engine, folder, tmp_path):
    os.mkfifo(folder / "pipe.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    report = engine.with_index(tmp_path / "index").index(folder)
    assert {item.path.name: item.reason for item in report.failed} == {
        "pipe.mp4": "cannot be read: not a regular file",
        "device.mp4": "cannot be read: not a regular file",
    }
    assert len(report.added) == 3


def test_copies_of_a_file_that_goes_away_are_indexed(engine, folder, tmp_path, monkeypatch):
    shutil.copy(folder / "clip0.mp4", folder / "copy.mp4")
    monkeypatch.setattr("vtr.indexing._as_hashed", lambda source: source.path.name != "clip0.mp4")
    report = engine.with_index(tmp_path / "index").index(folder)
    assert names(item.path for item in report.failed) == ["clip0.mp4"]
    assert names(report.added) == ["clip3.mp4", "clip6.mp4", "copy.mp4"]


def test_features_that_overflow_fail_every_copy(engine, folder, tmp_path, monkeypatch):
    shutil.copy(folder / "clip0.mp4", folder / "copy.mp4")
    whole = engine.scorer.rows

    def overflowing(video):
        rows = whole(video)
        if video.mask[0].sum() == 1:  # clip0 has one frame
            rows["video"][0] = 1e5  # beyond fp16
        return rows

    monkeypatch.setattr("vtr.indexing.ENCODE_CLIPS", 1)
    monkeypatch.setattr(engine.scorer, "rows", overflowing)
    report = engine.with_index(tmp_path / "index").index(folder)
    assert names(item.path for item in report.failed) == ["clip0.mp4", "copy.mp4"]
    assert len(report.added) == 2


def test_a_time_that_the_catalog_cannot_hold(engine, folder, tmp_path):
    late = folder / "clip3.mp4"
    os.utime(late, ns=(10**19, 10**19))  # in the year 2286
    if late.stat().st_mtime_ns <= 2**63:
        pytest.skip("this file system holds no such times")
    indexed = engine.with_index(tmp_path / "index")
    assert len(indexed.index(folder).added) == 3
    assert names(indexed.index(folder).unchanged) == ["clip0.mp4", "clip3.mp4", "clip6.mp4"]


def test_a_file_that_is_too_long_is_not_even_hashed(engine, folder, tmp_path, monkeypatch):
    hashed, exact = [], vtr.indexing.content_hash
    monkeypatch.setattr("vtr.indexing.content_hash", lambda path: hashed.append(path.name) or exact(path))
    with (folder / "sparse.mp4").open("wb") as file:
        file.truncate(vtr.decode.Limits.bytes + 1)  # takes no room
    report = engine.with_index(tmp_path / "index").index(folder)
    assert names(report.added) == sorted(hashed) == ["clip0.mp4", "clip3.mp4", "clip6.mp4"]
    (failure,) = report.failed
    assert failure.path.name == "sparse.mp4" and "more than 274877906944" in failure.reason


def test_metadata_is_checked_before_anything_is_decoded(engine, folder, tmp_path):
    indexed = engine.with_index(tmp_path / "index")
    for wrong in ({"x": float("nan")}, "text", {"x": b"bytes"}):
        with pytest.raises(vtr.UsageError, match="clip0"):
            indexed.index(folder, metadata={"clip0.mp4": wrong})
    report = indexed.index(folder, metadata={"nothing.mp4": {"a": 1}})
    assert report.unused_metadata == ["nothing.mp4"] and len(report.added) == 3


def test_copies_share_one_encoding(engine, folder, tmp_path, monkeypatch):
    shutil.copy(folder / "clip0.mp4", folder / "copy.mp4")
    encoded = []
    whole = engine._features.clips
    monkeypatch.setattr(engine._features, "clips", lambda clips: encoded.extend(clips) or whole(clips))
    indexed = engine.with_index(tmp_path / "index")
    report = indexed.index(folder)
    assert len(report.added) == 4 and len(encoded) == 3
    shutil.copy(folder / "clip3.mp4", folder / "later.mp4")
    assert names(indexed.index(folder).added) == ["later.mp4"] and len(encoded) == 3
    hits = indexed.search(folder / "copy.mp4", k=2)
    assert names(hit.path for hit in hits) == ["clip0.mp4", "copy.mp4"]


def test_content_that_moved_keeps_its_encoding_while_its_old_path_changes(engine, folder, tmp_path):
    indexed = engine.with_index(tmp_path / "index")
    indexed.index(folder)
    (folder / "clip0.mp4").rename(folder / "moved.mp4")
    write_video(folder / "clip0.mp4", 2, seed=98)
    report = indexed.index(folder)
    assert names(report.added) == ["clip0.mp4", "moved.mp4"] and len(report.unchanged) == 2
    shutil.move(folder / "moved.mp4", folder / "zzz.mp4")
    (folder / "moved.mp4").write_text("no video")
    report = indexed.index(folder)
    assert names(report.added) == ["zzz.mp4"] and names(f.path for f in report.failed) == ["moved.mp4"]


def test_bad_files_are_reported_once_and_stop_nothing(engine, folder, tmp_path):
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.mp4").touch()
    data = (folder / "clip3.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[:200])
    missing = tmp_path / "gone.mp4"
    indexed = engine.with_index(tmp_path / "index")
    report = indexed.index([folder, missing])
    assert len(report.added) == 3
    assert names(item.path for item in report.failed) == ["cut.mp4", "empty.mp4", "gone.mp4", "text.mp4"]
    assert all(item.reason and "\n" not in item.reason for item in report.failed)

    again = indexed.index([folder, missing])
    assert names(item.path for item in again.skipped) == ["cut.mp4", "empty.mp4", "text.mp4"]
    assert names(item.path for item in again.failed) == ["gone.mp4"]
    retried = indexed.index(folder, retry=True)
    assert names(item.path for item in retried.failed) == ["cut.mp4", "empty.mp4", "text.mp4"]

    write_video(folder / "text.mp4", 1, seed=5)  # mended
    assert names(indexed.index(folder).added) == ["text.mp4"]
    assert names(failure.path for failure in indexed.store().failures()) == ["cut.mp4", "empty.mp4"]


def test_copies_of_a_bad_file_all_fail(engine, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video either")
    report = engine.with_index(tmp_path / "index").index([tmp_path / "a.mp4", tmp_path / "b.mp4"])
    assert names(item.path for item in report.failed) == ["a.mp4", "b.mp4"]


def test_metadata_is_stored_and_updated(engine, folder, tmp_path):
    indexed = engine.with_index(tmp_path / "index")
    indexed.index(
        folder, metadata={"clip0.mp4": {"camera": "front"}, str(folder / "clip3.mp4"): {"camera": "back"}}
    )
    assert [h.metadata["camera"] for h in indexed.search("x", where={"camera": "front"})] == ["front"]
    report = indexed.index(folder, metadata={"clip0.mp4": {"camera": "side"}})
    assert len(report.unchanged) == 3
    assert names(h.path for h in indexed.search("x", where="camera=side")) == ["clip0.mp4"]
    assert names(h.path for h in indexed.search("x", where="camera=back")) == ["clip3.mp4"]


def test_interrupting_keeps_what_is_encoded(engine, clips, tmp_path, monkeypatch):
    monkeypatch.setattr("vtr.indexing.ENCODE_CLIPS", 1)
    indexed = engine.with_index(tmp_path / "index")
    whole, calls = engine._features.clips, []

    def third_is_interrupted(given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(given)

    monkeypatch.setattr(engine._features, "clips", third_is_interrupted)
    with pytest.raises(KeyboardInterrupt):
        indexed.index(clips)
    monkeypatch.setattr(engine._features, "clips", whole)
    assert len(indexed.bank()) == 2
    report = indexed.index(clips)
    assert (len(report.unchanged), len(report.added)) == (2, 6)


def test_progress_counts_every_file(engine, folder, tmp_path):
    (folder / "bad.mp4").write_text("no video")
    steps = []
    engine.with_index(tmp_path / "index").index(folder, progress=lambda **step: steps.append(step))
    assert [step["done"] for step in steps] == [1, 2, 3, 4] and {step["total"] for step in steps} == {4}
    assert sorted(step["outcome"] for step in steps) == ["added", "added", "added", "failed"]


def test_names_that_are_not_text(engine, folder, tmp_path):
    odd = os.path.join(os.fsencode(folder), b"caf\xe9 \n'\".mp4")
    shutil.copy(os.fsencode(folder / "clip0.mp4"), odd)
    indexed = engine.with_index(tmp_path / "index")
    assert len(indexed.index(folder).added) == 4
    assert odd in {os.fsencode(hit.path) for hit in indexed.search("x")}
    assert indexed.remove(Path(os.fsdecode(odd))) == 1
    assert len(indexed.bank()) == 3


def test_another_models_index_is_refused(engine, folder, models, tmp_path):
    engine.with_index(tmp_path / "index").index(folder)
    with pytest.raises(vtr.IndexStoreError, match="was made with"):
        vtr.Engine(models("tcmgc")[1], tmp_path / "index")
    assert vtr.Engine(None, tmp_path / "index").model.fingerprint == engine.model.fingerprint


def test_no_index_yet(engine, tmp_path):
    with pytest.raises(vtr.IndexStoreError, match="vtr index"):
        engine.with_index(tmp_path / "index").search("x")
    with pytest.raises(vtr.UsageError, match="index="):
        engine.search("x")
