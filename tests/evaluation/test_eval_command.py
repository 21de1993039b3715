"""`vtr eval` on score files and on an index, as a user runs it."""

import csv
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import vtr.cli.eval as module
from vtr.cli import main
from vtr.errors import UsageError
from vtr.evaluation import evaluate, evaluate_index, plot_recall, read_annotations, read_scores
from vtr.types import TextFeatures

SCORES = np.array([[9, 1, 2], [8, 3, 4], [5, 7, 6], [5, 6, 6.5]], np.float32)
CAPTIONS = "video,caption\nb,a bee\na,an ape\nc,a cat\nb,bees\n"  # videos in order of appearance: b, a, c


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["eval", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def save(path: Path, value) -> Path:
    np.save(path, value)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def metrics_of(result):
    return {entry["direction"]: entry["metrics"] for entry in json.loads(result.stdout)["results"]}


# ---- score files --------------------------------------------------------------------------------------


def test_a_square_matrix_needs_nothing_else(tmp_path):
    scores = np.random.default_rng(0).normal(size=(19, 19)) + np.eye(19)
    path = save(tmp_path / "s.npy", scores)
    found = metrics_of(run("--scores", path, "--json", "--bootstrap", 0))
    expected = evaluate(scores, np.arange(19), resamples=0)
    assert found == {d.name: pytest.approx(d.metrics) for d in expected.directions}
    table = run("--scores", path).output
    assert table.startswith("scores: 19 captions, 19 videos") and "95% interval" in table
    assert "1,000 bootstrap resamples of the videos, seed 0" in table


def test_rows_are_the_captions_and_columns_the_videos_in_order(tmp_path):
    captions = text(tmp_path / "c.csv", CAPTIONS)
    found = metrics_of(run(captions, "--scores", save(tmp_path / "s.npy", SCORES), "--json"))
    # own columns 0 1 2 0 → ranks 1 3 2 3
    assert found["text_to_video"]["MnR"] == pytest.approx(9 / 4)
    # b: 9 of (8, 5); a: 3 of (6, 7); c: 6 of (6.5, 4) → ranks 1 3 2
    assert found["video_to_text"]["MnR"] == pytest.approx(2)


def test_named_columns_may_be_in_any_order_and_more(tmp_path):
    captions = text(tmp_path / "c.csv", CAPTIONS)
    columns = text(tmp_path / "columns.txt", "x\nc\na\nb\n")
    wide = np.concatenate([np.full((4, 1), 100, np.float32), SCORES[:, ::-1]], axis=1)
    wide = wide[:, [0, 1, 2, 3]]
    path = save(tmp_path / "s.npy", wide)
    ranks = tmp_path / "ranks.csv"
    run(captions, "--scores", path, "--columns", columns, "--ranks", ranks)
    rows = list(csv.DictReader(ranks.open(encoding="utf-8")))
    assert [row["rank"] for row in rows] == ["2", "4", "3", "4"]
    assert [row["video"] for row in rows] == ["b", "a", "c", "b"] and {row["first"] for row in rows} == {"x"}
    assert (rows[0]["caption"], rows[0]["score"], rows[0]["first_score"]) == ("a bee", "9", "100")


def test_a_file_of_lines_says_whose_the_rows_are(tmp_path):
    path = save(tmp_path / "s.npy", SCORES)
    numbers = text(tmp_path / "numbers.txt", "0\n1\n2\n0\n")
    names = text(tmp_path / "names.txt", "b\na\nc\nb\n")
    columns = text(tmp_path / "columns.txt", "b\na\nc\n")
    by_number = metrics_of(run("--scores", path, "--texts", numbers, "--json"))
    assert by_number == metrics_of(run("--scores", path, "--texts", names, "--columns", columns, "--json"))
    assert by_number["text_to_video"]["MnR"] == pytest.approx(9 / 4)


def test_dual_softmax_is_labelled(tmp_path):
    path = save(tmp_path / "s.npy", np.abs(np.random.default_rng(0).normal(size=(9, 9))))
    output = run("--scores", path, "--dsl").output
    assert "text → video (dual softmax)" in output and "not comparable with plain figures" in output
    results = json.loads(run("--scores", path, "--dsl", "--json").stdout)["results"]
    assert [entry["dual_softmax"] for entry in results] == [False, False, True, True]
    assert "dual softmax" not in run("--scores", path).output


def test_the_caption_pool_is_said_and_matters(tmp_path):
    captions = text(tmp_path / "c.csv", CAPTIONS)
    path = save(tmp_path / "s.npy", SCORES)
    each = run(captions, "--scores", path, "--caption-pool", "each", "--json")
    # a: 3 against 1, 7, 6 → 3; c: 6 against 2, 4, 6.5 → 2; b: 9 against 8, 5 → 1
    assert metrics_of(each)["video_to_text"]["MnR"] == pytest.approx(2)
    assert json.loads(each.stdout)["settings"]["caption_pool"] == "each"
    assert "every caption is an answer" in run(captions, "--scores", path, "--caption-pool", "each").output
    assert "one answer that scores as the best" in run(captions, "--scores", path).output


def test_the_seed_fixes_the_intervals(tmp_path):
    path = save(tmp_path / "s.npy", np.random.default_rng(0).normal(size=(50, 50)) + np.eye(50))
    first, again, other = (
        json.loads(run("--scores", path, "--json", "--bootstrap", 50, "--seed", seed).stdout)["results"]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_scores_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was loaded",))

    np.save(tmp_path / "objects.npy", np.array([[Bomb()]]), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(__import__("pickle").dumps(Bomb()))
    for name in ("objects.npy", "pickle.npy"):
        assert "cannot read" in run("--scores", tmp_path / name, code=2).output


def test_damaged_and_unfit_score_files_are_refused(tmp_path):
    good = save(tmp_path / "good.npy", SCORES).read_bytes()
    cases = {
        b"": "cannot read",
        b"\x93NUMPY": "cannot read",
        good[:-1]: "cannot read",
        good.replace(b"(4, 3)", b"(4, 3e9)"): "cannot read",
        good.replace(b"(4, 3), }      ", b"(40000, 300000), }"): "cannot read",
        good.replace(b"<f4", b"<U1"): "expected real numbers",
        b"\x93NUMPY\x01\x00\x10\x00" + b"{" * 16: "cannot read",
        b"0.1,0.2": "cannot read",
    }
    for content, message in cases.items():
        path = tmp_path / "bad.npy"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            read_scores(path)
    np.savez(tmp_path / "many.npz", a=SCORES)
    with pytest.raises(UsageError, match="an archive of several"):
        read_scores(tmp_path / "many.npz")
    for value in (np.zeros(3), np.zeros((2, 0)), np.zeros((2, 2), complex), np.zeros((2, 2, 2))):
        with pytest.raises(UsageError, match=r"real numbers of shape \[texts, videos\]"):
            read_scores(save(tmp_path / "odd.npy", value))
    assert (read_scores(save(tmp_path / "big.npy", SCORES.astype(">f4"))) == SCORES).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scores", "s.npy"], "do not say which text belongs to which video"),
        (["two.csv", "--scores", "s.npy"], "each of the 2 captions, got 4"),
        (["wide.csv", "--scores", "s.npy"], "expected 4 columns of scores, one a video, got 3"),
        (["c.csv", "--scores", "s.npy", "--columns", "ab.txt"], "expected 2 columns"),
        (["c.csv", "--scores", "s.npy", "--columns", "abx.txt"], "not among the columns, such as 'c'"),
        (["--scores", "s.npy", "--texts", "ab.txt"], "expected 4 lines, one a row of scores, got 2"),
        (["--scores", "s.npy", "--texts", "0123.txt"], "entry 4: expected a column number from 0 to 2"),
        (["--scores", "s.npy", "--index", "i"], "either --scores or an index"),
        (["--scores", "s.npy", "--texts", "ab.txt", "c.csv"], "either ANNOTATIONS or --texts"),
        (["c.csv", "--texts", "ab.txt", "--index", "i"], "which is missing"),
        (["--scores", "s.npy", "--ranks", "r.csv"], "--ranks needs ANNOTATIONS"),
        (["--scores", "s.npy", "--plot", "p.gif"], "ending in .png, .svg, .pdf"),
        (["--scores", "s.npy", "--plot", "no/p.png"], "its folder does not exist"),
        (["c.csv", "--scores", "s.npy", "--save-scores", "no/s.npy"], "its folder does not exist"),
        (["c.csv", "--scores", "s.npy", "--bootstrap", "5"], "at least 20 resamples"),
        ([], "expected ANNOTATIONS"),
        (["c.csv"], "expected --index DIR, --videos FOLDER or --scores FILE"),
        (["c.csv", "--videos", "."], "needs --model BUNDLE"),
        (["c.csv", "--index", "absent"], "does not exist: make it with `vtr index`"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save(Path("s.npy"), SCORES)
    text(Path("c.csv"), CAPTIONS)
    text(Path("two.csv"), "video,caption\na,x\nb,y\n")
    text(Path("wide.csv"), "video,caption\na,x\nb,y\nc,z\nd,w\n")
    text(Path("ab.txt"), "a\nb\n")
    text(Path("abx.txt"), "a\nb\nx\n")
    text(Path("0123.txt"), "0\n1\n2\n3\n")
    output = run(*arguments, code=2).output
    assert message in " ".join(output.split())


# ---- the plot -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--save-scores", "--plot"])
def test_outputs_that_may_not_be_written_are_refused_first(tmp_path, monkeypatch, option):
    monkeypatch.setattr("vtr.files.os.access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr("vtr.evaluation.score_files.read_scores", lambda path: pytest.fail("it was begun"))
    result = run("--scores", save(tmp_path / "s.npy", np.eye(3)), option, tmp_path / "out.png", code=2)
    assert "cannot write" in result.output and "permission denied" in result.output


def test_figures_are_shown_before_files_are_written(tmp_path, monkeypatch):
    def full(*given, **named):
        raise OSError(28, "No space left on device")

    scores = save(tmp_path / "s.npy", np.eye(3))
    monkeypatch.setattr("vtr.cli.eval.np.save", full)
    result = run("--scores", scores, "--save-scores", tmp_path / "out.npy", code=1)
    assert "R@1" in result.output and "No space left on device" in result.output


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_plot_is_drawn(tmp_path, suffix):
    pytest.importorskip("matplotlib", reason="no matplotlib")
    path = save(tmp_path / "s.npy", np.random.default_rng(0).normal(size=(30, 30)) + np.eye(30))
    run("--scores", path, "--dsl", "--plot", tmp_path / f"recall{suffix}", "--bootstrap", 50)
    start = (tmp_path / f"recall{suffix}").read_bytes()[:5]
    assert start[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.parametrize(("texts", "videos"), [(1, 1), (3, 2), (4, 250)])
def test_small_and_large_test_sets_can_be_drawn(tmp_path, texts, videos):
    pytest.importorskip("matplotlib", reason="no matplotlib")
    found = evaluate(np.random.default_rng(0).normal(size=(texts, videos)), np.arange(texts) % videos)
    plot_recall(found, tmp_path / "recall.png")
    assert (tmp_path / "recall.png").stat().st_size > 1000


def test_without_matplotlib_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    path = save(tmp_path / "s.npy", np.eye(3))
    output = run("--scores", path, "--plot", tmp_path / "p.png", code=1).output
    assert "pip install 'vtr[plot]'" in output and "text → video" not in output


# ---- an index -----------------------------------------------------------------------------------------


class FakeEngine:
    """Scores captions by words that they share with file names: all that `vtr eval` asks of an engine."""

    def __init__(self, *paths):
        self.paths = [Path("/videos") / path for path in paths]
        self.model = SimpleNamespace(sizes={"words": 4})
        self.words, self.asked = [], []

    def encode_text(self, texts):
        self.asked.append(len(texts))
        rows = []
        for sentence in texts:
            self.words.append(sentence.split())
            rows.append([len(self.words) - 1, 1, 1, len(sentence.split()) > 2])  # the last is not padding
        ids = np.array(rows, np.int64)
        return TextFeatures(ids, np.zeros((len(ids), 2), np.float32), np.zeros((len(ids), 4, 2), np.float32))

    def bank(self):
        records = [SimpleNamespace(path=path) for path in self.paths]
        return SimpleNamespace(snapshot=SimpleNamespace(records=lambda: records), scores=self.scores)

    def scores(self, text, positions):
        shared = [
            [len(set(self.words[row]) & set(self.paths[place].stem.split("-"))) for place in positions]
            for row in text.ids[:, 0]
        ]
        return np.array(shared, np.float32)

    def index(self, files, progress):
        self.paths += files
        return SimpleNamespace(failed=[SimpleNamespace(path=Path("x.mp4"), reason="no video stream")])


FILES = ("red-car.mp4", "blue-car.mp4", "green-boat.mp4", "other-boat.mp4")
INDEXED = "video,caption\ngreen-boat,a green boat\nred-car,red car\nblue-car,car\n"


def test_an_index_is_scored_with_the_annotated_videos_as_columns(tmp_path):
    given = read_annotations(text(tmp_path / "c.csv", INDEXED))
    found = evaluate_index(FakeEngine(*FILES), given, resamples=0)
    assert (found.texts, found.videos) == (3, 3)
    # "car" ties between the two cars: the second place
    assert found["text_to_video"].ranks.tolist() == [1, 1, 2]
    assert found["text_to_video"].videos.tolist() == [0, 1, 2]
    assert any("fill all 4 tokens that the model reads, and may be cut: 1" in note for note in found.notes)
    assert len(given.notes) == 1  # the caller's annotations stay as they are


def test_the_whole_index_competes_if_asked(tmp_path):
    given = read_annotations(text(tmp_path / "c.csv", INDEXED + "green-boat,boat\n"))
    engine = FakeEngine(*FILES)
    assert evaluate_index(engine, given, resamples=0)["text_to_video"].ranks.tolist() == [1, 1, 2, 1]
    found = evaluate_index(engine, given, whole_index=True, resamples=0)
    assert found["text_to_video"].ranks.tolist() == [1, 1, 2, 2] and found.videos == 4
    assert len(found["video_to_text"].ranks) == 3
    assert len(given.videos) == 3


def test_missing_videos_are_named_and_refused(tmp_path):
    content = INDEXED.replace("caption\n", "caption\ngone,a ghost\n") + "gone,a phantom\n"
    given = read_annotations(text(tmp_path / "c.csv", content))
    with pytest.raises(UsageError, match=r"1 of 4 annotated .* not in the index: gone.*--allow-missing"):
        evaluate_index(FakeEngine(*FILES), given)
    found = evaluate_index(FakeEngine(*FILES), given, allow_missing=True, resamples=0)
    assert found["text_to_video"].ranks.tolist() == [1, 1, 2]
    assert any("2 captions left out: gone" in note for note in found.notes)
    with pytest.raises(UsageError, match="4 of 4 annotated videos are not in the index"):
        evaluate_index(FakeEngine("x.mp4"), given, allow_missing=True)


def test_captions_are_encoded_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("vtr.evaluation.from_index.TEXTS_AT_ONCE", 2)
    given = read_annotations(text(tmp_path / "c.csv", INDEXED))
    engine = FakeEngine(*FILES)
    assert evaluate_index(engine, given, resamples=0)["text_to_video"].ranks.tolist() == [1, 1, 2]
    assert engine.asked == [2, 1]


def test_the_command_scores_an_index_and_writes_what_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_engine", lambda **options: FakeEngine(*FILES))
    captions = text(tmp_path / "c.csv", INDEXED)
    saved, ranks = tmp_path / "scores", tmp_path / "ranks.csv"
    (tmp_path / "index").mkdir()
    result = run(captions, "--index", tmp_path / "index", "--json", "--save-scores", saved, "--ranks", ranks)
    assert metrics_of(result)["text_to_video"]["MnR"] == pytest.approx(4 / 3)
    assert json.loads(result.stdout)["protocol"] == "csv"
    again = run(captions, "--scores", saved, "--json")
    assert metrics_of(again) == metrics_of(result)
    assert [row["rank"] for row in csv.DictReader(ranks.open(encoding="utf-8"))] == ["1", "1", "2"]


def test_a_folder_is_indexed_for_the_occasion(tmp_path, monkeypatch):
    engine, opened = FakeEngine(), []
    monkeypatch.setattr(module, "open_engine", lambda **options: opened.append(options) or engine)
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in FILES:
        (folder / name).touch()
    captions = text(tmp_path / "c.csv", INDEXED)
    result = run(captions, "--videos", folder, "--model", "bundle", "--json")
    assert json.loads(result.stdout)["videos"] == 3
    assert [path.name for path in engine.paths] == ["blue-car.mp4", "green-boat.mp4", "red-car.mp4"]
    assert "failed: x.mp4: no video stream" in result.stderr
    assert opened[0]["model"] == "bundle" and not opened[0]["index_dir"].parent.exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    output = run(captions, "--videos", empty, "--model", "bundle", code=2).output
    assert "none of the annotated videos is in" in " ".join(output.split())
