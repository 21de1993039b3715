"""Training on the GPU against the same steps on a CPU: the same losses, and weights that follow them."""

import pytest

pytest.importorskip("torch")

import gpu.needs_gpu  # noqa: F401
from training_cases import Batches, Some, make_model

from vtr.training.journal import LOG, read_log
from vtr.training.loop import train
from vtr.training.options import TrainOptions

# float32 on both: products are added up in another order, and Adam's first steps magnify what is next to
# nothing.
RELATIVE = 2e-3


@pytest.mark.parametrize(
    "name", ["meanP", "seqLSTM", "tightTransf", "excitation_aggregation", "xclip", "tcmgc"]
)
def test_losses_of_the_cpu(name, tmp_path, place):
    losses = {}
    for device in ("cpu", "cuda"):
        options = TrainOptions(lr=1e-4, coef_lr=1.0, precision="fp32", device=device, log_steps=1)
        train({"m": make_model(name)}, Batches(4), options, tmp_path / device)
        losses[device] = [line["loss"] for line in read_log(tmp_path / device / LOG)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=RELATIVE)


def test_a_run_goes_on_with_bf16(tmp_path, place):
    options = TrainOptions(precision="bf16", device="cuda", save_steps=2, log_steps=1)
    with pytest.raises(EOFError):
        train({"m": make_model("xclip")}, Some(4, range(2)), options, tmp_path)
    train({"m": make_model("xclip")}, Some(4, range(2, 4)), options, tmp_path)
    lines = read_log(tmp_path / LOG)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(0 < line["loss"] < float("inf") for line in lines)
