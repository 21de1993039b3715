"""Token ids against OpenAI's own tokenizer, on text that is written to be awkward."""

import importlib.metadata
import importlib.util
import json
import unicodedata

import numpy as np
import pytest

from vtr.errors import BundleError, CheckpointError, UsageError
from vtr.export.tokenizer import tokenizer_json
from vtr.tokenizer import END, START, Tokenizer, clean, word_splitter

AWKWARD = [
    "a man is cooking",
    "",
    " \t\r\n\x0b\x0c ",
    "A MAN  is\n\ncooking   \t!",
    "it's we're I've I'm you'll he'd don't CAN'T 'tis ''s 's's",
    "it'ſ 'ſ ſ ſtop paſs '\u212aelvin \u212a",  # long s is an s to a pattern that ignores case; Kelvin's K
    "<|startoftext|>",
    "<|endoftext|> in the <|startoftext|> middle<|endoftext|>",
    "!<|startoftext|> !! <|startoftext|><|startoftext|>'<|endoftext|>",
    "<|STARTOFTEXT|> <|ſtartoftext|> <| startoftext |> <<|endoftext|>>",
    "a<|endoftext|>1<|endoftext|>é<|endoftext|>\u0301<|endoftext|>",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ☃ ☃️ 🧑🏿‍🚀",
    "e\u0301 n\u0303 a\u0308\u0323 Z\u0351\u036b\u0343 \u0301alone o\u0308\u0308",
    "a\u0345 !\u0345! x\u0345y ᾳ \u1fbc",
    "J\u030c ǰ İstanbul ΟΔΥΣΣΕΥΣ ΑΣ Ǆ ǅ ẞ ŉ",  # lower case that composes, grows or depends on context
    "schÃ¶n â€œquotedâ€\x9d l’été donâ€™t âœ” Ã\xa0 voilÃ\xa0",
    "“curly” ‘quotes’ … — – ﬁne ﬂow ﬅ ﬆ Ｆｕｌｌｗｉｄｔｈ １２３ ½ ² Ⅷ ①",
    "&amp; &lt;b&gt; &amp;amp; &amp;lt; &#39;s &#x1F600; &nbsp;&hellip; &notanentity; &amp;#39; &copy",
    "&#0; &#128; &#xD800; &#x110000; &#1; &lt;|endoftext|&gt; &amp;lt;|endoftext|&amp;gt;",
    "你好，世界 日本語のテキスト 한국어 ไทย ภาษา नमस्ते தமிழ்",
    "مرحبا بالعالم ١٢٣ שלום \u202eright to left\u202c \u200f",
    "\x00 null \x01\x02 \x07 bell \x1b[31mred\x1b[0m \x7f \x80\x9f \x85 next",
    "\x1c\x1d\x1e\x1f separators a\x1cb a\x1fb \x1c",
    "lone \ud800 and \udfff, pair \ud83d\ude00, reversed \ude00\ud83d",
    "\ufeffbom \ufffe \uffff \ufffd zero\u200bwidth\u2060joiner\u00adsoft",
    "\xa0no\u2007break\u202fspaces\u2028line\u2029paragraph\u3000ideographic\u180emongolian\u1680ogham",
    "under_score snake_case kebab-case a.b.c https://example.org/?q=1&r=2#x user@host 3.14 1,000,000 50%",
    "\\n \\u0041 %20 {} [] () $$ `code` ~~ ^^ ||",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 \U00010348 \U0001f9ff \U000e0041 \U0010ffff",
    "x" * 5000,
    "!" * 3000 + "a" * 3000 + "1" * 3000,
    "word " * 2000,
    "aáa\u0301" * 500,
]


