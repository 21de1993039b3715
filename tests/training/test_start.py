"""The models that runs start from, and validation's score matrix against the reference model's."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training_cases import FRAMES, MODELS, SIDE, SIZES, WORDS, make_batch, make_model  # noqa: E402

from vtr.errors import CheckpointError, UsageError  # noqa: E402
from vtr.export.synthetic import random_checkpoint, random_clip, write_huggingface  # noqa: E402
from vtr.training import validate  # noqa: E402
from vtr.training.checkpoints import published_state  # noqa: E402
from vtr.training.fresh import SIZES as TOWERS  # noqa: E402
from vtr.training.fresh import TowerSizes  # noqa: E402
from vtr.training.start import Start, start_model  # noqa: E402

GIVEN = {"frames": FRAMES, "words": WORDS}


def saved(folder, name):
    torch.save(random_checkpoint(**{**SIZES, **MODELS[name]}), folder / f"{name}.bin")
    return str(folder / f"{name}.bin")


@pytest.mark.parametrize("name", ["meanP", "seqTransf", "excitation", "teachclip", "xclip", "tcmgc"])
def test_a_trained_model_is_taken_as_it_is(name, tmp_path):
    se_type = "excitation" if name == "excitation" else None
    family = "clip4clip" if name == "meanP" else None  # towers alone may be of any family
    model = start_model(Start(source=saved(tmp_path, name), se_type=se_type, family=family, **GIVEN))
    want = published_state(make_model(name))
    got = published_state(model)
    assert got.keys() == want.keys() and all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("family", ["clip4clip", "ea", "teachclip", "xclip", "tcmgc"])
def test_a_clip_gets_a_new_head(family, tmp_path):
    clip = random_clip(dim=64, text_width=64, layers=1, image=SIDE, patch=16, vocab=97, context=16)
    torch.save(clip, tmp_path / "clip.pt")
    model = start_model(Start(source=str(tmp_path / "clip.pt"), family=family, **GIVEN))
    assert model.family == family and model.variant == ("excitation_aggregation" if family == "ea" else None)
    assert torch.equal(model.clip.visual.proj, clip["visual.proj"])


def test_another_family_takes_the_towers_only(tmp_path):
    source = saved(tmp_path, "xclip")
    model = start_model(Start(source=source, family="tcmgc", keep_rate=0.5, **GIVEN))
    assert (model.family, model.sizes["keep"]) == ("tcmgc", 3)
    assert torch.equal(model.clip.visual.proj, make_model("xclip").clip.visual.proj)
    other = start_model(Start(source=source, family="clip4clip", header="meanP", **GIVEN))
    assert other.sim_header == "meanP" and not list(other.temporal_head.parameters())


def test_what_a_configuration_says_is_kept_with_a_new_head(tmp_path):
    clip = random_clip(dim=64, text_width=64, layers=1, image=SIDE, patch=16, vocab=97, context=16)
    write_huggingface(clip, tmp_path / "hf", hidden_act="gelu")
    model = start_model(Start(source=str(tmp_path / "hf"), family="tcmgc", **GIVEN))
    activation = model.clip.visual.transformer.resblocks[0].mlp.activation
    assert activation is torch.nn.functional.gelu


def test_a_new_model_of_a_size(monkeypatch):
    monkeypatch.setitem(TOWERS, "tiny", TowerSizes(64, 1, 16, SIDE, 64, 1, 16))
    model = start_model(Start(size="tiny", family="xclip", vocab=50, seed=3, **GIVEN))
    assert (model.family, model.sizes["vocab"], model.sizes["image"]) == ("xclip", 50, SIDE)
    again = start_model(Start(size="tiny", family="xclip", vocab=50, seed=3, **GIVEN))
    assert torch.equal(model.clip.text_projection, again.clip.text_projection)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "either a checkpoint"),
        ({"source": "x.pt", "size": "mini"}, UsageError, "either a checkpoint"),
        ({"size": "mini"}, UsageError, "expected a family"),
        ({"size": "mini", "family": "clip4clip", "header": "x"}, UsageError, "header"),
        ({"source": "none.pt", "family": "tcmgc"}, CheckpointError, "no such file"),
        ({"size": "mini", "family": "xclip", "pair": "unity"}, UsageError, "of a new head, with --family ea"),
        ({"size": "mini", "family": "ea", "reduction": 99.0}, UsageError, "from 1/12 to 12"),
        ({"size": "mini", "family": "ea", "pair": "squeeze_expand", "reduction": 0.5}, UsageError, "above 1"),
    ],
)
def test_what_cannot_be_started(given, error, message):
    with pytest.raises(error, match=message):
        start_model(Start(**given))


@pytest.mark.parametrize("name", ["seqTransf", "tightTransf", "xclip", "tcmgc"])
def test_the_validation_matrix_is_the_reference_models(name, tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "TEXTS", 2)
    monkeypatch.setattr(validate, "VIDEOS", 2)
    model, batch = make_model(name).requires_grad_(False), make_batch(5)
    ends = batch.counts.cumsum(0).tolist()
    paths, frames, mask = [], torch.zeros(4, FRAMES, SIDE, SIDE, 3, dtype=torch.uint8), torch.zeros(4, FRAMES)
    for video, (end, count) in enumerate(zip(ends[:4], batch.counts.tolist(), strict=False)):
        paths.append(tmp_path / f"{video}.npy")
        np.save(paths[-1], batch.frames[end - count : end].numpy())
        frames[video, :count] = batch.frames[end - count : end]
        mask[video, :count] = 1
    got = validate.score_matrix(model, batch.ids, paths)
    video = model.temporal(model.encode_vision(frames, mask), mask)
    want = model.score(*model.encode_text(batch.ids), video, mask)
    assert got.shape == (5, 4)
    np.testing.assert_allclose(got, want.numpy(), rtol=0, atol=2e-3)  # float32 logits of scale 100
