"""The binding of the native core: what goes in and out, which errors come out, and that nothing is copied.

What the core computes is tested in C++ (tests/engine); here against NumPy's scorers, to see that arrays and
arguments arrive where they belong.
"""

import subprocess
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
import torch
from native_cases import (
    KINDS,
    SIZES,
    TOLERANCE,
    assert_ranked_alike,
    columns_of,
    head_of,
    rows_of,
    scorer_of,
    text_of,
)
from scoring.cases import POOL

import vtr
from vtr import _core
from vtr.native import SIZES as NEEDED
from vtr.scoring import make_scorer

ALL = 23  # videos


def model_of(kind, sizes=SIZES, **options):
    return _core.Model(
        kind, head_of(kind, **sizes), **{name: sizes[name] for name in NEEDED[kind]}, **options
    )


def query_of(model, text):
    return _core.Query(model, text.sentence, text.words if model.words else None)


def bank_of(kind, videos=ALL, **options):
    """A bank of random videos with ids 10, 13, 16, …, and NumPy's rows of them."""
    scorer, bank = scorer_of(kind), _core.Bank(model_of(kind, **options))
    rows = rows_of(scorer, videos)
    ids = 10 + 3 * np.arange(videos)
    bank.append(ids, columns_of(kind, rows))
    return bank, ids, scorer, rows


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_searches_equal_numpys(kind, isa):
    bank, ids, scorer, rows = bank_of(kind, isa=isa)
    text = text_of(3)
    logits = scorer.score(scorer.prepare(text), rows)
    query = query_of(bank.model, text)
    assert bank.model.isa == isa and len(query) == 3 and len(bank) == ALL
    scores = bank.score(query)
    assert scores.dtype == np.float32 and scores.flags.c_contiguous
    assert_ranked_alike([(ids, row) for row in -np.sort(-scores)], -np.sort(-logits), ALL, ids)
    np.testing.assert_array_equal(bank.score(query, ids[[7, 2, 2]]), scores[:, [7, 2, 2]])
    found, best, count = bank.search(query, 5, pool=_core.Pool(2))
    assert count == [5, 5, 5]
    assert_ranked_alike(list(zip(found, best, strict=True)), logits, 5, ids)
    some = np.array([11, *ids[3:9], 1000])
    found, best, count = bank.search(query, 8, only=some)
    assert count == [6, 6, 6] and (found[:, 6:] == -1).all() and (best[:, 6:] == -np.inf).all()
    assert_ranked_alike(
        [(f[:6], b[:6]) for f, b in zip(found, best, strict=True)], logits[:, 3:9], 8, ids[3:9]
    )
    nearest = np.argsort(-scorer.holistic(scorer.prepare(text), rows))[:, :4]
    found, _, count = bank.search(query, 4, candidates=4)
    assert [set(row) for row in found] == [set(ids[row]) for row in nearest]


