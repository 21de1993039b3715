"""Runs of a few steps: they learn, resume bit for bit, stop cleanly and leave what export takes."""

import json
import signal

import pytest

torch = pytest.importorskip("torch")

from training_cases import FRAMES, MODELS, WORDS, Batches, make_batch, make_model  # noqa: E402
from training_cases import interrupt_training as interrupt  # noqa: E402

from vtr.errors import CheckpointError, UsageError  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.training.checkpoints import Progressed, load_run, published_state, save_run  # noqa: E402
from vtr.training.loop import TrainingError, pick_device, pick_precision, train  # noqa: E402
from vtr.training.losses import LossWeights  # noqa: E402
from vtr.training.optimizer import make_optimizer  # noqa: E402
from vtr.training.options import TrainOptions  # noqa: E402
from vtr.training.step import run_batch  # noqa: E402

torch.set_num_threads(1)

FAST = TrainOptions(lr=2e-3, coef_lr=1.0, precision="fp32", log_steps=1, warmup=0.2, device="cpu")


def options(**changes) -> TrainOptions:
    return TrainOptions(**{**FAST.__dict__, **changes})


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def joint(*names: str) -> dict:
    """Models that share the first one's CLIP."""
    models = {name: make_model(name) for name in names}
    for model in models.values():
        model.clip = models[names[0]].clip
    return models


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_one_batch_by_heart(name, tmp_path):
    model = make_model(name)
    with torch.no_grad():
        model.clip.logit_scale.fill_(2.0)
    train({name: model}, Batches(12, same=True), options(), tmp_path)
    losses = [line["loss"] for line in log(tmp_path)]
    assert len(losses) == 12 and losses[-1] < 0.7 * losses[0], losses
    state = load_checkpoint(tmp_path / "model.safetensors")
    alone = (
        MODELS[name].get("variant") if MODELS[name].get("variant") in ("excitation", "aggregation") else None
    )
    again = build_model(state, ExportOptions(frames=FRAMES, words=WORDS, se_type=alone))
    assert (again.family, again.sim_header, again.variant) == (model.family, model.sim_header, model.variant)
    assert same(published_state(again), published_state(model))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resuming_is_exact(precision, tmp_path):
    given = options(precision=precision, save_steps=3)
    whole = {"m": make_model("tcmgc")}
    train(whole, Batches(6), given, tmp_path / "whole")

    class Stops(Batches):
        def __getitem__(self, step):
            if step == 3:
                raise RuntimeError("the power went")
            return super().__getitem__(step)

    with pytest.raises(RuntimeError, match="power"):
        train({"m": make_model("tcmgc")}, Stops(6), given, tmp_path / "halves")
    resumed = {"m": make_model("tcmgc", seed=5)}  # whatever it held, the checkpoint decides
    train(resumed, Batches(6), given, tmp_path / "halves")
    assert same(published_state(resumed["m"]), published_state(whole["m"]))
    fields = [{key: line[key] for key in ("step", "loss", "gradient")} for line in log(tmp_path / "whole")]
    assert fields == [{key: line[key] for key in fields[0]} for line in log(tmp_path / "halves")]


def test_a_finished_run_stays_as_it_is(tmp_path):
    model = make_model("meanP")
    train({"m": model}, Batches(2), options(), tmp_path)
    before = {key: value.clone() for key, value in published_state(model).items()}
    train({"m": model}, Batches(2), options(), tmp_path)
    assert same(before, published_state(model)) and len(log(tmp_path)) == 2


def test_batches_from_worker_processes_are_the_same(tmp_path):
    states = []
    for workers in (0, 2):
        model = make_model("meanP")
        train({"m": model}, Batches(4), options(workers=workers), tmp_path / str(workers))
        states.append(published_state(model))
    assert same(*states)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_and_goes_on(number, tmp_path):
    whole = make_model("meanP")
    train({"m": whole}, Batches(5), options(), tmp_path / "whole")
    interrupt(number, "meanP", 5, options(), tmp_path / "stopped")
    assert [line["step"] for line in log(tmp_path / "stopped")] == [1, 2, 3]
    resumed = make_model("meanP", seed=1)
    train({"m": resumed}, Batches(5), options(), tmp_path / "stopped")
    assert same(published_state(resumed), published_state(whole))


def test_numbers_that_are_not_finite_stop_the_run(tmp_path):
    model = make_model("meanP")

    class Breaks(Batches):
        def __getitem__(self, step):
            if step == 2:
                with torch.no_grad():
                    model.clip.visual.proj.fill_(float("nan"))
            return super().__getitem__(step)

    with pytest.raises(TrainingError, match="step 3: the loss is nan"):
        train({"m": model}, Breaks(5), options(save_steps=2), tmp_path)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 2


def test_joint_training_is_the_mean_of_the_losses(tmp_path):
    batch = make_batch(4)
    models = joint("meanP", "xclip", "teachclip")
    found = run_batch(models, batch, LossWeights(), teacher="xclip")
    got = {name: p.grad.clone() for name, p in models["meanP"].clip.named_parameters()}
    wanted, terms = {}, []
    for name in models:
        again = joint("meanP", "xclip", "teachclip")
        taught = name == "teachclip"
        if taught:  # a teacher apart that equals the one in the run
            alone = run_batch(
                {name: again[name]}, batch, LossWeights(), teacher=joint("xclip", "meanP")["xclip"]
            )
        else:
            alone = run_batch({name: again[name]}, batch, LossWeights())
        terms.append(alone["loss"])
        for key, p in again["meanP"].clip.named_parameters():
            wanted[key] = wanted.get(key, 0) + p.grad / 3
    assert {"teachclip.correlation", "teachclip.frames", "xclip.contrast"} <= found.keys()
    assert not {"xclip.correlation", "meanP.correlation"} & found.keys()
    torch.testing.assert_close(found["loss"], torch.stack(terms).mean())
    for key, gradient in wanted.items():  # float32 sums in another order
        torch.testing.assert_close(
            got[key], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max() + 1e-6)
        )


