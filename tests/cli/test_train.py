"""`vtr train` as a user types it: tiny models, tiny videos, a bundle at the end."""

import csv
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.numpy import load_file  # noqa: E402
from support import run_command, write_video  # noqa: E402

from vtr.cli import main  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint, random_clip  # noqa: E402

SIZES = {"dim": 64, "vision_width": 64, "layers": 1, "image": 32, "patch": 16, "context": 16}
SAYS = ["a red ball", "two green dogs", "a slow train at night", "somebody cooks", "rain", "a cat jumps"]
HEAD = ("--frames", 4, "--words", 8)


def vtr(*arguments, status=0):
    return run_command(main, *arguments, status=status).output


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six videos with captions, a broken one, a caption without a video; checkpoints to start from."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "videos").mkdir()
    for number in range(6):
        write_video(folder / "videos" / f"v{number}.mp4", seconds=1 + number % 3, size=(48, 32), seed=number)
    (folder / "videos" / "broken.mp4").write_bytes(b"no video")
    rows = [(f"v{number}", text) for number, text in enumerate(SAYS)]
    rows += [("v0", "a ball, red"), ("broken", "nothing"), ("lost", "nothing")]
    for name, kept in {"train.csv": rows, "validation.csv": rows[:3]}.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("video", "caption"), *kept])
    torch.save(random_clip(**{**SIZES, "text_width": 64}), folder / "clip.pt")
    state = random_checkpoint("xclip", frames=4, words=8, temporal_layers=1, **SIZES, seed=1)
    torch.save(state, folder / "xclip.bin")
    return folder


def train(data, out, *more, status=0):
    base = ["train", data / "train.csv", "--videos", data / "videos", "-o", out, "--batch", 3, "--epochs", 2]
    return vtr(*base, "--precision", "fp32", "--device", "cpu", *more, status=status)


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


