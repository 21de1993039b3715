"""Part "checks": every kernel against its formula in float64, on the device, in both storage types.

The formulas are those of the reference models in ``export/``, computed in float64 from the same features.
What remains is the rounding of stored features and the kernel's arithmetic; each tolerance says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vtr.export.families.ea import EAHead, Gate, excitation
from vtr.export.families.teachclip import TeachClipHead
from vtr.export.temporal import MeanP, mean_weights, unit, weighted_sum

from ..baselines import direct
from . import cases
from .cases import STORAGE
from .place import Place

BF16 = 8  # bf16 rounds that many times more coarsely than fp16
SUMS = 1e-5  # float32 sums of some 500 numbers of size 1, and exponentials of them


@dataclass(frozen=True)
class Check:
    """``error(place)`` is the largest distance from float64 and may not pass ``tolerance``."""

    name: str
    error: Callable[[Place], float]
    tolerance: float


def measure(place: Place) -> Iterator[dict[str, Any]]:
    for check in checks(place):
        record: dict[str, Any] = {"name": f"check {check.name}", "tolerance": check.tolerance}
        try:
            error = check.error(place)
        except Exception as problem:  # one kernel that cannot be run says nothing of the others
            yield {**record, "failed": f"{type(problem).__name__}: {problem}"[:500]}
            continue
        # JSON has neither infinity nor NaN.
        shown = error if math.isfinite(error) else None
        yield {**record, "error": shown, "sound": bool(error <= check.tolerance)}


def shapes(place: Place) -> list[Place]:
    """A place's sizes with few videos; on a GPU others too: few and many frames, K = L."""
    found = [replace(place, videos=min(place.videos, 257), texts=(2,))]
    if not place.tiny:
        found += [replace(found[0], frames=5, words=20, dim=192, keeps=(7, 20))]
        found += [replace(found[0], frames=13, words=24, dim=64, keeps=(1,))]
        # TC-MGC's kernel takes 16 frames at most.
        found += [replace(found[0], frames=64, words=32, dim=256, keeps=(), videos=33)]
    return found


def checks(place: Place) -> list[Check]:
    """Of every kernel at every shape, in both storage types where it has them."""
    found = topk_checks()
    for shape in shapes(place):
        for storage in STORAGE:
            found += scoring_checks(shape, storage)
            found += holistic_checks(shape, storage)
        found += pooling_checks(shape)
    return found


# ---- scoring -----------------------------------------------------------------------------------------


def scoring_checks(shape: Place, storage: str) -> list[Check]:
    """Logits, 100 times a similarity. Rounding k and the probes moves a similarity of TC-MGC by some
    2^-12 / √D of |k|·|p̂|, one of X-CLIP's unit vectors by 2^-12 · √(2 / D), and softmaxes at λ = 100 choose
    between neighbours: 0.03 in fp16 where 0.012 was seen in the interpreter."""
    coarse = BF16 if storage == "bf16" else 1
    label = f"F={shape.frames} L={shape.words} D={shape.dim} {storage}"
    # k is rounded to the storage type; sums of D products, and squares of such sums, are float32's. Triton's
    # interpreter cuts bf16 off where a GPU rounds: twice the error.
    of_gram = 2.0**-11 * coarse * (2 if shape.tiny else 1) + shape.dim * 2.0**-22

    def tcmgc(keep: int) -> Check:
        def error(place: Place) -> float:
            return logit_error(cases.tcmgc_case(shape, keep, storage), shape, place)

        return Check(f"tcmgc_k{keep} {label}", error, 0.03 * coarse)

    def xclip(place: Place) -> float:
        return logit_error(cases.xclip_case(shape, storage), shape, place)

    def gram(place: Place) -> float:
        return gram_error(cases.tcmgc_case(shape, shape.keeps[0], storage), shape, place)

    found = [Check(f"xclip {label}", xclip, 0.03 * coarse), *(tcmgc(keep) for keep in shape.keeps)]
    return [*found, Check(f"gram {label}", gram, of_gram)] if shape.keeps else found


def logit_error(case: cases.Case, shape: Place, place: Place) -> float:
    text = cases.texts(case, shape.texts[0])
    y = cases.videos(case, shape.videos, place.device)
    got = cases.kernel_of(case).score(
        case.spec, *cases.columns(case, y), *cases.query(case, text, place.device)
    )
    sentence, words, rows = cases.direct_inputs(case, text, y, torch.float64)
    score = cases.direct_score(case, place.device, torch.float64)
    want = direct.score_all(score, sentence, words, rows, 64)
    return float((got.double() - want).abs().max())


