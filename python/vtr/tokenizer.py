"""CLIP's tokenizer: text to the ids that the text tower was trained on, exactly.

The clean-up (ftfy, HTML entities, white space, lower case) follows ``simple_tokenizer.py`` of
https://github.com/openai/CLIP and runs in Python; the byte-pair encoding runs in the ``tokenizers``
library. What varies between models, the vocabulary and its merges, comes from the bundle's
``tokenizer.json``; what must not vary, the pattern that cuts text into words, is stated here, and a
file that states another is refused.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import BundleError, UsageError

START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"

# CLIP's pattern ignores case. Text is in lower case by then, so that has two effects, which are spelled
# out here because engines fold cases differently: ſ (long s) equals s; and U+0345, whose other case is
# the letter iota, counts neither as a letter nor as a symbol and is passed over.
PATTERN = (
    r"<\|[sſ]tartoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}"
    "\u0345]+"
)
# Unicode's White_Space, which Python's own \s exceeds by U+001C to U+001F.
WHITE_SPACE = re.compile("[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
MAX_FILE = 64 << 20


def clean(text: str) -> str:
    """Repair mojibake and entities, collapse white space, lower case: what CLIP does before encoding."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return WHITE_SPACE.sub(" ", text).strip().lower()


class Tokenizer:
    """Texts to ids of fixed length. Instances may be used from many threads at once."""

    def __init__(self, library_tokenizer: Any) -> None:
        """``library_tokenizer``: a ``tokenizers.Tokenizer``, which this object takes over and adjusts."""
        vocabulary = library_tokenizer.get_vocab(with_added_tokens=True)
        missing = [token for token in (START, END) if token not in vocabulary]
        if missing:
            raise BundleError(
                f"expected the tokens {START} and {END} in the vocabulary, {missing} is missing"
            )
        self.start: int = vocabulary[START]
        self.end: int = vocabulary[END]
        if self.end != max(vocabulary.values()) or self.start == self.end:
            raise BundleError(
                f"expected {END} to have the highest id, {max(vocabulary.values())}, got {self.end}: "
                "the text tower finds the sentence at the highest id"
            )
        # The rules of the text are applied by `clean`, which does what the library cannot.
        library_tokenizer.normalizer = None
        library_tokenizer.pre_tokenizer = word_splitter()
        library_tokenizer.no_truncation()
        library_tokenizer.no_padding()
        self._library = library_tokenizer
        self._split = library_tokenizer.pre_tokenizer
        self._model = library_tokenizer.model

    def __len__(self) -> int:
        """Size of the vocabulary: the highest id plus one."""
        return self.end + 1

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """The tokenizer of a ``tokenizer.json`` as a bundle holds it.

        Raises:
            BundleError: the file is missing or is no CLIP tokenizer.
        """
        from tokenizers import Tokenizer as LibraryTokenizer

        try:
            if (size := os.stat(path).st_size) > MAX_FILE:
                raise BundleError(f"{os.fspath(path)}: expected at most {MAX_FILE} bytes, got {size}")
            with open(path, encoding="utf-8") as file:
                text = file.read()
            _check_kind(json.loads(text))
            return cls(LibraryTokenizer.from_str(text))
        except BundleError as error:
            raise BundleError(f"{os.fspath(path)}: {error}; export the bundle again") from None
        except BaseException as error:  # the library reports some damage as a panic, no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                raise
            raise BundleError(
                f"{os.fspath(path)}: not a readable tokenizer.json ({error}); export the bundle again"
            ) from None

    def encode(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """Ids ``[B, length]`` int64: start, at most ``length - 2`` tokens of the text, end, zeros."""
        if isinstance(texts, str):
            raise UsageError("expected a sequence of texts, got one str: wrap it in a list")
        if length < 2:
            raise UsageError(f"expected a length of at least 2 (start and end of text), got {length}")
        ids = np.zeros((len(texts), length), np.int64)
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise UsageError(f"expected texts as str, got {type(text).__name__}: {text!r:.80}")
            tokens = [self.start, *self._tokens(clean(text))[: length - 2], self.end]
            ids[row, : len(tokens)] = tokens
        return ids

    def _tokens(self, text: str) -> list[int]:
        if START not in text and END not in text:
            ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
            return ids
        # CLIP takes a written-out special token for the token itself, but only where its pattern, read
        # from the left, cuts there; the library would find it anywhere.
        special = {START: [self.start], END: [self.end]}
        pieces = [piece for piece, _ in self._split.pre_tokenize_str(text)]
        found = [special.get(piece) or [t.id for t in self._model.tokenize(piece)] for piece in pieces]
        return [token for ids in found for token in ids]


def word_splitter() -> Any:
    """The library's pre-tokenizer that cuts as CLIP does and writes bytes as printable characters."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _check_kind(settings: Any) -> None:
    model = settings.get("model") if isinstance(settings, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise BundleError("expected a tokenizer.json with a model and its vocabulary")
    expected = {"type": "BPE", "end_of_word_suffix": WORD_END, "dropout": None, "unk_token": None}
    actual = {name: model.get(name) for name in expected}
    if actual != expected:
        raise BundleError(f"expected a byte-pair encoding with {expected}, got {actual}")
    splitter = settings.get("pre_tokenizer") or {}
    parts = splitter.get("pretokenizers", [])
    if not parts or parts[0].get("pattern") != {"Regex": PATTERN}:
        raise BundleError("expected words to be cut by CLIP's pattern, got another pre_tokenizer")