@pytest.mark.parametrize("away", [0, 2, 20])
@pytest.mark.parametrize("isa", _core.isas())
def test_tcmgc_that_keeps_every_word(isa, away):
    """Nothing is left to be fused, and its 0 is the highest where frames point away from the sentence."""
    sizes = {**SIZES, "keep": SIZES["words"]}
    text = text_of(1)
    head = head_of("tcmgc", **sizes)
    bias = f"{POOL}layer_norm3.bias"
    head[bias] = head[bias] - away * text.sentence[0] / np.linalg.norm(text.sentence[0])
    scorer = make_scorer(head, "tcmgc", sizes)
    rows = rows_of(scorer, ALL)
    model = _core.Model("tcmgc", head, **{name: sizes[name] for name in NEEDED["tcmgc"]}, isa=isa)
    bank = _core.Bank(model)
    bank.append(np.arange(ALL), columns_of("tcmgc", rows))
    logits = scorer.score(scorer.prepare(text), rows)
    np.testing.assert_allclose(bank.score(query_of(model, text)), logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_make_the_same_query(kind):
    bank, text = bank_of(kind)[0], text_of(5)
    alone = query_of(bank.model, text)
    words = None if kind == "holistic" else text.words
    shared = _core.Query(bank.model, text.sentence, words, pool=_core.Pool(3))
    assert np.array_equal(bank.score(alone), bank.score(shared))


def test_an_empty_choice_is_not_every_video():
    bank, _, _, _ = bank_of("holistic")
    query = query_of(bank.model, text_of(2))
    assert bank.search(query, 3, only=np.empty(0, np.int64))[2] == [0, 0]
    assert bank.score(query, np.empty(0, np.int64)).shape == (2, 0)
    empty = _core.Bank(bank.model)
    assert (
        empty.search(query, 3)[2] == [0, 0] and empty.score(query).shape == (2, 0) and len(empty.ids()) == 0
    )


def test_removing_and_cloning():
    bank, ids, _, _ = bank_of("xclip")
    query = query_of(bank.model, text_of(1))
    whole = bank.score(query)
    clone = bank.clone()
    assert bank.remove(np.array([ids[0], ids[5], 999])) == 2
    np.testing.assert_array_equal(bank.ids(), np.delete(ids, [0, 5]))
    np.testing.assert_array_equal(bank.score(query), np.delete(whole, [0, 5], axis=1))
    np.testing.assert_array_equal(clone.score(query), whole)
    assert len(clone) == ALL == len(bank) + 2 and clone.nbytes > 0


# ---- arrays --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_every_make_give_the_same_bank(kind, tmp_path):
    bank, ids, _, rows = bank_of(kind)
    query = query_of(bank.model, text_of(2))
    columns = columns_of(kind, rows)
    mapped = {}
    for name, column in columns.items():
        column.tofile(tmp_path / name)
        mapped[name] = np.memmap(tmp_path / name, column.dtype, "r", shape=column.shape)
    tensors = {name: torch.from_numpy(column.copy()) for name, column in columns.items()}
    wide = {name: column.astype(np.float32) for name, column in columns.items()}
    for same in (mapped, tensors, wide):
        other = _core.Bank(bank.model)
        other.append(ids, same)
        np.testing.assert_array_equal(other.score(query), bank.score(query))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_comes_from_numpy_and_torch(kind):
    bank, ids, scorer, rows = bank_of(kind, storage="bfloat16")
    assert bank.model.storage == "bfloat16"
    columns = columns_of(kind, rows)
    narrow = {
        name: column if name == "gram" else column.astype(ml_dtypes.bfloat16)
        for name, column in columns.items()
    }
    tensors = {
        name: torch.from_numpy(column.copy()).to(torch.float32 if name == "gram" else torch.bfloat16)
        for name, column in columns.items()
    }
    query = query_of(bank.model, text_of(2))
    for same in (narrow, tensors):
        other = _core.Bank(bank.model)
        other.append(ids, same)
        np.testing.assert_array_equal(other.score(query), bank.score(query))
    rounded = {name: column.astype(np.float32) for name, column in narrow.items()}
    logits = scorer.score(scorer.prepare(text_of(2)), {**rows, **rounded})
    np.testing.assert_allclose(bank.score(query), logits, atol=0.01)


def wrong_columns():
    good = np.ones((ALL, SIZES["dim"]), np.float32)
    return {
        "strides": (np.ones((ALL, 2 * SIZES["dim"]), np.float32)[:, ::2], "video.*ascontiguousarray"),
        "Fortran": (np.asfortranarray(good), "ascontiguousarray"),
        "reversed": (good[::-1], "ascontiguousarray"),
        "float64": (good.astype(np.float64), r"video.*float64 \[23, 48\].*astype"),
        "int32": (good.astype(np.int32), "int32"),
        "bool": (good > 0, "float32"),
        "big-endian": (good.astype(">f4"), "byte order"),
        "list": (good.tolist(), "list"),
        "None": (None, "NoneType"),
        "unaligned": (
            np.frombuffer(b"x" + good.tobytes(), np.float32, good.size, 1).reshape(good.shape),
            "aligned",
        ),
        "text": (good.astype(str), "array"),
        "scalar": (np.float32(1).reshape(()), r"\[\]"),
        "many axes": (good.reshape(1, 1, 1, ALL, -1), "4"),
        "too wide": (np.ones((ALL, SIZES["dim"] + 16), np.float32), "video"),
        "too few": (good[:-1], "video"),
        "not finite": (np.full_like(good, np.nan), "(?i)nan|finite"),
        "too large": (good * 1e6, "(?i)large|finite|float16"),
    }


@pytest.mark.parametrize("case", wrong_columns())
def test_wrong_columns_are_refused_and_change_nothing(case):
    column, message = wrong_columns()[case]
    bank = _core.Bank(model_of("holistic"))
    with pytest.raises(vtr.UsageError, match=message):
        bank.append(np.arange(ALL), {"video": column})
    assert len(bank) == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.arange(ALL, dtype=np.int32), "int64"),
        (np.arange(ALL).reshape(1, -1), "int64"),
        (list(range(ALL)), "list"),
        (np.arange(ALL)[::-1].copy(), "ascend"),
        (np.zeros(ALL, np.int64), "ascend"),
        (np.arange(2 * ALL)[::2], "ascontiguousarray"),
        (np.arange(ALL - 1), "video"),
    ],
)
def test_wrong_ids_are_refused(ids, message):
    bank = _core.Bank(model_of("holistic"))
    with pytest.raises(vtr.UsageError, match=message):
        bank.append(ids, {"video": np.ones((ALL, SIZES["dim"]), np.float32)})