def gram_error(case: cases.Case, shape: Place, place: Place) -> float:
    """Relative to the largest number of each kind."""
    from vtr.scoring.tcmgc import TCMGCScorer
    from vtr.types import VideoFeatures

    y = cases.videos(case, min(shape.videos, 17), place.device)
    k, gram = cases.columns(case, y)
    mask = np.ones(y.shape[:2], np.float32)
    want = TCMGCScorer(case.arrays, case.sizes).rows(VideoFeatures(y.cpu().numpy(), mask))
    return max(
        float(np.abs(got.float().cpu().numpy() - want[name]).max() / np.abs(want[name]).max())
        for name, got in (("frames", k), ("gram", gram))
    )


def holistic_checks(shape: Place, storage: str) -> list[Check]:
    """Sums of D products of exactly the same numbers in float32, times 100."""
    label, tolerance = f"D={shape.dim} {storage}", 100 * shape.dim * 2.0**-24
    return [
        Check(f"holistic_score {label}", partial(holistic_error, shape, storage), tolerance),
        Check(f"holistic_topk {label}", partial(holistic_best_error, shape, storage), tolerance),
    ]


def holistic_data(shape: Place, storage: str, place: Place) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Spec, vectors, probes, and the logits in float64."""
    from vtr.kernels.config import Spec

    generator = torch.Generator(place.device).manual_seed(3)
    vectors, probes = (
        normalize(torch.randn((n, shape.dim), device=place.device, generator=generator), dim=-1)
        for n in (shape.videos, 17)
    )
    stored = vectors.to(STORAGE[storage]), probes.to(STORAGE[storage])
    want = 100 * stored[1].double() @ stored[0].double().T
    return Spec("holistic", 1, 1, shape.dim, 1, storage), *stored, want


def holistic_error(shape: Place, storage: str, place: Place) -> float:
    from vtr.kernels import holistic

    spec, vectors, probes, want = holistic_data(shape, storage, place)
    return float((holistic.score(spec, vectors, probes, 100.0).double() - want).abs().max())


def holistic_best_error(shape: Place, storage: str, place: Place) -> float:
    """Scores and rows of the four best, the first two videos being none of them."""
    from vtr.kernels import holistic, topk

    spec, vectors, probes, want = holistic_data(shape, storage, place)
    live = torch.ones(len(vectors), dtype=torch.uint8, device=place.device)
    live[:2] = 0
    want[:, :2] = -torch.inf
    keys = holistic.search(spec, vectors, probes, 100.0, 4, first=5, live=live)
    return best_error(topk.decode(keys.cpu().numpy()), want, 4, first=5)


def best_error(found: list[tuple[np.ndarray, np.ndarray]], want: Tensor, k: int, first: int) -> float:
    """How far the found scores are from the k best, and from the scores of the rows that are named. What is
    -inf in ``want`` may not be found."""
    best = want.topk(min(k, want.shape[1]), 1).values.cpu().numpy()
    line = want.cpu().numpy()
    worst = 0.0
    for (rows, values), top, scores in zip(found, best, line, strict=True):
        top = top[np.isfinite(top)]
        if len(rows) != len(top) or len(set(rows.tolist())) != len(rows):
            return float("inf")
        worst = max(worst, np.abs(values - top).max(), np.abs(scores[rows - first] - top).max())
    return float(worst)


def topk_checks() -> list[Check]:
    """Exact: numbers are compared and moved."""
    return [Check(f"topk k={k}", partial(topk_error, k), 0.0) for k in (1, 10)]


def topk_error(k: int, place: Place) -> float:
    from vtr.kernels import topk

    count = 2000 if place.tiny else 100_003
    generator = torch.Generator(place.device).manual_seed(4)
    scores = torch.randn((2, count), device=place.device, generator=generator)
    return best_error(topk.decode(topk.topk(scores, k, 7).cpu().numpy()), scores, k, first=7)


# ---- aggregation -------------------------------------------------------------------------------------


def pooling_checks(shape: Place) -> list[Check]:
    """float32 throughout, on features rounded beforehand; AFA's softmax is at 1/0.1."""
    label = f"F={shape.frames} D={shape.dim}"
    found = [Check(f"pool {kind} {label}", partial(pool_error, kind, shape), SUMS) for kind in POOLS]
    found.append(Check(f"excite {label}", partial(excite_error, shape), 2.0**-10))  # in fp16
    return [*found, Check(f"afa {label}", partial(afa_error, shape), 10 * SUMS)]