@pytest.fixture(scope="session")
def openai():
    """``simple_tokenizer.py``, loaded by itself: its package imports torchvision."""
    try:
        package = importlib.metadata.distribution("clip-anytorch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no OpenAI tokenizer (pip install --no-deps clip-anytorch)")
    path = package.locate_file("clip/simple_tokenizer.py")
    spec = importlib.util.spec_from_file_location("openai_simple_tokenizer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(tokenizer_json(None, 49408), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def ours(file):
    return Tokenizer.load(file)


def reference(openai, texts, length):
    ids = np.zeros((len(texts), length), np.int64)
    for row, text in enumerate(texts):
        tokens = [49406, *openai.encode(text)[: length - 2], 49407]
        ids[row, : len(tokens)] = tokens
    return ids


@pytest.mark.parametrize("length", [2, 3, 32, 77, 400])
def test_awkward_texts(openai, ours, length):
    np.testing.assert_array_equal(ours.encode(AWKWARD, length), reference(openai, AWKWARD, length))


def test_each_bmp_character(openai, ours):
    """Every assigned character, alone and between letters; surrogates are mended by ftfy."""
    letters = [chr(c) for c in range(0x10000) if unicodedata.category(chr(c)) != "Cn"]
    texts = [" ".join(f"{c} x{c}1{c}" for c in letters[i : i + 64]) for i in range(0, len(letters), 64)]
    np.testing.assert_array_equal(ours.encode(texts, 3000), reference(openai, texts, 3000))


def random_texts(count, seed=0):
    """Seeded mixtures of characters of every plane, entities, specials and contractions."""
    rng = np.random.default_rng(seed)
    pieces = [
        START,
        END,
        "&amp;",
        "&lt;",
        "&#39;",
        "'s",
        "'LL",
        "'ſ",
        "â€™",
        "Ã©",
        "\u200d",
        "\u0301",
        " ",
        "  ",
        "\n",
    ]
    pools = [(0, 128), (0, 256), (0, 0x3000), (0x3000, 0xE000), (0x1F300, 0x1FB00), (0, 0x110000)]
    texts = []
    for _ in range(count):
        low, high = pools[rng.integers(len(pools))]
        text = ""
        for _ in range(rng.integers(0, 24)):
            character = chr(rng.integers(low, high))
            text += character if rng.random() < 0.8 else pieces[rng.integers(len(pieces))]
        # Characters younger than this Python are letters to one pattern library and not to another.
        if all(unicodedata.category(character) != "Cn" for character in clean(text)):
            texts.append(text)
    return texts


def test_random_texts(openai, ours):
    texts = random_texts(8000)
    assert len(texts) > 4000
    np.testing.assert_array_equal(ours.encode(texts, 77), reference(openai, texts, 77))


def test_the_file_alone_serves_plain_text(file, ours):
    """Readers without our clean-up get the same ids for text that needs no repair."""
    from tokenizers import Tokenizer as LibraryTokenizer

    library = LibraryTokenizer.from_file(str(file))
    for text in ["A Man  is\tcooking, isn't he? 123", "Éclair ΑΒΓ 你好 ☃", " "]:
        ids = library.encode(text).ids
        np.testing.assert_array_equal(ours.encode([text], len(ids))[0], ids)


def test_shapes_and_misuse(ours):
    assert ours.encode([], 32).shape == (0, 32)
    assert ours.encode(["a", "b"], 7).dtype == np.int64
    assert len(ours) == 49408 and (ours.start, ours.end) == (49406, 49407)
    for texts, length, message in [("text", 8, "wrap it"), (["a"], 1, "at least 2"), ([b"a"], 8, "bytes")]:
        with pytest.raises(UsageError, match=message):
            ours.encode(texts, length)


def test_end_is_the_highest_id_even_when_cut(ours):
    ids = ours.encode(["many words " * 50], 8)
    assert ids[0, -1] == ours.end == ids.max()


# ---- other vocabularies ------------------------------------------------------------------------------


def train(tmp_path, specials=(START, END), size=600, name="tokenizer.json"):
    """A small vocabulary by the tokenizers library, specials moved to the end as CLIP has them."""
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    library = LibraryTokenizer(models.BPE(end_of_word_suffix="</w>"))
    library.pre_tokenizer = word_splitter()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    library.train_from_iterator([clean(t) for t in AWKWARD[:12]] * 3, trainer)
    library.add_special_tokens(list(specials))
    path = tmp_path / name
    library.save(str(path))
    return path, library.get_vocab_size()


def test_small_vocabulary(tmp_path):
    source, size = train(tmp_path)
    path = tmp_path / "out.json"
    path.write_text(tokenizer_json(source, size), encoding="utf-8")
    tokenizer = Tokenizer.load(path)
    assert len(tokenizer) == size and tokenizer.end == size - 1
    ids = tokenizer.encode(["a man is cooking", "", END], 16)
    assert (ids.argmax(1)[:2] == [(ids[0] > 0).sum() - 1, 1]).all()
    assert ids[2, 1] == tokenizer.end and ids.max() == size - 1


def test_vocabulary_sources_agree(tmp_path, file):
    """OpenAI's merge list, Hugging Face's two files and a tokenizer.json say the same."""
    whole = file.read_text(encoding="utf-8")
    model = json.loads(whole)["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + merges + "\n", encoding="utf-8")
    assert tokenizer_json(tmp_path, 49408) == whole
    assert tokenizer_json(tmp_path / "merges.txt", 49408) == whole
    assert tokenizer_json(file, 49408) == whole
    older = json.loads(whole)
    del older["model"]["type"]
    older["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in older["model"]["merges"]
    ]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "tokenizer.json").write_text(json.dumps(older), encoding="utf-8")
    assert tokenizer_json(tmp_path / "old" / "tokenizer.json", 49408) == whole


@pytest.mark.parametrize("size", [49407, 49409, 300, 400_000])
def test_vocabulary_of_another_size(file, size):
    for source in (file, None):
        with pytest.raises(CheckpointError, match=f"{size} tokens.*got 49408.*--vocab"):
            tokenizer_json(source, size)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"model": {"type": "WordLevel"}}'])
