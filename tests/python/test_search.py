"""Searching: the engine's hits against scores computed by hand, for every kind of scoring."""

import dataclasses
import threading

import numpy as np
import pytest

import vtr

KINDS = [
    "clip4clip-meanP",
    "clip4clip-seqTransf",
    "clip4clip-tightTransf",
    "clip4clip-3d",
    "ea",
    "teachclip",
    "xclip",
    "tcmgc",
]
TEXTS = ["a man is cooking", "two dogs", "red and green squares move over the picture"]


@pytest.fixture(scope="module")
def indexed(models, clips, tmp_path_factory):
    """``indexed(name)`` → an engine with the eight clips in its index."""
    made = {}

    def get(name):
        if name not in made:
            engine = vtr.Engine(models(name)[1], tmp_path_factory.mktemp("index"), precision="fp32")
            report = engine.index(clips, metadata={"clip3.mp4": {"tag": "x"}, "clip4.mp4": {"tag": "x"}})
            assert len(report.added) == 8 and not report.failed
            made[name] = engine
        return made[name]

    return get


def by_hand(engine, texts):
    """Logits ``[texts, videos]`` and paths, decoding and encoding each file again."""
    paths = [record.path for record in engine.bank().snapshot.records()]
    clips = [vtr.decode.read_clip(path, engine.model.sampling) for path in paths]
    return engine.score(engine.encode_text(texts), engine.encode_clips(clips)), paths


@pytest.mark.parametrize("name", KINDS)
def test_hits_are_the_best_by_the_familys_logits(indexed, name):
    engine = indexed(name)
    logits, paths = by_hand(engine, TEXTS)
    results = engine.search(TEXTS, k=8)
    for row, hits in zip(logits, results, strict=True):
        scores = {hit.path: hit.score for hit in hits}
        # The index keeps features in fp16: relative steps of 2^-11 of numbers that are scaled by 100.
        np.testing.assert_allclose([scores[path] for path in paths], row, atol=0.15)
        assert [hit.score for hit in hits] == sorted(scores.values(), reverse=True)
    alone = engine.search(TEXTS[1], k=3)
    assert [hit.path for hit in alone] == [hit.path for hit in results[1]][:3]


@pytest.mark.parametrize("name", ["ea", "xclip", "tcmgc"])
def test_moments_are_the_same_however_many_hits_are_shown_together(indexed, name, monkeypatch):
    engine = indexed(name)
    together = engine.search(TEXTS[0], k=8)
    monkeypatch.setattr("vtr.bank.SHOWN_TOGETHER", 3)
    for one, other in zip(together, engine.search(TEXTS[0], k=8), strict=True):
        assert one.path == other.path and len(one.moments) == len(other.moments) > 0
        np.testing.assert_allclose([*map(list, one.moments)], [*map(list, other.moments)], atol=1e-5)


def test_features_and_frames_may_be_of_torch_and_frames_are_bytes(indexed, clips):
    torch = pytest.importorskip("torch")
    engine = indexed("tcmgc")
    clip = vtr.decode.read_clip(clips / "clip3.mp4", engine.model.sampling)
    text, video = engine.encode_text(TEXTS), engine.encode_clips([clip])

    def of_torch(features):
        given = vars(features).items()
        return type(features)(
            **{name: value if value is None else torch.tensor(value) for name, value in given}
        )

    np.testing.assert_array_equal(engine.score(of_torch(text), of_torch(video)), engine.score(text, video))
    tensors = dataclasses.replace(clip, frames=torch.from_numpy(clip.frames))
    np.testing.assert_array_equal(engine.encode_clips([tensors]).frames, video.frames)
    floats = dataclasses.replace(clip, frames=clip.frames / np.float32(255))
    with pytest.raises(vtr.UsageError, match=r"uint8 frames, RGB in 0\.\.255, got float32"):
        engine.encode_clips([floats])


def test_a_model_of_coupled_frames_takes_them_padded_from_a_gpu(indexed):
    features = indexed("clip4clip-3d")._features
    with pytest.raises(vtr.UsageError, match="in main memory, or on the GPU by DALI"):
        features._vision_of_device(np.zeros((2, 8, 8, 3), np.uint8), np.ones(4, np.float32))


