"""Encoded texts against videos in memory: libvtr beside the published formulas, FAISS and MaxSim.

F = 12 frames, L = 32 words, D = 512, random features. Both sides start from encoded texts (making a query
ready is part of libvtr's time) and end with the ten best videos. Baselines work in float32 on the same
numbers: PyTorch on the reference model's own head, with the number of videos at a time that suits it best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.native import COLUMNS, NativeModel, import_core, shared_pool
from vtr.native import SIZES as CORE_SIZES
from vtr.scoring import Scorer, make_scorer

from .. import hits, synthetic
from ..baselines.optional import SLOW_TO_COMPILE, missing
from ..case import OURS, Case, Ceiling, Context, Disagreement, Measurement
from ..synthetic import SIZES, D, F, L

K = 10  # answers wanted
FAST = f"{OURS} fast"  # scoring="fast": bfloat16 as it is
# Largest difference of a logit, on a scale of 100: features in float16, and in bfloat16.
BOUNDS = {OURS: 0.05, FAST: 0.5}
EAGER, COMPILED, FAISS = "PyTorch eager", "PyTorch compiled", "FAISS flat"
LEFT_OUT = "encoding the texts; bringing videos into memory, and what can be prepared of them beforehand"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """``scoring`` as bundles name it; ``keep`` is TC-MGC's K; ``alone``: no baselines, to show growth."""

    scoring: str
    keep: int
    texts: int
    videos: int
    alone: bool = False

    @property
    def family(self) -> str:
        names = {"tcmgc": f"TC-MGC K={self.keep}", "xclip": "X-CLIP", "holistic": "one vector"}
        return names[self.scoring]

    @property
    def name(self) -> str:
        """The number of videos comes last; the documentation's promises name what comes before it."""
        texts = "1 text" if self.texts == 1 else f"{self.texts} texts"
        return f"{self.family}, {texts}{', growing' if self.alone else ''}, {self.videos:,} videos"

    @property
    def flop(self) -> int:
        """Of the matrix product of a pair, which any form of the head must do."""
        products = {"tcmgc": (3 * L + 3) * F, "xclip": (L + 1) * (F + 1), "holistic": 1}
        return 2 * D * products[self.scoring]

    @property
    def bytes(self) -> float:
        """That a pair reads of a video in float16: once for all texts of a call."""
        halves = {"tcmgc": F * D + 2 * (3 * F + 3) * F, "xclip": (F + 1) * D, "holistic": D}
        return 2 * halves[self.scoring] / self.texts


SETTINGS = (
    Setting("tcmgc", 22, 1, 10_000),
    Setting("tcmgc", 3, 1, 10_000),
    Setting("xclip", 0, 1, 10_000),
    Setting("tcmgc", 22, 64, 500),
    Setting("xclip", 0, 64, 1_000),
    Setting("holistic", 0, 1, 200_000),
    Setting("holistic", 0, 64, 200_000),
    *(Setting("tcmgc", 22, 1, videos, alone=True) for videos in (1_000, 10_000, 100_000)),
    *(Setting("xclip", 0, 1, videos, alone=True) for videos in (1_000, 10_000, 100_000)),
    *(Setting("holistic", 0, 1, videos, alone=True) for videos in (1_000, 10_000, 100_000, 1_000_000)),
)
QUICK = (
    Setting("tcmgc", 22, 1, 1_000),
    Setting("tcmgc", 3, 1, 1_000),
    Setting("xclip", 0, 1, 1_000),
    Setting("tcmgc", 22, 64, 64),
    Setting("holistic", 0, 1, 20_000),
    Setting("holistic", 0, 64, 20_000),
    *(Setting("tcmgc", 22, 1, videos, alone=True) for videos in (1_000, 10_000)),
)
DIFFERENT = 10_000  # videos of many grains that differ from each other; larger banks repeat them
PART = 50_000  # vectors that are worked on together


def prepare(context: Context) -> Iterator[Measurement]:
    for setting in QUICK if context.quick else SETTINGS:
        yield measurement(setting, context)
        if setting.texts > 1 and setting.scoring != "holistic":
            yield made_ready(setting, context)


@dataclass(frozen=True)
class Work:
    """Texts and videos of a setting, as encoded and as libvtr keeps them."""

    setting: Setting
    head: dict[str, Any]
    scorer: Scorer
    text: Any  # TextFeatures
    video: Any  # VideoFeatures of the videos that differ; None for one vector a video
    columns: dict[str, Any]  # of the videos that differ

    def bank(self, fast: bool) -> Any:
        known = {**SIZES, "keep": self.setting.keep}
        sizes = {name: known[name] for name in CORE_SIZES[self.setting.scoring]}
        core, storage = import_core(), "bfloat16" if fast else "float16"
        bank = core.Bank(core.Model(self.setting.scoring, self.head, **sizes, storage=storage, fast=fast))
        different = len(self.columns["video"])
        for start in range(0, self.setting.videos, different):
            part = min(different, self.setting.videos - start)
            bank.append(start + np.arange(part), {name: array[:part] for name, array in self.columns.items()})
        return bank


