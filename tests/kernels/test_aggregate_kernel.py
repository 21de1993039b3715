"""Aggregation in the interpreter, against the PyTorch heads in float64."""

from kernel_cases import device  # isort: skip  (before the kernels)

import numpy as np
import pytest
import torch

from vtr.export.families.ea import EAHead, excitation
from vtr.export.families.ea import Gate as ReferenceGate
from vtr.export.families.teachclip import TeachClipHead
from vtr.export.temporal import MeanP, mean_weights, unit, weighted_sum
from vtr.kernels.aggregate import Gate, aggregate_afa, excite_frames, gate_weights, pool_frames

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


def wide(array):
    return torch.from_numpy(array).double()


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
    with torch.no_grad():
        want = head.double().video(wide(x), wide(mask), MeanP())["video"].numpy()
    assert np.abs(vectors.numpy() - want).max() < TOLERANCE * np.abs(want).max()
    assert np.allclose(np.einsum("vf,vfd->vd", weights.numpy(), x), want, atol=TOLERANCE * np.abs(want).max())


@pytest.mark.parametrize("unit_frames", [False, True])
@pytest.mark.parametrize("frames, dim, hidden", SIZES[:3])
def test_masked_mean(frames, dim, hidden, unit_frames):
    x, mask = frames_and_mask(2, frames, dim)
    vectors, _ = pool_frames(device(x, torch.float16), device(mask), unit_frames=unit_frames)
    y = torch.from_numpy(x).half().double()
    want = unit(weighted_sum(mean_weights(wide(mask)), unit(y) if unit_frames else y)).numpy()
    assert np.abs(vectors.numpy() - want).max() < TOLERANCE


def test_a_video_without_frames_has_no_vector():
    x, _ = frames_and_mask(1, 12, 64)
    vectors, weights = pool_frames(device(x), torch.zeros((1, 12)))
    assert not vectors.any() and not weights.any()


def test_excited_frames():
    reference = ReferenceGate(12, 48)
    x, _ = frames_and_mask(2, 12, 64)
    got = excite_frames(device(x), gate_of(reference)).numpy()
    with torch.no_grad():
        want = excitation(reference.double(), wide(x)).numpy()
    assert np.abs(got - want).max() < TOLERANCE * np.abs(want).max()


@pytest.mark.parametrize("frames, dim, hidden", [(12, 64, 40), (5, 192, 64), (64, 64, 16)])
def test_afa(frames, dim, hidden):
    torch.manual_seed(0)
    head = TeachClipHead(dim, hidden).half().double()
    x, mask = frames_and_mask(3, frames, dim)
    y = torch.from_numpy(x).half()
    bias = torch.cat([head.frameLinear.bias, head.frameLinear2.weight[0]]).detach().float()
    vectors, weights = aggregate_afa(y, head.frameLinear.weight.detach().half(), bias, unit=False)
    with torch.no_grad():
        want = head.video(y.double(), wide(mask), MeanP())
    # A softmax at 1/0.1 over float32 sums
    assert np.abs(weights.numpy() - want["weights"].numpy()).max() < 10 * TOLERANCE
    assert np.abs(vectors.numpy() - want["video"].numpy()).max() < 10 * TOLERANCE