@pytest.mark.parametrize("name", KINDS)
def test_candidates_are_rescored_by_the_full_family(indexed, name):
    engine = indexed(name)
    everything = {hit.path: hit.score for hit in engine.search(TEXTS[0], k=8)}
    some = engine.search(TEXTS[0], k=8, candidates=4)
    assert len(some) == 4
    assert [hit.score for hit in some] == pytest.approx([everything[hit.path] for hit in some], abs=1e-3)
    everyone = engine.search(TEXTS[0], k=8, candidates=8)
    assert [hit.path for hit in everyone] == list(everything)
    if engine.model.scoring == "holistic":  # the pre-selection is the family's own order
        assert [hit.path for hit in some] == list(everything)[:4]


@pytest.mark.parametrize("name", KINDS)
def test_moments_lie_in_the_video_and_share_the_relevance(indexed, name):
    for hit in indexed(name).search(TEXTS[2], k=8):
        assert hit.moments, hit
        assert all(0 <= start < end <= hit.duration + 1e-3 for start, end, _ in hit.moments)
        assert 0 < sum(weight for *_, weight in hit.moments) <= 1 + 1e-5
        assert [m.weight for m in hit.moments] == sorted((m.weight for m in hit.moments), reverse=True)


def test_where_narrows_before_ranking(indexed):
    engine = indexed("tcmgc")
    every = [hit.path.name for hit in engine.search("x", k=8)]
    tagged = [hit.path.name for hit in engine.search("x", k=8, where={"tag": "x"})]
    assert tagged == [name for name in every if name in ("clip3.mp4", "clip4.mp4")]
    long = engine.search("x", k=8, where={"duration": {">": 10}})
    assert sorted(hit.path.name for hit in long) == ["clip6.mp4", "clip7.mp4"]
    assert engine.search("x", where="tag=nothing") == []
    assert len(engine.search("x", k=8, candidates=1, where={"tag": "x"})) == 1


@pytest.mark.parametrize("name", KINDS)
def test_a_video_finds_itself(indexed, clips, name):
    engine = indexed(name)
    hits = engine.search(clips / "clip5.mp4", k=3)
    assert hits[0].path.name == "clip5.mp4" and hits[0].score == pytest.approx(1, abs=2e-3)
    clip = vtr.decode.read_clip(clips / "clip5.mp4", engine.model.sampling)
    assert [hit.path for hit in engine.search(clip, k=3)] == [hit.path for hit in hits]


def test_texts_for_a_video(indexed, clips):
    engine = indexed("xclip")
    clip = vtr.decode.read_clip(clips / "clip2.mp4", engine.model.sampling)
    logits = engine.score(engine.encode_text(TEXTS), engine.encode_clips([clip]))[:, 0]
    hits = engine.search(clips / "clip2.mp4", k=2, texts=TEXTS)
    assert [hit.index for hit in hits] == list(np.argsort(-logits)[:2])
    assert hits[0].text == TEXTS[hits[0].index] and hits[0].score == pytest.approx(logits.max(), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k as"),
        ({"k": 2.5}, "k as"),
        ({"k": True}, "k as"),
        ({"candidates": 0}, "candidates"),
        ({"where": {"duration": {"~": 1}}}, "duration"),
        ({"texts": ["a"]}, "expected a video"),
        ({"query": 5}, "int"),
        ({"query": b"text"}, "bytes"),
    ],
)
def test_wrong_arguments_are_refused(indexed, arguments, message):
    with pytest.raises(vtr.UsageError, match=message):
        indexed("ea").search(**{"query": "x", **arguments})


def test_searches_see_an_update_whole_or_not_at_all(models, clips, tmp_path):
    """Threads search while rows come and go: every answer is one of the committed states."""
    engine = vtr.Engine(models("xclip")[1], tmp_path / "index", precision="fp32")
    paths = sorted(clips.iterdir())
    engine.index(paths[:2])
    states, seen, errors = [2], set(), []
    stop = threading.Event()

    def search():
        while not stop.is_set():
            try:
                seen.add(len(engine.search("x", k=100)))
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for count in (4, 7):
            engine.index(paths[:count])
            states.append(count)
            assert len(engine.search("x", k=100)) == count
        engine.remove(paths[:5])
        states.append(2)
        with engine.store().writer() as writer:
            writer.compact()
        assert len(engine.search("x", k=100)) == 2
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert seen <= set(states) and len(seen) > 1, seen
