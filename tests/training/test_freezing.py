"""Parts of an image tower that do not learn: nothing of them moves, all else does."""

import pytest

torch = pytest.importorskip("torch")

from training_cases import FRAMES, SIDE, VOCAB, WORDS, Batches, Some, make_model  # noqa: E402

from vtr.errors import UsageError  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.training.fresh import TowerSizes, fresh_checkpoint  # noqa: E402
from vtr.training.loop import train  # noqa: E402
from vtr.training.options import TrainOptions  # noqa: E402

STEM = ("conv1.", "bn1.", "conv2.", "bn2.", "conv3.", "bn3.")
PATCHES = ("conv1.", "class_embedding", "positional_embedding", "ln_pre.")
SMALL = TowerSizes(16, (1, 1, 1, 1), 32, SIDE, 64, 1, 16)


def resnet():
    state = fresh_checkpoint("xclip", size=SMALL, frames=FRAMES, words=WORDS, vocab=VOCAB)
    return build_model(state, ExportOptions(frames=FRAMES, words=WORDS))


def options(**changes) -> TrainOptions:
    return TrainOptions(lr=1e-2, coef_lr=1.0, warmup=0, precision="fp32", device="cpu", **changes)


@pytest.mark.parametrize(
    ("make", "freeze", "frozen"),
    [
        (resnet, 0, ()),
        (resnet, 1, STEM),
        (resnet, 3, (*STEM, "layer1.", "layer2.")),
        (lambda: make_model("tcmgc", layers=2), 1, PATCHES),
        (lambda: make_model("tcmgc", layers=2), 2, (*PATCHES, "transformer.resblocks.0.")),
        (lambda: make_model("3d"), 1, ("conv2.", *PATCHES[1:])),
    ],
)
def test_frozen_parts_stay_and_all_else_learns(make, freeze, frozen, tmp_path):
    model = make()
    before = {name: value.clone() for name, value in model.clip.state_dict().items()}
    train({"m": model}, Batches(2), options(freeze=freeze), tmp_path)
    after = model.clip.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    still = {name.removeprefix("visual.") for name in before if name not in moved}
    kept = {name.removeprefix("visual.") for name in before if name.startswith("visual.")}
    kept = {name for name in kept if name.startswith(frozen)} if frozen else set()
    assert kept <= still, kept - still
    assert all(name.endswith(("k_proj.bias", "in_proj_bias")) for name in still - kept), still - kept


def test_a_run_with_frozen_parts_resumes_bit_for_bit(tmp_path):
    whole, half, resumed = resnet(), resnet(), resnet()
    train({"m": whole}, Batches(4), options(freeze=2), tmp_path / "whole")
    with pytest.raises(EOFError):
        train({"m": half}, Some(4, range(2)), options(freeze=2, save_steps=2), tmp_path / "halves")
    train({"m": resumed}, Some(4, range(2, 4)), options(freeze=2), tmp_path / "halves")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_more_parts_than_there_are_cannot_be_frozen(tmp_path):
    with pytest.raises(UsageError, match="at most 5 parts of the image tower to freeze, got 6"):
        train({"m": resnet()}, Batches(1), options(freeze=6), tmp_path)
