"""Batches from video files and captions, against frames read one by one and orders drawn by hand."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support import write_video  # noqa: E402

from vtr.decode import read_clip  # noqa: E402
from vtr.errors import UsageError  # noqa: E402
from vtr.training.annotated import AnnotatedClips, cache_frames  # noqa: E402
from vtr.types import Sampling  # noqa: E402

SAMPLING = Sampling(frames=4, size=32)


class Words:
    """A tokenizer of made-up ids: a text is a number."""

    def encode(self, texts, length):
        ids = np.zeros((len(texts), length), np.int64)
        ids[:, 0] = [int(text) for text in texts]
        return ids


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Videos of 1 to 7 seconds, one of them twice, one broken, one missing."""
    folder = tmp_path_factory.mktemp("videos")
    made = [write_video(folder / f"v{n}.mp4", seconds=1 + 2 * n, size=(48, 32), seed=n) for n in range(4)]
    (folder / "copy.mp4").write_bytes(made[1].read_bytes())
    (folder / "broken.mp4").write_bytes(b"no video")
    return [*made, folder / "copy.mp4", folder / "broken.mp4", folder / "missing.mp4"]


@pytest.fixture(scope="module")
def cache(files, tmp_path_factory):
    return cache_frames(files, tmp_path_factory.mktemp("run") / "frames", SAMPLING, workers=1)


def test_frames_are_those_that_the_reader_gives(files, cache):
    for path in files[:4]:
        assert np.array_equal(np.load(cache.frames[path]), read_clip(path, SAMPLING).frames)
    assert [len(np.load(cache.frames[path])) for path in files[:4]] == [1, 3, 4, 4]


def test_one_file_for_one_content_and_failures_are_reported(files, cache):
    assert cache.frames[files[4]] == cache.frames[files[1]]
    assert sorted(failure.path.name for failure in cache.failed) == ["broken.mp4", "missing.mp4"]
    folder = cache.frames[files[0]].parent
    assert len(list(folder.iterdir())) == 4


def test_nothing_is_decoded_twice(files, cache, monkeypatch):
    monkeypatch.setattr("vtr.training.annotated.DecodePool", None)
    again = cache_frames(files[:5], cache.frames[files[0]].parent, SAMPLING)
    assert again.frames == cache.frames
    with pytest.raises(TypeError):  # another sampling: there is something to decode
        cache_frames(files[:1], cache.frames[files[0]].parent, Sampling(frames=3, size=32))


@pytest.fixture(scope="module")
def source(files, cache):
    captions = [["10", "11", "12"], ["20"], ["30", "31"], ["40", "41", "42", "43"]]
    videos = [cache.frames[path] for path in files[:4]]
    return AnnotatedClips(videos, captions, Words(), words=5, batch=2, epochs=50, seed=3)


def test_an_epoch_sees_every_video_once_with_a_caption_of_its_own(source):
    assert len(source) == 100
    for epoch in range(50):
        batches = [source[2 * epoch], source[2 * epoch + 1]]
        texts = [int(text) for batch in batches for text in batch.ids[:, 0]]
        assert sorted(text // 10 for text in texts) == [1, 2, 3, 4]
        for batch in batches:
            starts = (batch.counts.cumsum(0) - batch.counts).tolist()
            for text, start, count in zip(
                batch.ids[:, 0].tolist(), starts, batch.counts.tolist(), strict=True
            ):
                want = np.load(source.videos[text // 10 - 1])
                assert np.array_equal(batch.frames[start : start + count].numpy(), want)


def test_orders_and_captions_vary(source):
    epochs = [tuple(torch.cat([source[2 * e].ids, source[2 * e + 1].ids])[:, 0].tolist()) for e in range(50)]
    assert len({tuple(text // 10 for text in epoch) for epoch in epochs}) > 12  # of 24 orders
    assert {text for epoch in epochs for text in epoch} == {10, 11, 12, 20, 30, 31, 40, 41, 42, 43}


def test_steps_are_a_function_of_the_seed(source):
    again = AnnotatedClips(source.videos, [["1"]] * 4, Words(), words=5, batch=3, epochs=2, seed=3)
    assert len(again) == 2  # the fourth video would make a short batch
    assert torch.equal(source[7].ids, source[7].ids) and torch.equal(source[7].frames, source[7].frames)
    with pytest.raises(IndexError):
        source[100]


def test_batches_that_cannot_be_are_refused(source):
    with pytest.raises(UsageError, match="expected a batch of 1 to 4, as many videos as there are, got 5"):
        AnnotatedClips(source.videos, [["1"]] * 4, Words(), words=5, batch=5, epochs=1)
    with pytest.raises(UsageError, match="captions for each of the 4 videos"):
        AnnotatedClips(source.videos, [["1"]] * 3 + [[]], Words(), words=5, batch=2, epochs=1)
