"""Text in, hits with moments out, through ``vtr.Engine``: alone and with several callers at once.

The index is synthetic, the model has the size of ViT-B/32 (a small one with --quick). Every query is a text
that was not asked before, so no search is answered from the cache of encoded queries. Baseline, up to 10,000
videos: the published way, PyTorch's text tower and the model's own scoring over features in memory.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import vtr
from vtr.types import TextFeatures

from .. import hits, models, synthetic
from ..baselines.optional import missing
from ..case import OURS, Case, Context, Disagreement, ratios
from ..measure import Seconds, timed

if TYPE_CHECKING:
    from vtr.export.models import ReferenceModel

K = 10
FAMILIES = {"tcmgc": "TC-MGC", "clip4clip": "one vector"}
VIDEOS = (1_000, 10_000, 100_000, 1_000_000)
QUICK_VIDEOS = (1_000, 10_000)
CANDIDATES = 1_000
CALLERS = 4
PUBLISHED, PUBLISHED_VIDEOS = "published way", 10_000  # of the most videos that it is measured with
PREFILTER = f"{OURS}, {CANDIDATES:,} candidates"
LEFT_OUT = "opening the index and the first search, which bring its features into memory; see coldstart"

Search = Callable[[str], Any]

SUBJECTS = ("a man", "two children", "a dog", "a brown horse", "an old car", "three birds", "a small boat")
VERBS = ("runs", "jumps", "turns around", "waits", "is filmed", "comes closer", "moves away", "falls over")
PLACES = ("in a kitchen", "on a beach", "at night", "in the snow", "on a busy street", "behind a fence")


def new_texts() -> Iterator[str]:
    """Captions, none of them twice."""
    for number in itertools.count():
        subject, verb = SUBJECTS[number % len(SUBJECTS)], VERBS[number // 3 % len(VERBS)]
        yield f"{subject} {verb} {PLACES[number // 7 % len(PLACES)]}, take {number}"


def prepare(context: Context) -> Iterator[dict[str, Any]]:
    for family in FAMILIES:
        engine = vtr.Engine(models.bundle(context, family), threads=context.threads)
        reference = None if missing("torch") else models.reference(context, family)
        texts = new_texts()  # engines on other indexes share the cache of this one
        for videos in QUICK_VIDEOS if context.quick else VIDEOS:
            yield from sized(engine, family, videos, reference, texts, context)


def sized(
    engine: vtr.Engine,
    family: str,
    videos: int,
    model: ReferenceModel | None,
    texts: Iterator[str],
    context: Context,
) -> Iterator[dict[str, Any]]:
    """The records of one index, which is made and thrown away."""
    label = FAMILIES[family]
    if keep := engine.model.sizes.get("keep"):
        label += f" K={keep}"
    if reason := synthetic.shortage(context.folder, engine.scorer, videos):
        yield {"name": f"{label}, alone, {videos:,} videos", "skipped": {OURS: reason}}
        return
    path = context.folder / f"search-{family}-{videos}"
    sizes = engine.model.sizes
    synthetic.write_index(
        path, videos, engine.scorer, sizes["frames"], sizes["dim"], engine.model.fingerprint,
        {"name": engine.model.manifest["name"], "family": family},
    )  # fmt: skip
    try:
        yield from measured(Setting(label, engine.with_index(path), videos, context), model, texts)
    finally:
        shutil.rmtree(path)


@dataclass(frozen=True)
class Setting:
    label: str
    engine: vtr.Engine
    videos: int
    context: Context

    def record(self, how: str, seconds: Seconds, check: Mapping[str, float]) -> dict[str, Any]:
        return {
            "name": f"{self.label}, {how}, {self.videos:,} videos",
            "item": "search",
            "items": 1,
            "settings": {"videos": self.videos},
            "check": dict(check),
            "microseconds": {name: percentiles(times) for name, times in seconds.items()},
            "times_faster": ratios(level(seconds)),
            "leaves_out": LEFT_OUT,
        }


def measured(
    setting: Setting, model: ReferenceModel | None, texts: Iterator[str]
) -> Iterator[dict[str, Any]]:
    engine, videos, context = setting.engine, setting.videos, setting.context
    searches: dict[str, Search] = {OURS: lambda text: engine.search(text, K)}
    if videos > CANDIDATES:
        searches[PREFILTER] = lambda text: engine.search(text, K, candidates=CANDIDATES)
    checked = agreement(setting, searches)
    skipped = {}
    theirs: Search | None = None
    if videos > PUBLISHED_VIDEOS:
        skipped[PUBLISHED] = f"measured up to {PUBLISHED_VIDEOS:,} videos"
    elif model is None:
        skipped[PUBLISHED] = missing("torch") or ""
    else:
        theirs = published(setting, model)
    yield {**setting.record("alone", alone(searches, theirs, texts, context), checked), "skipped": skipped}
    loaded, rates = {}, {}
    for name, search in searches.items():
        loaded[name], rates[f"{name}, searches a second"] = together(search, texts, context)
    yield {**setting.record(f"{CALLERS} callers", loaded, checked), "figures": rates}


# ---- checking ----------------------------------------------------------------------------------------


def agreement(setting: Setting, searches: Mapping[str, Search]) -> dict[str, float]:
    """Every kind of search once, against NumPy's scorer on the stored rows."""
    engine, sizes = setting.engine, setting.engine.model.sizes
    rows = synthetic.block(engine.scorer, setting.videos, sizes["frames"], sizes["dim"])
    text = "a man is cooking"
    expected = hits.reference(engine.scorer, rows, engine.encode_text(text))
    return {
        f"{name}, largest difference of a logit": round(
            hits.check(search(text), expected, setting.videos, K, ranked=name == OURS), 6
        )
        for name, search in searches.items()
    }