def test_joint_runs_write_a_file_a_model_and_resume(tmp_path):
    models = joint("xclip", "teachclip")
    train(models, Batches(2), options(teacher="xclip"), tmp_path)
    state = load_checkpoint(tmp_path / "model-teachclip.safetensors")
    assert same(
        published_state(build_model(state, ExportOptions(frames=FRAMES, words=WORDS))),
        published_state(models["teachclip"]),
    )
    optimizer = make_optimizer(models, 1e-3, 1.0, 0.2)
    again = joint("xclip", "teachclip")
    assert load_run(tmp_path / "last.pt", again, make_optimizer(again, 1e-3, 1.0, 0.2)).step == 2
    with pytest.raises(CheckpointError, match="expected the models teachclip, got xclip, teachclip"):
        load_run(tmp_path / "last.pt", {"teachclip": models["teachclip"]}, optimizer)


def test_a_teacher_apart_is_not_trained(tmp_path):
    teacher, model = make_model("tcmgc", seed=3), make_model("teachclip")
    before = {key: value.clone() for key, value in published_state(teacher).items()}
    train({"m": model}, Batches(2), options(), tmp_path, teacher=teacher)
    assert same(before, published_state(teacher))
    assert {"m.contrast", "m.correlation", "m.frames"} <= log(tmp_path)[0].keys()


def test_the_best_model_is_kept(tmp_path):
    scores = iter([0.3, 0.9, 0.5])
    kept = []

    def validate(models):
        kept.append({key: value.clone() for key, value in published_state(models["m"]).items()})
        return {"score": next(scores), "r1": 1}

    train({"m": make_model("meanP")}, Batches(3), options(validate_steps=1), tmp_path, validate=validate)
    best = load_checkpoint(tmp_path / "best.safetensors")
    assert same({key: best[key] for key in kept[1]}, kept[1])
    assert [line["validation.score"] for line in log(tmp_path) if "validation.score" in line] == [
        0.3,
        0.9,
        0.5,
    ]


def test_progress_and_log(tmp_path):
    seen = []
    train(
        {"m": make_model("tcmgc")},
        Batches(5),
        options(log_steps=2),
        tmp_path,
        progress=lambda **at: seen.append(at),
    )
    assert (seen[-1]["done"], seen[-1]["total"]) == (5, 5) and "loss" in seen[-1]["name"]
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 5]
    expected = {"loss", "m.contrast", "m.sdr", "gradient", "scale", "lr.clip", "lr.new", "clips_per_s"}
    assert expected <= lines[0].keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, "lr: expected a positive number, got 0"),
        ({"lr": float("nan")}, "lr"),
        ({"coef_lr": -1}, "coef_lr"),
        ({"warmup": 2}, "warmup: expected a number from 0 to 1"),
        ({"precision": "fp16"}, "precision: expected one of auto, fp32, bf16"),
        ({"workers": 1.5}, "workers: expected an integer"),
        ({"save_steps": 0}, "save_steps"),
        ({"log_steps": True}, "log_steps"),
    ],
)
def test_options_are_checked(change, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions(**change)


def test_several_processes_never_look_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda" and pick_device("auto", processes=2) == "cpu"


def test_every_process_needs_a_batch(tmp_path):
    with pytest.raises(UsageError, match="a batch for each of the 3 processes, got 2 in all"):
        train({"m": make_model("meanP")}, Batches(2), options(processes=3), tmp_path)


def test_models_that_do_not_go_together_are_refused(tmp_path):
    source = Batches(1)
    with pytest.raises(UsageError, match="share one clip module"):
        train({"a": make_model("meanP"), "b": make_model("xclip")}, source, options(), tmp_path)
    with pytest.raises(UsageError, match="frames 7, expected 4"):
        train(
            {"m": make_model("teachclip")}, source, options(), tmp_path, teacher=make_model("meanP", frames=7)
        )
    with pytest.raises(UsageError, match="none of the models"):
        train({"m": make_model("teachclip")}, source, options(teacher="x"), tmp_path)
    with pytest.raises(UsageError, match="a teacher teaches models of the family teachclip"):
        train({"m": make_model("meanP")}, source, options(), tmp_path, teacher=make_model("xclip"))


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    model = make_model("meanP")
    optimizer = make_optimizer({"m": model}, 1e-3, 1.0, 0.2)
    save_run(tmp_path, {"m": model}, optimizer, Progressed(1))
    other = make_model("meanP", vision_width=128)
    with pytest.raises(CheckpointError, match="other tensors"):
        load_run(tmp_path / "last.pt", {"m": other}, make_optimizer({"m": other}, 1e-3, 1.0, 0.2))
    model.clip.visual.requires_grad_(False)
    with pytest.raises(CheckpointError, match="other parameters"):
        load_run(tmp_path / "last.pt", {"m": model}, make_optimizer({"m": model}, 1e-3, 1.0, 0.2))
    data = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_run(tmp_path / "last.pt", {"m": model}, optimizer)
    torch.save({"format": 9}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="format 1"):
        load_run(tmp_path / "last.pt", {"m": model}, optimizer)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("amx", "expected"), [(True, "bf16"), (False, "fp32")])
def test_precision_is_what_was_asked_for_or_what_is_fast(amx, expected, monkeypatch):
    monkeypatch.setattr("vtr.training.loop._has_amx", lambda: amx)
    assert pick_precision("fp32", "cpu") == "fp32" and pick_precision("bf16", "cpu") == "bf16"
    assert pick_precision("auto", "cpu") == expected
