"""Scoring in libvtr against PyTorch's direct form and FAISS flat, each figure beside its ceiling.

    python -m benchmarks.scoring [--json FILE] [--quick] [--threads 2]

F = 12 frames, L = 32 words, D = 512, random features: time does not depend on their values. The baselines
work in float32: PyTorch on the reference model's own head with the chunk of videos that suits it best, and
FAISS's IndexFlatIP. Both sides start from encoded texts (making a query ready is part of libvtr's time)
and end with the ten best videos. Results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

import vtr
from benchmarks import direct
from benchmarks.ceilings import ceilings
from benchmarks.measure import interleave, machine, ratio, summary
from vtr import _core
from vtr.export.families.tcmgc import TCMGCHead
from vtr.export.families.xclip import XClipHead
from vtr.scoring import make_scorer
from vtr.types import TextFeatures, VideoFeatures

F, L, D, K = 12, 32, 512, 10  # frames, words, width; answers wanted
SIZES = {"frames": F, "words": L, "dim": D}
MICRO = 1e-6


@dataclass(frozen=True)
class Case:
    """One model with its videos and texts, on both sides: what is checked, timed and weighed."""

    scoring: str
    keep: int
    videos: int
    texts: int
    columns: dict[str, Any]
    text: TextFeatures
    head: dict[str, Any]
    baseline: Callable[[], np.ndarray]  # logits [T, V]
    flop: float  # of the matrix product of a pair, which any form of the head must do

    def bank(self, fast: bool) -> Any:
        sizes = SIZES if self.keep == 0 else {**SIZES, "keep": self.keep}
        storage = "bfloat16" if fast else "float16"
        model = _core.Model(self.scoring, self.head, **sizes, storage=storage, fast=fast)
        bank = _core.Bank(model)
        bank.append(np.arange(self.videos), self.columns)
        return bank


def make_case(scoring: str, keep: int, videos: int, texts: int) -> Case:
    """Random frames and texts; K = ``keep`` for TC-MGC."""
    rng = np.random.default_rng(0)
    scenes = rng.standard_normal((videos, 1, D), np.float32)
    frames = scenes + 0.5 * rng.standard_normal((videos, F, D), np.float32)
    sentence = rng.standard_normal((texts, D), np.float32) * 5
    words = rng.standard_normal((texts, L, D), np.float32) * 3
    text = TextFeatures(np.zeros((texts, L), np.int64), sentence, words)
    head = direct.random_head(TCMGCHead(D, keep) if keep else XClipHead(D, L, F))
    arrays = direct.head_arrays(head)
    scorer = make_scorer(arrays, scoring, {**SIZES, "keep": keep})
    rows = scorer.rows(VideoFeatures(frames, np.ones((videos, F), np.float32), frames.mean(1)))
    columns = {name: rows[name].astype(scorer.columns[name].dtype) for name in ("frames", "video")}
    if keep:
        columns["gram"] = rows["gram"].astype(np.float32)
        score, given = direct.tcmgc(head), torch.from_numpy(frames)
        s, w = torch.from_numpy(sentence), torch.from_numpy(words)
    else:
        score = direct.xclip(head)
        given = torch.from_numpy(np.concatenate([rows["frames"], rows["video"][:, None]], axis=1))
        s, w = (torch.nn.functional.normalize(torch.from_numpy(x), dim=-1) for x in (sentence, words))
    chunk = direct.fastest_chunk(score, s, w, given)
    return Case(
        scoring,
        keep,
        videos,
        texts,
        columns,
        text,
        arrays,
        lambda: direct.score_all(score, s, w, given, chunk).numpy(),
        flop=2 * D * ((3 * L + 3) * F if keep else (L + 1) * (F + 1)),
    )


def compare(case: Case, pool: Any, repeats: int, peaks: dict[str, float]) -> dict[str, Any]:
    """libvtr against the baseline: agreement, µs a pair, ratios, fraction of the peak.

    ``exact`` keeps float16 and multiplies as exactly as float32; ``fast`` keeps and multiplies bfloat16.
    """
    banks = {"exact": case.bank(fast=False), "fast": case.bank(fast=True)}
    searches: dict[str, Callable[[], Any]] = {
        name: lambda bank=bank: bank.search(make_query(bank, case.text, pool), K, pool=pool)
        for name, bank in banks.items()
    }
    expected = case.baseline()
    figures: dict[str, Any] = {
        "agreement": {name: agreement(bank, case, expected, pool) for name, bank in banks.items()}
    }
    # Searches of a quarter second in a row: PyTorch's threads spin for a while after they have finished.
    seconds = interleave({"pytorch": lambda: topk(case.baseline()), **searches}, repeats, least=0.25)
    pairs = case.texts * case.videos
    for name, times in seconds.items():
        figures[f"{name}_us_a_pair"] = summary(times, pairs * MICRO)
    for name in banks:
        figures[f"{name}_times_pytorch"] = ratio(seconds["pytorch"], seconds[name])
        achieved = case.flop * pairs / min(seconds[name]) / 1e12
        figures[f"{name}_of_bf16_peak"] = round(achieved / peaks["bf16_tflops"], 3)
    prepared = interleave({"prepare": lambda: make_query(banks["exact"], case.text, pool)}, repeats)
    figures["prepare_ms_a_text"] = summary(prepared["prepare"], case.texts * 1e-3)
    figures["memory_of_fp16_features"] = round(banks["exact"].nbytes / feature_bytes(case), 4)
    return figures


def make_query(bank: Any, text: TextFeatures, pool: Any) -> Any:
    return _core.Query(bank.model, text.sentence, text.words, pool=pool)


def topk(logits: np.ndarray) -> np.ndarray:
    return np.argpartition(logits, -K, axis=1)[:, -K:]


def agreement(bank: Any, case: Case, expected: np.ndarray, pool: Any) -> dict[str, float]:
    """Largest difference of a logit, and the share of the baseline's ten best that are found."""
    query = make_query(bank, case.text, pool)
    difference = float(np.abs(bank.score(query, pool=pool) - expected).max())
    ids, _, _ = bank.search(query, K, pool=pool)
    overlap = np.mean([len(np.intersect1d(*pair)) / K for pair in zip(ids, topk(expected), strict=True)])
    if difference > 0.5 or overlap < 0.9:
        raise SystemExit(f"libvtr and PyTorch disagree: {difference} on logits, {overlap} of the ten best")
    return {"largest_difference": round(difference, 6), "top10_overlap": round(float(overlap), 4)}