def make_work(setting: Setting) -> Work:
    head = synthetic.head(setting.scoring, setting.keep)
    scorer = make_scorer(head, setting.scoring, {**SIZES, "keep": setting.keep})
    text = synthetic.texts(setting.texts)
    if setting.scoring == "holistic":
        return Work(setting, head, scorer, text, None, {"video": synthetic.vectors(setting.videos)})
    video = synthetic.videos(min(setting.videos, DIFFERENT))
    rows = synthetic.stored(scorer, video)
    columns = {name: rows[name] for name in COLUMNS[setting.scoring]}
    return Work(setting, head, scorer, text, video, columns)


def measurement(setting: Setting, context: Context) -> Measurement:
    """A setting's contenders, whose results were compared."""
    work, pool = make_work(setting), shared_pool(context.threads)
    banks = {OURS: work.bank(fast=False)}
    if setting.scoring != "holistic" and not setting.alone:
        banks[FAST] = work.bank(fast=True)
    contenders: dict[str, Callable[[], Any]] = {
        name: partial(search, bank, work.text, pool) for name, bank in banks.items()
    }
    others, skipped, expected = ({}, {}, None) if setting.alone else baselines(work, context)
    expected = reference(work) if expected is None else expected
    found: dict[str, float] = {}
    for name, bank in banks.items():
        found |= agreement(name, bank, work, expected, pool)
    pairs = setting.texts * setting.videos
    ceiling = Ceiling(setting.flop * pairs / 1e12, "bf16_tflops")
    if setting.scoring == "holistic" and setting.texts == 1:
        ceiling = Ceiling(setting.bytes * pairs / 1e9, "read_gb_s")
    # The roofline has each kind of work once.
    weight = {} if setting.alone else {"flop": setting.flop, "bytes": setting.bytes}
    return Measurement(
        name=setting.name,
        item="pair",
        items=pairs,
        contenders={**contenders, **others},
        check=found,
        leaves_out=LEFT_OUT,
        skipped=skipped,
        ceiling=ceiling,
        settings={"videos": setting.videos, "texts": setting.texts, **weight},
    )


def made_ready(setting: Setting, context: Context) -> Measurement:
    """The part of a search that is done once a text: the measurement before it checked what comes of it."""
    head, pool = synthetic.head(setting.scoring, setting.keep), shared_pool(context.threads)
    sizes = {**SIZES, "keep": setting.keep}
    model = NativeModel(setting.scoring, head, sizes, threads=context.threads).core
    bank, text = import_core().Bank(model), synthetic.texts(setting.texts)
    return Measurement(
        name=f"making texts ready, {setting.family}, {setting.texts} texts",
        item="text",
        items=setting.texts,
        contenders={OURS: partial(query, bank, text, pool)},
        leaves_out="scoring",
        settings={"texts": setting.texts},
    )


def query(bank: Any, text: Any, pool: Any) -> Any:
    words = text.words if bank.model.words else None
    return import_core().Query(bank.model, text.sentence, words, pool=pool)


def search(bank: Any, text: Any, pool: Any) -> Any:
    return bank.search(query(bank, text, pool), K, pool=pool)


# ---- checking ----------------------------------------------------------------------------------------


def reference(work: Work) -> Floats:
    """Logits ``[T, V]`` of the videos that differ, by NumPy's scorer: on the features as they are, or on the
    vectors as stored, a part at a time."""
    made = work.scorer.prepare(work.text)
    if work.video is not None:
        scores: Floats = work.scorer.score(made, work.scorer.rows(work.video))
        return scores
    vectors = work.columns["video"]
    parts = [vectors[start : start + PART] for start in range(0, len(vectors), PART)]
    return np.concatenate([work.scorer.score(made, {"video": part}) for part in parts], axis=1)


def agreement(name: str, bank: Any, work: Work, expected: Floats, pool: Any) -> dict[str, float]:
    """Largest difference of a logit, and the share of the ten best that are the reference's.

    Args:
        expected: logits of the videos that differ; those of the bank repeat them.

    Raises:
        Disagreement: a logit is further off than `BOUNDS` says, or a video among the ten best is worse, by
            the reference, than the reference's tenth by more than two such differences can explain.
    """
    made, different = query(bank, work.text, pool), expected.shape[1]
    got = bank.score(made, np.arange(different), pool=pool)
    difference = float(np.abs(got - expected).max())
    ids, _, _ = bank.search(made, K, pool=pool)
    last = hits.last_best(expected, work.setting.videos, K)
    reached = np.take_along_axis(expected, ids[:, : work.setting.videos] % different, axis=1)
    short = float((last - reached).max())
    if not difference <= BOUNDS[name] or short > 2 * BOUNDS[name]:
        raise Disagreement(
            f"{work.setting.name}, {name}: expected logits within {BOUNDS[name]} of the reference's, got a "
            f"difference of {difference:.4f}, and a hit {short:.4f} below the reference's last"
        )
    overlap = np.mean(reached >= last)
    return {
        f"{name}, largest difference": round(difference, 5),
        f"{name}, ten best": round(float(overlap), 4),
    }


