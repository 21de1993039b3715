"""Banks copied to the stand-in's GPU, and what their answers are compared by."""

import numpy as np
import stand_in
from native_cases import SIZES, head_of, rows_of, scorer_of, text_of

from vtr import _core
from vtr.native import NativeModel

K = 10  # that the kernels find
# Texts are rounded to float16 on a GPU, each number by 2^-11 of itself or less; logits are 100 cosines.
# TC-MGC's λ = 100 makes more of it, and its means make less: a fifth of this was seen for every kind.
TOLERANCE = 100 * 2**-11
TOLERANCES = {"float16": TOLERANCE, "bfloat16": 8 * TOLERANCE}


def assert_alike(found, logits, k, ids, tolerance):
    """``found``, ids and scores of each text, is the ranking of ``logits`` up to differences of rounding."""
    assert len(found) == len(logits)
    for row, (chosen, scores) in zip(logits, found, strict=True):
        count = min(k, len(ids))
        assert len(chosen) == len(set(np.asarray(chosen).tolist())) == count
        own = row[np.searchsorted(ids, chosen)]
        np.testing.assert_allclose(scores, own, rtol=0, atol=tolerance)
        np.testing.assert_allclose(scores, np.sort(row)[::-1][:count], rtol=0, atol=tolerance)
        assert (np.diff(scores) <= 0).all()


def core_case(kind, folder, videos=40, storage="float16", k=K, slab_bytes=0):
    """A bank, a copy of it on the stand-in, three texts as its search takes them, ids, and the bank's query.

    Args:
        k: that the kernels find.
    """
    model = NativeModel(kind, head_of(kind, **SIZES), SIZES, storage=storage)
    bank = _core.Bank(model.core)
    ids = 10 + 3 * np.arange(videos)
    rows = rows_of(scorer_of(kind), videos)
    bank.append(ids, {name: rows[name] for name in model.columns})
    short = {"float16": "fp16", "bfloat16": "bf16"}[storage]
    stand_in.write_kernels(folder, kind, SIZES, k, storage=short)
    text = text_of(3)
    words = text.words if kind != "holistic" else None
    copy = _core.DeviceBank(_core.Device(), bank, folder, slab_bytes=slab_bytes)
    return bank, copy, (text.sentence, words), ids, model.query(text)


def found_by(answers):
    return [(ids[:n], scores[:n]) for ids, scores, n in zip(*answers, strict=True)]


def searches(gpu, kind):
    """How often a slab was scored."""
    return gpu.launches("holistic_topk" if kind == "holistic" else f"{kind}_score")