def feature_bytes(case: Case) -> int:
    return sum(2 * array.size for name, array in case.columns.items() if name in ("frames", "video"))


# ---- holistic ----------------------------------------------------------------------------------------


def holistic(videos: int, pool: Any, repeats: int, peaks: dict[str, float]) -> dict[str, Any]:
    """One text and 64 against FAISS flat in float32 on the same numbers."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((videos, D), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = vectors.astype(np.float16)
    bank = vector_bank(stored)
    index = faiss.IndexFlatIP(D)
    index.add(stored.astype(np.float32))
    figures: dict[str, Any] = {"memory_of_fp16_features": round(bank.nbytes / stored.nbytes, 4)}
    for texts in (1, 64):
        sentence = rng.standard_normal((texts, D), np.float32)
        unit = sentence / np.linalg.norm(sentence, axis=1, keepdims=True)
        ids, _, _ = bank.search(_core.Query(bank.model, sentence), K, pool=pool)
        _, expected = index.search(unit, K)
        found = np.mean([len(np.intersect1d(*pair)) / K for pair in zip(ids, expected, strict=True)])
        seconds = interleave(
            {
                "faiss": lambda unit=unit: index.search(unit, K),
                "vtr": lambda s=sentence: bank.search(_core.Query(bank.model, s), K, pool=pool),
            },
            2 * repeats,
            least=0.2,
        )
        best = min(seconds["vtr"])
        figures[f"texts_{texts}"] = {
            "recall_at_10": round(float(found), 4),
            "faiss_ms": summary(seconds["faiss"], 1e-3),
            "vtr_ms": summary(seconds["vtr"], 1e-3),
            "times_faiss": ratio(seconds["faiss"], seconds["vtr"]),
            "read_gb_s": round(stored.nbytes / best / 1e9, 2),
            "of_read_bandwidth": round(stored.nbytes / best / 1e9 / peaks["read_gb_s"], 3),
            "of_bf16_peak": round(2 * D * texts * videos / best / 1e12 / peaks["bf16_tflops"], 3),
        }
    return figures


def vector_bank(stored: np.ndarray) -> Any:
    head = {"logit_scale": np.array([np.log(direct.SCALE)], np.float32)}
    bank = _core.Bank(_core.Model("holistic", head, dim=D))
    bank.append(np.arange(len(stored)), {"video": stored})
    return bank


# ---- cost against size -------------------------------------------------------------------------------


def growth(case: Case, most: int, pool: Any) -> dict[str, Any]:
    """Microseconds a video, one text, over banks of growing size; memory that a search adds to the last."""
    text = case.text[:1]
    model = case.bank(fast=False).model
    bank, costs, size = _core.Bank(model), {}, 1000
    while size <= most:
        while len(bank) < size:
            part = min(case.videos, size - len(bank))
            bank.append(len(bank) + np.arange(part), {n: a[:part] for n, a in case.columns.items()})
        query = make_query(bank, text, pool)
        times = interleave({"search": lambda q=query: bank.search(q, K, pool=pool)}, 5, least=0.1)["search"]
        costs[size] = summary(times, size * MICRO, digits=4)["p50"]
        size *= 10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bank.search(query, K, pool=pool)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"us_a_video": costs, "search_grows_memory_by_kib": grown}


def holistic_growth(most: int, pool: Any) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    stored = rng.standard_normal((most, D), np.float32).astype(np.float16)
    query_vector = rng.standard_normal((1, D), np.float32)
    costs, size = {}, 1000
    while size <= most:
        bank = vector_bank(stored[:size])
        query = _core.Query(bank.model, query_vector)
        times = interleave({"search": lambda b=bank, q=query: b.search(q, K, pool=pool)}, 5, least=0.1)[
            "search"
        ]
        costs[size] = summary(times, size * MICRO, digits=4)["p50"]
        size *= 10
    return {"us_a_video": costs}


# ---- all ---------------------------------------------------------------------------------------------


def run(threads: int, quick: bool) -> dict[str, Any]:
    repeats, videos = (2, 1000) if quick else (5, 10_000)
    pool = _core.Pool(threads)
    faiss.omp_set_num_threads(threads)
    peaks = ceilings(threads)  # sets PyTorch's threads too
    figures: dict[str, Any] = {
        "machine": machine(),
        "versions": {"vtr": vtr.__version__, "torch": torch.__version__, "faiss": faiss.__version__},
        "threads": threads,
        "isa": _core.isas()[0],
        "ceilings": peaks,
    }
    for name, scoring, keep, count, texts in (
        ("tcmgc_k22", "tcmgc", 22, videos, 1),
        ("tcmgc_k3", "tcmgc", 3, videos, 1),
        ("xclip", "xclip", 0, videos, 1),
        ("tcmgc_k22_64_texts", "tcmgc", 22, videos // 10, 64),
    ):
        case = make_case(scoring, keep, count, texts)
        figures[name] = compare(case, pool, repeats, peaks)
        if name == "tcmgc_k22":
            figures["tcmgc_growth"] = growth(case, 10 * videos, pool)
        print(name, json.dumps(figures[name], indent=1), flush=True)
        del case
    figures["holistic"] = holistic(20 * videos, pool, repeats, peaks)
    figures["holistic_growth"] = holistic_growth(100 * videos, pool)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="A tenth of the videos, two rounds.")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    given = parser.parse_args()
    figures = run(given.threads, given.quick)
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