def test_wrong_names_are_refused():
    bank = _core.Bank(model_of("holistic"))
    good = np.ones((1, SIZES["dim"]), np.float32)
    for columns in ({}, {"frames": good}, {"video": good, "mask": good}, {1: good}):
        with pytest.raises(vtr.UsageError):
            bank.append(np.arange(1), columns)
    with pytest.raises(TypeError):
        bank.append(np.arange(1), [good])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_texts_are_refused(kind):
    model, text = model_of(kind), text_of(2)
    wide = np.ones((2, SIZES["dim"] + 1), np.float32)
    for sentence in (wide, text.sentence.astype(np.float64), text.sentence[0], text.sentence.tolist()):
        with pytest.raises(vtr.UsageError, match="sentence"):
            _core.Query(model, sentence, text.words if model.words else None)
    with pytest.raises(vtr.UsageError, match="words"):
        _core.Query(model, text.sentence, None if model.words else text.words)
    if model.words:
        for words in (text.words[:, :-1].copy(), text.words[:1], text.words[..., ::2]):
            with pytest.raises(vtr.UsageError, match="words"):
                _core.Query(model, text.sentence, words)
    with pytest.raises(vtr.UsageError, match=r"(?i)nan|finite"):
        _core.Query(model, np.full_like(text.sentence, np.nan), text.words if model.words else None)


# ---- errors --------------------------------------------------------------------------------------------


def test_the_cores_messages_arrive(tmp_path):
    """One error of every status, as the exception that stands for it and in the core's words."""
    bank, _, _, _ = bank_of("holistic")
    query = query_of(bank.model, text_of(1))
    with pytest.raises(vtr.UsageError, match="999") as caught:
        bank.score(query, np.array([999]))
    assert type(caught.value) is vtr.UsageError and isinstance(caught.value, ValueError)
    with pytest.raises(vtr.UsageError, match="expected k"):
        bank.search(query, 0)
    with pytest.raises(vtr.UnsupportedError, match="dim"):
        model_of("holistic", {**SIZES, "dim": 33})
    with pytest.raises(vtr.IndexStoreError, match=r"nowhere.*[Nn]o such file"):
        _core.Bank.load(tmp_path / "nowhere")
    with pytest.raises(vtr.IndexStoreError, match=r"missing/bank"):
        bank.save(tmp_path / "missing" / "bank")
    (tmp_path / "forged").write_bytes(b"not a bank" * 100)
    with pytest.raises(vtr.IndexStoreError, match="forged"):
        _core.Bank.load(tmp_path / "forged")
    with pytest.raises(MemoryError):
        bank.search(query, 2**62)
    with pytest.raises(vtr.UsageError, match="another model"):
        bank.search(query_of(model_of("holistic"), text_of(1)), 1)
    assert len(bank.search(query, 2)[0][0]) == 2  # no error leaves anything behind


