"""The ``tokenizer.json`` of a bundle: CLIP's byte-pair encoding with the checkpoint's vocabulary.

Vocabularies come as OpenAI's list of merges (``bpe_simple_vocab_16e6.txt.gz``), as Hugging Face's
``vocab.json`` with ``merges.txt``, or as a ``tokenizer.json``. Whatever the source, the file is written anew
by one recipe, so that every bundle cuts text alike.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from vtr.errors import CheckpointError
from vtr.tokenizer import END, START, WORD_END, word_splitter

BUILT_IN = Path(__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
MERGE_LISTS = (".gz", ".txt", ".bpe")
BUILT_IN_SIZE = 49408
MAX_TEXT = 64 << 20  # characters of an unpacked list of merges

Merges = list[tuple[str, str]]


def tokenizer_json(source: Path | None, size: int) -> str:
    """The text of a ``tokenizer.json`` for a model with ``size`` token embeddings.

    Args:
        source: a merge list, a ``tokenizer.json``, or a directory with Hugging Face's tokenizer files;
            ``None`` takes CLIP's own vocabulary.

    Raises:
        CheckpointError: no such vocabulary, or one of another size than the model's.
    """
    vocabulary, merges = _read(source, size)
    if len(vocabulary) != size or set(vocabulary.values()) != set(range(size)):
        raise CheckpointError(
            f"expected a vocabulary of {size} tokens, one for each embedding of the checkpoint, got "
            f"{len(vocabulary)} from {source or 'the built-in CLIP vocabulary'}; name the model's own "
            "vocabulary with --vocab FILE"
        )
    if vocabulary.get(END) != size - 1 or START not in vocabulary:
        raise CheckpointError(
            f"expected {START} and {END} in the vocabulary, {END} with the highest id, {size - 1}, "
            f"got {vocabulary.get(START)} and {vocabulary.get(END)}: not a vocabulary of CLIP's kind"
        )
    return _assemble(vocabulary, merges)


def has_tokenizer(path: Path) -> bool:
    """Whether a directory holds a tokenizer's files."""
    return (path / "tokenizer.json").is_file() or (path / "vocab.json").is_file()


def _assemble(vocabulary: dict[str, int], merges: Merges) -> str:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors

    specials = {token: vocabulary[token] for token in (START, END)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=WORD_END))
    # For readers in other languages: all of CLIP's clean-up but the repair of mojibake and entities.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = word_splitter()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=list(specials.items())
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer.to_str(pretty=False)


# ---- sources -----------------------------------------------------------------------------------------


def _read(source: Path | None, size: int) -> tuple[dict[str, int], Merges]:
    if source is None:
        return _from_merge_list(BUILT_IN, BUILT_IN_SIZE)
    try:
        if source.is_dir():
            if (source / "tokenizer.json").is_file():
                return _from_tokenizer_json(source / "tokenizer.json")
            return _from_vocab_and_merges(source / "vocab.json", source / "merges.txt")
        if source.suffix in MERGE_LISTS:
            return _from_merge_list(source, size)
        return _from_tokenizer_json(source)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{source}: expected a list of merges (.txt, .txt.gz), a tokenizer.json or a directory with "
            f"vocab.json and merges.txt, got {type(error).__name__}: {error}"
        ) from None


def _from_merge_list(path: Path, size: int) -> tuple[dict[str, int], Merges]:
    """OpenAI's layout: 256 bytes, the same ending a word, the merges in order, the two specials."""
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else open(path, encoding="utf-8") as file
    ):
        lines = file.read(MAX_TEXT).split("\n")[1:]
    merges = _pairs(lines[: max(0, size - 2 * 256 - 2)])
    letters = byte_letters()
    tokens = [*letters, *(letter + WORD_END for letter in letters), *(a + b for a, b in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _from_vocab_and_merges(vocab: Path, merges: Path) -> tuple[dict[str, int], Merges]:
    lines = merges.read_text(encoding="utf-8").split("\n")
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    return json.loads(vocab.read_text(encoding="utf-8")), _pairs(lines)


def _from_tokenizer_json(path: Path) -> tuple[dict[str, int], Merges]:
    settings = json.loads(path.read_text(encoding="utf-8"))
    model: dict[str, Any] = settings["model"]
    kind = model.get("type", "BPE")  # files of before 2022 do not say
    if kind != "BPE" or model.get("end_of_word_suffix") != WORD_END:
        raise ValueError(f"a tokenizer of type {kind} that is not CLIP's byte-pair encoding")
    vocabulary = {**model["vocab"], **{token["content"]: token["id"] for token in settings["added_tokens"]}}
    merges = [
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]
    ]
    return vocabulary, merges


def _pairs(lines: list[str]) -> Merges:
    pairs = [tuple(line.split()) for line in lines if line.strip()]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise ValueError(f"a merge that is not two parts: {wrong[0]}")
    return pairs


def byte_letters() -> list[str]:
    """The printable character that stands for each byte, in the order of CLIP's ids.

    Bytes that print in Latin-1 stand for themselves and come first; the other 68 follow as U+0100 up.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