CASES = {
    "clip4clip": ("--family", "clip4clip", "--header", "seqTransf"),
    "clip4clip-tight": ("--family", "clip4clip", "--header", "tightTransf"),
    "ea": ("--family", "ea", "--se-type", "excitation", "--header", "seqLSTM"),
    "teachclip": ("--family", "teachclip", "--teacher", "xclip.bin"),
    "xclip": ("--family", "xclip"),
    "tcmgc": ("--family", "tcmgc", "--keep-rate", 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_from_a_clip_to_a_bundle_that_searches(name, data, tmp_path):
    arguments = [data / a if a == "xclip.bin" else a for a in CASES[name]]
    whole = name == "tcmgc"  # that every family can be exported is tested where export is
    bundle = ("--validation", data / "validation.csv") if whole else ("--no-bundle",)
    said = train(data, tmp_path / "run", "--from", data / "clip.pt", *HEAD, *arguments, *bundle)
    assert "1 annotated videos have no file: lost" in said and "failed:" in said and "broken.mp4" in said
    lines = log(tmp_path / "run")
    assert lines[-1]["step"] == 4  # two epochs of two batches
    lines = [line for line in lines if "loss" in line]  # the last one is of the validation where there is one
    assert lines[-1]["step"] == 4 and lines[-1]["loss"] > 0
    assert ("model.correlation" in lines[-1]) == ("model.frames" in lines[-1]) == (name == "teachclip")
    model = ExportOptions(frames=4, words=8, se_type="excitation" if name == "ea" else None)
    trained = build_model(load_checkpoint(tmp_path / "run" / "model.safetensors"), model)
    assert trained.family == arguments[1]
    given = load_checkpoint(data / "clip.pt")
    assert not torch.equal(trained.clip.visual.proj, given["clip.visual.proj"])
    if whole:
        index = ["--index", tmp_path / "index"]
        vtr("index", data / "videos" / "v1.mp4", "--model", tmp_path / "run" / "bundle", *index)
        assert "v1.mp4" in vtr("search", "two green dogs", *index)


def test_resuming_goes_on_where_the_run_stopped(data, tmp_path, monkeypatch):
    more = ("--from", data / "xclip.bin", "--no-bundle")  # a trained model, whose tensors say its sizes
    train(data, tmp_path / "whole", *more)

    from vtr.training.annotated import AnnotatedClips

    whole = AnnotatedClips.__getitem__

    def interrupted(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return whole(self, step)

    assert "holds a run already" in train(data, tmp_path / "whole", *more, status=2)
    assert "no run to resume" in train(data, tmp_path / "none", *more, "--resume", status=2)
    monkeypatch.setattr(AnnotatedClips, "__getitem__", interrupted)
    train(data, tmp_path / "half", *more, "--save-minutes", 1e-9, status=130)
    monkeypatch.setattr(AnnotatedClips, "__getitem__", whole)
    told = train(data, tmp_path / "half", *more, "--resume", "--lr", 1, status=2)
    assert "lr was 0.0001 and is 1.0" in told
    train(data, tmp_path / "half", *more, "--resume")
    states = [load_checkpoint(tmp_path / name / "model.safetensors") for name in ("whole", "half")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_every_epoch_is_validated_and_the_best_model_exported(data, tmp_path, monkeypatch):
    scores = iter([np.eye(3), 1 - np.eye(3)])  # the first epoch is always right, the second never
    monkeypatch.setattr("vtr.training.validate.score_matrix", lambda *given: next(scores))
    out = tmp_path / "run"
    said = train(data, out, "--from", data / "xclip.bin", "--validation", data / "validation.csv")
    assert "3 of the 3 videos to validate on are trained on, too" in said
    found = [line for line in log(out) if "validation.score" in line]
    assert [line["step"] for line in found] == [2, 4]
    assert {"validation.R@1", "validation.MdR"} <= found[0].keys()
    assert [line["validation.score"] for line in found] == [100, 0]
    best, last = (load_checkpoint(out / f"{name}.safetensors") for name in ("best", "model"))
    assert any(not torch.equal(best[key], last[key]) for key in best)
    head = load_file(out / "bundle" / "head.safetensors")
    assert torch.equal(torch.from_numpy(head["global_mat_weight"]), best["global_mat_weight"])


def test_msrvtt_as_published_trains_on_one_split_and_validates_on_another(data, tmp_path):
    splits = ["train"] * 4 + ["validate", "test"]
    document = {
        "videos": [{"video_id": f"v{n}", "split": split} for n, split in enumerate(splits)],
        "sentences": [{"video_id": f"v{n}", "caption": text} for n, text in enumerate(SAYS)],
    }
    (tmp_path / "msrvtt.json").write_text(json.dumps(document))
    arguments = ["train", tmp_path / "msrvtt.json", "--videos", data / "videos", "--batch", 2, "--epochs", 1]
    arguments += ["--from", data / "xclip.bin", "--device", "cpu", "--no-bundle"]
    arguments += ["--validation", tmp_path / "msrvtt.json"]
    said = vtr(*arguments, "-o", tmp_path / "run")
    assert "trained on, too" not in said
    assert len(list((tmp_path / "run" / "frames").iterdir())) == 5  # and not the one to test on
    assert [line["step"] for line in log(tmp_path / "run") if "validation.score" in line] == [2]
    said = vtr(*arguments, "--validation-split", "train", "-o", tmp_path / "other")
    assert "4 of the 4 videos to validate on are trained on, too" in said


def test_a_command_that_failed_before_its_first_step_can_be_mended(data, tmp_path):
    more = ("--from", data / "xclip.bin", "--no-bundle")
    assert "at most 2 parts" in train(data, tmp_path / "run", *more, "--freeze", 99, status=2)
    train(data, tmp_path / "run", *more)


@pytest.mark.parametrize(
    ("pair", "reduction", "hidden"),
    [("unity", 2, (2, 2)), ("squeeze_expand", 2, (2, 8)), ("expand_squeeze", 0.5, (8, 2))],
)
def test_the_gates_of_ea_are_as_asked_for(pair, reduction, hidden, data, tmp_path):
    more = ("--from", data / "clip.pt", "--no-bundle", *HEAD)
    train(data, tmp_path / "run", *more, "--family", "ea", "--pair", pair, "--reduction", reduction)
    state = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert tuple(len(state[f"se_block.{name}.fc.0.weight"]) for name in ("scale", "aggregate")) == hidden


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out"], "expected ANNOTATIONS and --videos FOLDER to train on (or --clips)"),
        (["--clips", "train.csv", "-o", "out"], "expected either --clips or ANNOTATIONS"),
        (["train.csv", "--videos", "videos", "-o", "out", "--steps", "5"], "--steps is for --clips"),
        (["train.csv", "--videos", "videos", "-o", "out"], "expected either a checkpoint to start from"),
        (["train.csv", "--videos", "videos", "-o", "out", "--from", "clip.pt"], "expected a family"),
        (
            ["train.csv", "--videos", "videos", "-o", "out", "--family", "ea", "--size", "huge"],
            "expected a size as one of",
        ),
        (
            ["train.csv", "--videos", "videos", "-o", "out", "--from", "xclip.bin", "--batch", "99"],
            "expected a batch of 1 to 6",
        ),
        (
            ["train.csv", "--videos", "videos", "-o", "out", "--from", "xclip.bin", "--lr", "0"],
            "lr: expected a positive number",
        ),
        (
            ["train.csv", "--videos", "videos", "-o", "out", "--from", "xclip.bin", "--teacher", "xclip.bin"],
            "a teacher teaches models of the family teachclip",
        ),
        (["--clips", "--fps", "2", "-o", "out"], "leave --fps and --slice out"),
        (["--clips", "--epochs", "2", "-o", "out"], "--epochs are for ANNOTATIONS"),
        (
            ["train.csv", "--videos", "videos", "-o", "out", "--validation-split", "x"],
            "give --validation too",
        ),
        (
            ["train.csv", "--videos", "videos", "-o", "out", "--from", "xclip.bin", "--pair", "unity"],
            "of the gates of a new head, with --family ea",
        ),
    ],
)
def test_what_cannot_be_is_said_before_hours_of_work(arguments, message, data, tmp_path, monkeypatch):
    monkeypatch.chdir(data)
    arguments = [str(tmp_path / "out") if a == "out" else a for a in arguments]
    told = vtr("train", *arguments, "--device", "cpu", status=2)
    assert message in " ".join(told.split())