def published(setting: Setting, model: ReferenceModel) -> Search:
    """The text tower in eager float32, then the model's own scoring of all videos, a chunk at a time."""
    import torch

    torch.set_num_threads(setting.context.threads)
    engine, sizes = setting.engine, setting.engine.model.sizes
    features = synthetic.videos(min(setting.videos, synthetic.BLOCK), sizes["frames"], sizes["dim"])
    chunks = [
        {
            name: torch.from_numpy(getattr(features, name)[: setting.videos - start])
            for name in ("frames", "video")
        }
        for start in range(0, setting.videos, len(features))
    ]

    @torch.inference_mode()
    def logits(text: str) -> Any:
        ids = torch.from_numpy(engine.model.tokenizer.encode([text], sizes["words"]))
        encoded = model.encode_text(ids)
        mask = torch.ones(len(features), sizes["frames"])
        return encoded, torch.cat([model.score(*encoded, chunk, mask) for chunk in chunks], dim=1)

    def search(text: str) -> Any:
        return logits(text)[1].topk(K)

    (sentence, words), given = logits("a man is cooking")
    text = TextFeatures(np.zeros((1, sizes["words"]), np.int64), sentence.numpy(), words.numpy())
    expected = hits.reference(engine.scorer, engine.scorer.rows(features), text)
    off = float(np.abs(given[0, : len(features)].numpy() - expected).max())
    if off > hits.BOUND:
        raise Disagreement(f"the published way and NumPy's scorer differ by {off} on logits")
    return search


# ---- timing ------------------------------------------------------------------------------------------


def ask(search: Search, texts: Iterator[str]) -> Any:
    return search(next(texts))


def rounds(search: Search, texts: Iterator[str], context: Context) -> int:
    """How many searches fill the time that a setting gets, within bounds."""
    seconds, least, most = (0.3, 3, 30) if context.quick else (10.0, 20, 300)
    once = statistics.median(timed(partial(ask, search, texts)) for _ in range(3))
    return max(least, min(most, round(seconds / max(once, 1e-6))))


def alone(
    searches: Mapping[str, Search], theirs: Search | None, texts: Iterator[str], context: Context
) -> Seconds:
    """Seconds of searches one after the other, A B A B …; the published way takes part in the first rounds.

    Its rounds are few because it is slow; what is compared with it are vtr's searches of the same rounds.
    """
    seconds: Seconds = {name: [] for name in searches}
    count = rounds(searches[OURS], texts, context)
    everyone = dict(searches)
    if theirs is not None:
        theirs(next(texts))  # warms up; vtr's searches were warmed up by counting and checking
        seconds[PUBLISHED] = []
        everyone[PUBLISHED] = theirs
    for number in range(count):
        for name, search in everyone.items():
            if name != PUBLISHED or number < context.repeats:
                seconds[name].append(timed(partial(ask, search, texts)))
    return seconds


def together(search: Search, texts: Iterator[str], context: Context) -> tuple[list[float], float]:
    """Seconds of each search while `CALLERS` threads search as fast as they can, and searches a second."""
    share = max(2, rounds(search, texts, context) // CALLERS)
    given = [[next(texts) for _ in range(share)] for _ in range(CALLERS)]

    def call(own: list[str]) -> list[float]:
        return [timed(partial(search, text)) for text in own]

    with ThreadPoolExecutor(CALLERS) as pool:
        start = time.perf_counter()
        found = [seconds for part in pool.map(call, given) for seconds in part]
        whole = time.perf_counter() - start
    return found, round(len(found) / whole, 2)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Microseconds at p20, p50, p80, p95 and p99, and how many searches they are of."""
    values = np.percentile(seconds, (20, 50, 80, 95, 99)) * 1e6
    names = ("p20", "p50", "p80", "p95", "p99")
    return {**{n: round(float(v), 3) for n, v in zip(names, values, strict=True)}, "count": len(seconds)}


def level(seconds: Seconds) -> Seconds:
    """The first rounds, those in which everyone took part: neighbours that make ratios."""
    count = min(len(times) for times in seconds.values())
    return {name: times[:count] for name, times in seconds.items()}


CASE = Case("search", prepare)
