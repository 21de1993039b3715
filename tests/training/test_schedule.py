"""The learning rate over a run, and which parameters learn how."""

import math

import pytest

torch = pytest.importorskip("torch")

from training_cases import make_model  # noqa: E402

from vtr.training.optimizer import clamp_scales, make_optimizer, set_rates  # noqa: E402
from vtr.training.schedule import learning_rate  # noqa: E402


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (7, 0.5), (3, 1.0), (1, 0.1), (50, 0.0)])
def test_rises_to_one_and_falls_towards_zero(steps, warmup):
    rates = [learning_rate(step, steps, warmup) for step in range(steps)]
    rise = max(1, round(warmup * steps)) if warmup else 0
    assert rates[:rise] == [(step + 1) / rise for step in range(rise)]
    assert all(a > b for a, b in zip(rates[rise:], rates[rise + 1 :], strict=False))
    assert all(0 < rate <= 1 for rate in rates)
    if rise < steps:
        assert rates[rise] == 1


def test_half_way_down_is_a_half():
    assert learning_rate(55, 100, 0.1) == pytest.approx(0.5)
    assert learning_rate(99, 100, 0.1) == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)


def test_groups():
    model = make_model("tcmgc")
    optimizer = make_optimizer({"m": model}, lr=1e-3, coef_lr=0.1, weight_decay=0.2)
    found = {
        name.partition("/")[2]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for name in group["names"]
    }
    assert len(found) == len(list(model.parameters()))
    clip, new = pytest.approx(1e-4), pytest.approx(1e-3)
    for name, expected in {
        "clip.logit_scale": (clip, 0),
        "clip.visual.class_embedding": (clip, 0),
        "clip.visual.conv1.weight": (clip, 0.2),
        "clip.visual.positional_embedding": (clip, 0.2),
        "clip.visual.ln_post.weight": (clip, 0),
        "clip.visual.transformer.resblocks.0.attn.in_proj_bias": (clip, 0),
        "clip.visual.transformer.resblocks.0.attn.in_proj_weight": (clip, 0.2),
        "transformerClip.resblocks.0.ln_1.weight": (new, 0),
        "transformerClip.resblocks.0.mlp.c_fc.bias": (new, 0),
        "frame_position_embeddings.weight": (new, 0.2),
        "global_mat_weight": (new, 0.2),
        "conditional_transformer.pool_frames.linear_proj.weight": (new, 0.2),
    }.items():
        assert found[name] == expected, name
    set_rates(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {5e-5, 5e-4}
    set_rates(optimizer, 1.0)  # of the initial rate, not of the last
    assert {group["lr"] for group in optimizer.param_groups} == {1e-4, 1e-3}


def test_the_matrices_of_teachclips_frame_aggregation_have_a_rate_of_their_own():
    optimizer = make_optimizer({"m": make_model("teachclip")}, 1e-3, 0.1, 0.2, afa_lr=10)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates["m/frameLinear.weight"] == rates["m/frameLinear2.weight"] == pytest.approx(1e-2)
    assert rates["m/frameLinear.bias"] == rates["m/frameLinear2.bias"] == pytest.approx(1e-3)


def test_shared_and_frozen_parameters():
    first, second = make_model("meanP"), make_model("xclip")
    second.clip = first.clip
    first.clip.visual.proj.requires_grad_(False)
    optimizer = make_optimizer({"a": first, "b": second}, 1e-3, 1.0, 0.2)
    names = [name for group in optimizer.param_groups for name in group["names"]]
    assert len(names) == len(set(names)) and "a/clip.visual.proj" not in names
    assert (
        "a/clip.logit_scale" in names and "b/clip.logit_scale" not in names and "b/local_mat_weight" in names
    )


def test_the_scale_is_clamped_at_a_hundred():
    model = make_model("meanP")
    with torch.no_grad():
        model.clip.logit_scale.fill_(7.0)
    clamp_scales({"m": model})
    assert float(model.clip.logit_scale.detach().exp()) == pytest.approx(100)