@pytest.mark.parametrize("name", ["tokenizer.json", "x.txt.gz"])
def test_unreadable_vocabulary(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        tokenizer_json(tmp_path / name, 49408)


def test_missing_vocabulary(tmp_path):
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        tokenizer_json(tmp_path, 49408)


# ---- damaged files -----------------------------------------------------------------------------------


def changed(path, **model):
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["model"].update(model)
    return json.dumps(settings)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: "", "not a readable"),
        (lambda path: path.read_text(encoding="utf-8")[:-10], "not a readable"),
        (lambda path: "[" * 100_000, "not a readable"),
        (lambda path: "{}", "expected a tokenizer.json"),
        (lambda path: "[]", "expected a tokenizer.json"),
        (lambda path: changed(path, type="WordPiece"), "byte-pair"),
        (lambda path: changed(path, end_of_word_suffix=None), "byte-pair"),
        (lambda path: changed(path, dropout=0.5), "byte-pair"),
        (lambda path: changed(path, vocab={"a": 0}), ""),
        (lambda path: changed(path, merges=[["q", "nothere"]]), "not a readable"),
        (
            lambda path: path.read_text(encoding="utf-8").replace("endoftext", "end"),
            "CLIP's pattern",
        ),
    ],
)
def test_damaged_files(tmp_path, damage, message):
    good, _ = train(tmp_path)
    path = tmp_path / "damaged.json"
    path.write_text(damage(good), encoding="utf-8")
    with pytest.raises(BundleError, match=message or "damaged") as caught:
        Tokenizer.load(path)
    assert "damaged.json" in str(caught.value)


def test_end_must_have_the_highest_id(tmp_path):
    path, _ = train(tmp_path, specials=(END, START))
    with pytest.raises(BundleError, match="highest id"):
        Tokenizer.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(BundleError, match=r"none\.json"):
        Tokenizer.load(tmp_path / "none.json")
