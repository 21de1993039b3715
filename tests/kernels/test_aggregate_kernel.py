"""Aggregation in the interpreter, against its plain forms in float64, and those against the PyTorch heads."""

from kernel_cases import device, wide  # isort: skip  (before the kernels)

import numpy as np
import pytest
import torch

from vtr.errors import UsageError
from vtr.export.families.ea import EAHead, excitation
from vtr.export.families.ea import Gate as ReferenceGate
from vtr.export.families.teachclip import TeachClipHead
from vtr.export.temporal import MeanP, mean_weights, unit, weighted_sum
from vtr.kernels.aggregate import (
    Gate,
    afa_reference,
    aggregate_afa,
    excite_frames,
    excite_reference,
    gate_weights,
    pool_frames,
    pool_reference,
)
from vtr.kernels.intra import frame_factors, intra_reference

SIZES = [(12, 64, 3), (5, 192, 20), (1, 128, 1), (13, 512, 52), (64, 64, 16)]  # frames, dim, hidden
# float32 sums of up to 512 numbers of size 1, and exponentials of them: some 10 roundings of 2^-24 each
TOLERANCE = 1e-5


def frames_and_mask(videos, frames, dim):
    rng = np.random.default_rng(frames)
    mask = (np.arange(frames) < rng.integers(1, frames + 1, videos)[:, None]).astype(np.float32)
    return rng.standard_normal((videos, frames, dim)).astype(np.float32) * 3 + 0.5, mask


def gate_of(reference):
    tensors = {name: value.detach().numpy() for name, value in reference.state_dict().items()}
    relu6 = reference.activation is torch.nn.functional.relu6
    return Gate(device(gate_weights(tensors, "")), len(tensors["fc.0.bias"]), relu6)


def close(got, want):
    return (got.double() - want).abs().max() < TOLERANCE * want.abs().max()


@pytest.mark.parametrize("frames, dim, hidden", SIZES)
@pytest.mark.parametrize("variant", ["excitation", "aggregation", "excitation_aggregation"])
def test_ea_blocks(variant, frames, dim, hidden):
    torch.manual_seed(0)
    names = ["se_block.scale", "se_block.aggregate"] if variant == "excitation_aggregation" else ["se_block"]
    head = EAHead(variant, frames, dim, dict.fromkeys(names, hidden), None)
    x, mask = frames_and_mask(3, frames, dim)
    gates = [gate_of(module) for module in head.modules() if isinstance(module, ReferenceGate)]
    first = None if variant == "aggregation" else gates[0]
    second = None if variant == "excitation" else gates[-1]
    vectors, weights = pool_frames(device(x), device(mask), first, second, unit=False)
    want, want_weights = pool_reference(wide(x), wide(mask), first, second, unit=False)
    assert close(vectors, want) and close(weights, want_weights)
    with torch.no_grad():
        of_head = head.double().video(wide(x), wide(mask), MeanP())["video"]
    assert (want - of_head).abs().max() < 1e-12 * of_head.abs().max()


@pytest.mark.parametrize("unit_frames", [False, True])
@pytest.mark.parametrize("frames, dim, hidden", SIZES[:3])
def test_masked_mean(frames, dim, hidden, unit_frames):
    x, mask = frames_and_mask(2, frames, dim)
    y = device(x, torch.float16)
    vectors, weights = pool_frames(y, device(mask), unit_frames=unit_frames)
    want, want_weights = pool_reference(y.double(), wide(mask), unit_frames=unit_frames)
    assert close(vectors, want) and close(weights, want_weights)
    of_export = unit(weighted_sum(mean_weights(wide(mask)), unit(y.double()) if unit_frames else y.double()))
    assert (want - of_export).abs().max() < 1e-12


@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("frames, dim, hidden", [(12, 64, 40), (5, 192, 64), (1, 64, 16)])
def test_intra_mlp(frames, dim, hidden, storage):
    torch.manual_seed(0)
    head = EAHead("aggregation", frames, dim, {"se_block": 3}, hidden)
    module, gate = head.intra_mlp, gate_of(head.se_block)
    for parameter in module.parameters():  # as the kernel sees them
        parameter.data = parameter.data.to(storage).float()
    x, mask = frames_and_mask(3, frames, dim)
    y = device(x, storage)
    bias = torch.cat([module[0].bias, module[2].weight[0], module[2].bias]).detach()
    given = y, module[0].weight.detach().to(storage), bias
    factors, want = frame_factors(*given), intra_reference(y.double(), *given[1:])
    # The mean is rounded to the storage type: D numbers of size 1 by 2^-12 or 2^-9, with weights 1/√2D.
    assert (factors.double() - want).abs().max() < {torch.float16: 2e-3, torch.bfloat16: 2e-2}[storage]
    vectors, weights = pool_frames(y, device(mask), None, gate, factors=factors, unit=False)
    plain = pool_reference(y.double(), wide(mask), None, gate, factors=factors.double(), unit=False)
    assert close(vectors, plain[0]) and close(weights, plain[1])
    with torch.no_grad():
        of_head = head.double().video(y.double(), wide(mask), MeanP())["video"]
    exact = pool_reference(y.double(), wide(mask), None, gate, factors=want, unit=False)[0]
    assert (exact - of_head).abs().max() < 1e-6 * of_head.abs().max()  # the buffers are float32


def test_factors_of_normalised_frames_are_refused():
    x, mask = frames_and_mask(1, 5, 64)
    with pytest.raises(UsageError, match="expected unit_frames or factors, got both"):
        pool_frames(device(x), device(mask), factors=device(mask), unit_frames=True)


def test_a_video_without_frames_has_no_vector():
    x, _ = frames_and_mask(1, 12, 64)
    vectors, weights = pool_frames(device(x), torch.zeros((1, 12)))
    assert not vectors.any() and not weights.any()


def test_excited_frames():
    reference = ReferenceGate(12, 48)
    x, _ = frames_and_mask(2, 12, 64)
    want = excite_reference(wide(x), gate_of(reference))
    assert close(excite_frames(device(x), gate_of(reference)), want)
    with torch.no_grad():
        assert (want - excitation(reference.double(), wide(x))).abs().max() < 1e-12 * want.abs().max()


@pytest.mark.parametrize("frames, dim, hidden", [(12, 64, 40), (5, 192, 64), (64, 64, 16)])
def test_afa(frames, dim, hidden):
    torch.manual_seed(0)
    head = TeachClipHead(dim, hidden).half().double()
    x, mask = frames_and_mask(3, frames, dim)
    y = torch.from_numpy(x).half()
    bias = torch.cat([head.frameLinear.bias, head.frameLinear2.weight[0]]).detach().float()
    given = head.frameLinear.weight.detach().half(), bias
    vectors, weights = aggregate_afa(y, *given, unit=False)
    want, want_weights = afa_reference(y.double(), *given)
    # A softmax at 1/0.1 over float32 sums
    assert (weights - want_weights).abs().max() < 10 * TOLERANCE
    assert (vectors - want).abs().max() < 10 * TOLERANCE
    with torch.no_grad():
        of_head = head.video(y.double(), wide(mask), MeanP())
    assert (want - of_head["video"]).abs().max() < 1e-12
    assert (want_weights - of_head["weights"]).abs().max() < 1e-12