# ---- baselines ---------------------------------------------------------------------------------------

Found = tuple[dict[str, Callable[[], Any]], dict[str, str], Floats | None]


def baselines(work: Work, context: Context) -> Found:
    """The other contenders, those that are skipped and why, and the reference's logits if one made them."""
    if work.setting.scoring == "holistic":
        return flat(work, context)
    from ..baselines.max_sim import NAME

    if reason := missing("torch"):
        return {}, dict.fromkeys((EAGER, COMPILED, NAME), reason), None
    return direct(work, context)


def flat(work: Work, context: Context) -> Found:
    """One vector a video: the vectors as stored, made float32, in FAISS and in PyTorch."""
    from ..baselines import flat as module

    vectors = work.columns["video"].astype(np.float32)
    sentence = work.text.sentence
    unit = sentence / np.linalg.norm(sentence, axis=1, keepdims=True)
    contenders: dict[str, Callable[[], Any]] = {}
    skipped: dict[str, str] = {}
    if reason := missing("faiss"):
        skipped[FAISS] = reason
    else:
        index = module.faiss_index(vectors, context.threads)
        contenders[FAISS] = lambda: index.search(unit, K)
    if reason := missing("torch"):
        skipped[EAGER] = reason
    else:
        import torch

        torch.set_num_threads(context.threads)
        contenders[EAGER] = module.torch_search(vectors, unit, K)
    return contenders, skipped, None


def direct(work: Work, context: Context) -> Found:
    """The published scoring in PyTorch, eager and compiled, and a scorer of the MaxSim kind."""
    import torch

    from vtr.export.families.tcmgc import TCMGCHead
    from vtr.export.families.xclip import XClipHead

    from ..baselines import direct as module

    torch.set_num_threads(context.threads)
    frames = work.video.frames
    if work.setting.scoring == "tcmgc":
        head = module.load_head(TCMGCHead(D, work.setting.keep), work.head)
        score, given = module.tcmgc(head), torch.from_numpy(frames)
        s, w = torch.from_numpy(work.text.sentence), torch.from_numpy(work.text.words)
    else:
        head = module.load_head(XClipHead(D, L, F), work.head)
        score = module.xclip(head)
        rows = work.scorer.rows(work.video)
        given = torch.from_numpy(np.concatenate([rows["frames"], rows["video"][:, None]], axis=1))
        s, w = (
            torch.nn.functional.normalize(torch.from_numpy(x), dim=-1)
            for x in (work.text.sentence, work.text.words)
        )
    chunk = module.fastest_chunk(score, s, w, given)
    expected = module.score_all(score, s, w, given, chunk).numpy()
    contenders: dict[str, Callable[[], Any]] = {
        EAGER: lambda: top(module.score_all(score, s, w, given, chunk).numpy())
    }
    skipped: dict[str, str] = {}
    if context.quick:
        skipped[COMPILED] = SLOW_TO_COMPILE
    else:
        faster = module.compiled(score)
        try:
            compiled = module.score_all(faster, s, w, given, chunk).numpy()
        except Exception as error:  # no C++ compiler, or whatever else compilation meets
            skipped[COMPILED] = f"torch.compile failed here: {str(error).strip().splitlines()[0]:.200}"
        else:
            if (off := float(np.abs(compiled - expected).max())) > BOUNDS[OURS]:
                raise Disagreement(f"{work.setting.name}: compiled and eager PyTorch differ by {off}")
            contenders[COMPILED] = lambda: top(module.score_all(faster, s, w, given, chunk).numpy())
    contenders |= late(work, chunk)
    return contenders, skipped, expected


def late(work: Work, chunk: int) -> dict[str, Callable[[], Any]]:
    """MaxSim over the same frames and words, normalised beforehand; checked against its formula."""
    from ..baselines import max_sim

    words, frames = (
        x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (work.text.words, work.video.frames)
    )
    few = slice(0, 20)
    off = np.abs(max_sim.scorer(words[:2], frames[few], 7)() - max_sim.plain(words[:2], frames[few])).max()
    if off > max_sim.LARGEST_DIFFERENCE:
        raise Disagreement(f"MaxSim and its formula differ by {off}")
    score = max_sim.scorer(words, frames, chunk)
    return {max_sim.NAME: lambda: top(score())}


def top(logits: Floats) -> NDArray[np.int64]:
    return np.argpartition(logits, -min(K, logits.shape[1]), axis=1)[:, -K:]


CASE = Case("score", prepare)