POOLS = ("mean", "excitation", "aggregation", "excitation_aggregation")


def ea_head(variant: str, frames: int, dim: int, hidden: int) -> EAHead:
    torch.manual_seed(5)
    both = variant == "excitation_aggregation"
    names = ["se_block.scale", "se_block.aggregate"] if both else ["se_block"]
    return EAHead(variant, frames, dim, dict.fromkeys(names, hidden), None).requires_grad_(False)


def kernel_gate(gate: nn.Module, device: torch.device) -> Any:
    """A reference gate as the kernels take it."""
    from vtr.kernels import aggregate

    tensors = {name: value.detach().float().cpu().numpy() for name, value in gate.state_dict().items()}
    weights = torch.from_numpy(aggregate.gate_weights(tensors, "")).to(device)
    return aggregate.Gate(weights, len(tensors["fc.0.bias"]), gate.activation is nn.functional.relu6)


def pool_frames(kind: str, head: EAHead | None, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """The kernel of one kind of pooling as a function of frames and mask: normalised vectors."""
    from vtr.kernels import aggregate

    if head is None:
        return lambda frames, mask: aggregate.pool_frames(frames, mask, unit_frames=True)[0]
    gates = [kernel_gate(module, device) for module in head.modules() if isinstance(module, Gate)]
    first = None if kind == "aggregation" else gates[0]
    second = None if kind == "excitation" else gates[-1]
    return lambda frames, mask: aggregate.pool_frames(frames, mask, first, second)[0]


def direct_pool(kind: str, head: EAHead | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The same in plain PyTorch, in the type of what it is given."""
    if head is None:
        return lambda frames, mask: unit(weighted_sum(mean_weights(mask), unit(frames)))
    return lambda frames, mask: unit(head.video(frames, mask, MeanP())["video"])


def frames_and_mask(shape: Place, place: Place, count: int) -> tuple[Tensor, Tensor]:
    """fp16 frames ``[count, F, D]`` and a mask ``[count, F]`` fp32 of at least one frame."""
    generator = torch.Generator(place.device).manual_seed(6)
    size = (count, shape.frames, shape.dim)
    frames = torch.randn(size, device=place.device, dtype=torch.float16, generator=generator)
    lengths = torch.randint(1, shape.frames + 1, (count, 1), device=place.device, generator=generator)
    return frames, (torch.arange(shape.frames, device=place.device) < lengths).float()


def pool_error(kind: str, shape: Place, place: Place) -> float:
    head = None if kind == "mean" else ea_head(kind, shape.frames, shape.dim, 3)
    frames, mask = frames_and_mask(shape, place, min(shape.videos, 65))
    got = pool_frames(kind, head, place.device)(frames, mask)
    wide = None if head is None else head.to(place.device).double()
    want = direct_pool(kind, wide)(frames.double(), mask.double())
    return float((got.double() - want).abs().max())


def excite_error(shape: Place, place: Place) -> float:
    """Relative to the largest number, for the result is rounded to fp16."""
    from vtr.kernels import aggregate

    torch.manual_seed(7)
    gate = Gate(shape.frames, 3).requires_grad_(False)
    frames, _ = frames_and_mask(shape, place, min(shape.videos, 65))
    got = aggregate.excite_frames(frames, kernel_gate(gate, place.device))
    want = excitation(gate.to(place.device).double(), frames.double())
    return float((got.double() - want).abs().max() / want.abs().max())


def afa_parts(shape: Place, device: torch.device) -> tuple[TeachClipHead, Tensor, Tensor]:
    """A head whose parameters are fp16 numbers, and the kernel's buffers of it."""
    torch.manual_seed(8)
    head = TeachClipHead(shape.dim, shape.dim).half().to(device).requires_grad_(False)
    bias = torch.cat([head.frameLinear.bias, head.frameLinear2.weight[0]]).float()
    return head, head.frameLinear.weight.contiguous(), bias


def afa_error(shape: Place, place: Place) -> float:
    from vtr.kernels import aggregate

    head, first, bias = afa_parts(shape, place.device)
    frames, mask = frames_and_mask(shape, place, min(shape.videos, 65))
    got, _ = aggregate.aggregate_afa(frames, first, bias, unit=False)
    want = head.double().video(frames.double(), mask.double(), MeanP())["video"]
    return float((got.double() - want).abs().max())