@pytest.mark.parametrize("options", [{"isa": "sse9"}, {"storage": "float32"}, {"storage": "int8"}])
def test_names_that_do_not_exist(options):
    with pytest.raises((vtr.UsageError, vtr.UnsupportedError), match=next(iter(options.values()))):
        model_of("holistic", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_do_not_fit(kind):
    head, sizes = head_of(kind, **SIZES), {name: SIZES[name] for name in NEEDED[kind]}
    for name, tensor in head.items():
        lacking = {other: values for other, values in head.items() if other != name}
        for wrong in (
            {**head, name: tensor.astype(np.float64)},
            {**head, name: np.full_like(tensor, np.inf)},
            {**head, name: tensor[None]},
            *([lacking] if name != "logit_weight" else []),
        ):
            with pytest.raises(vtr.UsageError, match=name):
                _core.Model(kind, wrong, **sizes)
    with pytest.raises(vtr.UsageError, match="temperature"):
        _core.Model(kind, {**head, "temperature": np.ones(1, np.float32)}, **sizes)
    with pytest.raises(vtr.UsageError, match="cosine"):
        _core.Model("cosine", head, **sizes)


# ---- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_bank_is_the_same_bank(kind, tmp_path):
    bank, ids, _, _ = bank_of(kind)
    query = query_of(bank.model, text_of(2))
    paths = [b"/videos/caf\xe9 %d\n.mp4" % number for number in ids]
    bank.save(tmp_path / "bank", paths)
    loaded = _core.Bank.load(str(tmp_path / "bank"), pool=_core.Pool(2))
    np.testing.assert_array_equal(loaded.ids(), ids)
    assert [loaded.path(number) for number in ids.tolist()] == paths and loaded.path(11) is None
    again = query_of(loaded.model, text_of(2))
    np.testing.assert_array_equal(loaded.score(again), bank.score(query))
    bank.save(tmp_path / "bank")  # over it, while it is mapped
    np.testing.assert_array_equal(loaded.score(again), bank.score(query))
    assert _core.Bank.load(tmp_path / "bank", trust=True).path(int(ids[0])) is None


def test_paths_that_do_not_fit(tmp_path):
    bank, _, _, _ = bank_of("holistic")
    with pytest.raises(vtr.UsageError, match="23"):
        bank.save(tmp_path / "bank", [b"x"] * (ALL - 1))
    with pytest.raises(vtr.UsageError, match="zero byte"):
        bank.save(tmp_path / "bank", [b"x\0y"] * ALL)
    assert not (tmp_path / "bank").exists()


# ---- lifetimes and threads -----------------------------------------------------------------------------


def test_what_others_were_made_from_may_go_first(tmp_path):
    bank, _, _, _ = bank_of("tcmgc")
    scores = bank.score(query_of(bank.model, text_of(1)))
    bank.save(tmp_path / "bank")
    loaded = _core.Bank.load(tmp_path / "bank")
    model = loaded.model
    query = query_of(model, text_of(1))
    clone = loaded.clone()
    (tmp_path / "bank").unlink()
    del loaded
    assert model.scoring == "tcmgc" and model.keep == SIZES["keep"]
    del model
    np.testing.assert_array_equal(clone.score(query), scores)


def test_the_interpreter_runs_while_the_core_works():
    """Another thread gets a turn during a search, and only then: nothing else makes this one let go."""
    bank, _, _, _ = bank_of("xclip")
    query = query_of(bank.model, text_of(50))
    turn, ran = threading.Lock(), []
    interval = sys.getswitchinterval()
    turn.acquire()
    other = threading.Thread(target=lambda: (turn.acquire(), ran.append(True)))
    other.start()
    try:
        sys.setswitchinterval(1000)
        turn.release()
        for _ in range(1000):
            if ran:
                break
            bank.search(query, 3)
    finally:
        sys.setswitchinterval(interval)
        other.join()
    # The loop ends early only if a search gave the other thread its turn.
    assert ran and _ < 999


def test_threads_search_a_bank_that_changes():
    kind = "tcmgc"
    scorer, model = scorer_of(kind), model_of(kind)
    rows = rows_of(scorer, 200)
    bank, pool = _core.Bank(model), _core.Pool(2)
    bank.append(np.arange(50), columns_of(kind, rows, slice(50)))
    query = query_of(model, text_of(2))
    whole = _core.Bank(model)
    whole.append(np.arange(200), columns_of(kind, rows))
    truth = whole.score(query)
    stop, errors = threading.Event(), []

    def search():
        while not stop.is_set():
            ids, scores, found = bank.search(query, 20, pool=pool)
            for text, count in enumerate(found):
                if not (truth[text, ids[text, :count]] == scores[text, :count]).all():
                    errors.append((ids, scores))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(50, 200, 10):
        bank.append(np.arange(start, start + 10), columns_of(kind, rows, slice(start, start + 10)))
        bank.remove(np.arange(start - 50, start - 45))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors and len(bank) == 200 - 15 * 5


# ---- the module ----------------------------------------------------------------------------------------


def test_importing_vtr_does_not_load_the_core():
    code = "import sys, vtr; print('vtr._core' in sys.modules, 'numpy' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]


def test_the_core_loads_without_torch_or_numpy():
    code = "import sys, vtr._core as core; print(core.isas(), *({'torch', 'numpy'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "portable" in output and output.strip().endswith("]")


def test_a_pool_that_lives_as_long_as_the_program_is_no_leak():
    code = "import gc; from vtr import _core; kept = [_core.Pool(2)]; kept.append(kept); gc.freeze()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_stub_names_what_the_module_has():
    from ast import ClassDef, FunctionDef, parse
    from pathlib import Path

    tree = parse(Path(vtr.__file__).with_name("_core.pyi").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ClassDef)}
    functions = {node.name for node in tree.body if isinstance(node, FunctionDef)}
    public = {name for name in dir(_core) if not name.startswith("_")}
    assert public == {*classes, *functions}
    for name, node in classes.items():
        told = {item.name for item in node.body if isinstance(item, FunctionDef)}
        has = {item for item in vars(getattr(_core, name)) if not item.startswith("_") or item == "__len__"}
        assert told - {"__init__"} == has, name
