"""TC-MGC and X-CLIP with random parameters: their kernels' buffers, and their direct forms, of one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vtr.export.families.tcmgc import TCMGCHead
from vtr.export.families.xclip import XClipHead
from vtr.kernels.config import Spec
from vtr.types import TextFeatures

from ..baselines import direct
from .place import Place

STORAGE = {"fp16": torch.float16, "bf16": torch.bfloat16}
BATCH = 1 << 15  # videos that are made at a time


@dataclass(frozen=True, eq=False)  # by identity, so that its buffers can be kept
class Case:
    """One model. ``head`` is the direct form in float32 on the CPU, ``arrays`` the same numbers in NumPy."""

    name: str
    spec: Spec
    head: nn.Module
    arrays: Mapping[str, np.ndarray]

    @property
    def sizes(self) -> dict[str, Any]:
        spec = self.spec
        keep = spec.keep if spec.scoring == "tcmgc" else None
        return {"frames": spec.frames, "words": spec.words, "dim": spec.dim, "keep": keep}


def tcmgc_case(place: Place, keep: int, storage: str = "fp16") -> Case:
    torch.manual_seed(0)
    head = direct.random_head(TCMGCHead(place.dim, keep))
    spec = Spec("tcmgc", place.frames, place.words, place.dim, keep, storage)
    return Case(f"tcmgc_k{keep}", spec, head, direct.head_arrays(head))


def xclip_case(place: Place, storage: str = "fp16") -> Case:
    torch.manual_seed(0)
    head = direct.random_head(XClipHead(place.dim, place.words, place.frames))
    spec = Spec("xclip", place.frames, place.words, place.dim, 1, storage)
    return Case("xclip", spec, head, direct.head_arrays(head))


def texts(case: Case, count: int, seed: int = 1) -> TextFeatures:
    """Random sentences and words, un-normalised as a text tower's."""
    rng = np.random.default_rng(seed)
    spec = case.spec
    sentence = rng.standard_normal((count, spec.dim), np.float32) * 5
    words = rng.standard_normal((count, spec.words, spec.dim), np.float32) * 3
    return TextFeatures(np.zeros((count, spec.words), np.int64), sentence, words)


def videos(case: Case, count: int, device: torch.device, seed: int = 2) -> Tensor:
    """Frame features ``[count, F, D]`` float32 of which one video's resemble each other."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (count, case.spec.frames, case.spec.dim)
    scenes = torch.randn((count, 1, shape[2]), device=device, generator=generator)
    return scenes + 0.5 * torch.randn(shape, device=device, generator=generator)


# ---- the kernels' side -------------------------------------------------------------------------------


def kernel_of(case: Case) -> ModuleType:
    from vtr.kernels import tcmgc, xclip

    return tcmgc if case.spec.scoring == "tcmgc" else xclip


def columns(case: Case, frames: Tensor) -> tuple[Tensor, ...]:
    """What a bank holds of videos ``[n, F, D]``: k and Gram arrays, or unit frames and vectors."""
    storage = STORAGE[case.spec.storage]
    if case.spec.scoring == "tcmgc":
        from vtr.kernels import gram

        return tuple(gram.statistics(frames.contiguous(), *gram_buffers(case, frames.device), storage))
    unit = normalize(frames, dim=-1)
    return unit.to(storage), normalize(unit.mean(1), dim=-1).to(storage)


@cache
def gram_buffers(case: Case, device: torch.device) -> tuple[Tensor, ...]:
    from vtr.kernels import gram

    return tuple(torch.from_numpy(array).to(device) for array in gram.prepare(case.arrays))


def bytes_a_video(case: Case) -> int:
    from . import work

    count = work.tcmgc_bytes if case.spec.scoring == "tcmgc" else work.xclip_bytes
    return count(1, case.spec.frames, case.spec.dim)


def most_in_a_slab(case: Case, device: torch.device) -> int:
    """Videos of one launch: 65,535 tiles, the most blocks of a grid's second axis."""
    from vtr.kernels.config import multi_grained_tile
    from vtr.kernels.launch import INTERPRETED_AS

    arch = INTERPRETED_AS
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        arch = 10 * major + minor
    return 65_535 * multi_grained_tile(arch, case.spec).videos


def bank(case: Case, count: int, device: torch.device) -> list[tuple[Tensor, ...]]:
    """Slabs of random videos, made on the device a batch at a time."""
    return [_slab(case, part, device, seed) for seed, part in _parts(count, most_in_a_slab(case, device))]


def _slab(case: Case, count: int, device: torch.device, seed: int) -> tuple[Tensor, ...]:
    slab: tuple[Tensor, ...] = ()
    for number, part in _parts(count, BATCH):
        made = columns(case, videos(case, part, device, seed=1000 * (seed + 1) + number))
        if not slab:
            slab = tuple(column.new_empty((count, *column.shape[1:])) for column in made)
        for whole, column in zip(slab, made, strict=True):
            whole[number * BATCH : number * BATCH + part] = column
    return slab


def _parts(count: int, most: int) -> Iterator[tuple[int, int]]:
    for number, start in enumerate(range(0, count, most)):
        yield number, min(most, count - start)


def query(case: Case, text: TextFeatures, device: torch.device) -> tuple[Tensor, ...]:
    """The kernel's buffers of texts and head: made on the host, as libvtr does."""
    from vtr.kernels import tcmgc_buffers, xclip
    from vtr.scoring import make_scorer

    prepared = make_scorer(case.arrays, case.spec.scoring, case.sizes).prepare(text)
    if case.spec.scoring == "tcmgc":
        probes, offsets = tcmgc_buffers.prepare_query(prepared)
        small = [offsets, tcmgc_buffers.prepare_weights(case.arrays)]
    else:
        probes, small = xclip.prepare_query(prepared), [xclip.prepare_weights(case.arrays)]
    stored = torch.from_numpy(probes).to(device, STORAGE[case.spec.storage])
    return stored, *(torch.from_numpy(array).to(device) for array in small)


def search(case: Case, slabs: list[tuple[Tensor, ...]], buffers: tuple[Tensor, ...], k: int = 10) -> Tensor:
    """Keys ``[T, k]`` of the best of all slabs; `vtr.kernels.topk.decode` reads them."""
    from vtr.kernels import topk

    score, first, found = kernel_of(case).score, 0, []
    for slab in slabs:
        found.append(topk.topk(score(case.spec, *slab, *buffers), k, first))
        first += len(slab[0])
    return found[0] if len(found) == 1 else topk.merge(torch.cat(found, 1), k)


# ---- the direct form ---------------------------------------------------------------------------------


def direct_inputs(
    case: Case, text: TextFeatures, frames: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Sentences, words and videos as `baselines.direct` takes them: what a text does not change is done."""
    sentence, words = (torch.from_numpy(x).to(frames.device) for x in (text.sentence, text.words))
    if case.spec.scoring == "xclip":
        sentence, words, unit = (normalize(x, dim=-1) for x in (sentence, words, frames))
        frames = torch.cat([unit, normalize(unit.mean(1, keepdim=True), dim=-1)], 1)
    return sentence.to(dtype), words.to(dtype), frames.to(dtype)


def direct_score(case: Case, device: torch.device, dtype: torch.dtype) -> direct.Score:
    """The published scoring of one text, with a copy of the head on the device."""
    import copy

    head = copy.deepcopy(case.head).to(device, dtype).requires_grad_(False)
    return direct.tcmgc(head) if case.spec.scoring == "tcmgc" else direct.xclip(head)
