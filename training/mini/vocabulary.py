"""The built-in models' vocabulary: byte-pair encoding of CLIP's kind, learned from generated captions.

``python -m vtr.training.mini.vocabulary FILE`` writes a list of merges as OpenAI's is laid out, which
``vtr export --vocab FILE`` reads. Any text can be encoded; words that captions use are mostly one token.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vtr.tokenizer import END, START, WORD_END, word_splitter

from ..clips import Clips, World, load_world
from ..command import command

SIZE = 3584  # at most; the captions give no more than 3486
CLIPS = 12_000
REPEATS = 5  # of each concept's names, so that rare ones are whole too
HEADER = "#version: vtr-mini 1"


def corpus(world: World, clips: int = CLIPS, seed: int = 0) -> Iterator[str]:
    """Captions of training clips, and the names and synonyms of all concepts."""
    source = Clips(world, "train", seed)
    for index in range(clips):
        yield from source.captions(index)
    for concept in world.concepts.values():
        for name in (concept.name, *concept.synonyms):
            yield from [name] * REPEATS


def learn_merges(texts: Iterator[str], size: int = SIZE) -> list[str]:
    """The merges of a vocabulary of ``size`` tokens, in order, as lines of a list of merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    library.pre_tokenizer = word_splitter()
    letters = pre_tokenizers.ByteLevel.alphabet()
    # the library counts no letters that end a word until it meets them; CLIP's layout has all 256
    trainer = trainers.BpeTrainer(
        vocab_size=4 * size, initial_alphabet=letters, end_of_word_suffix=WORD_END, show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    merges = json.loads(library.to_str())["model"]["merges"]
    lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    return lines[: size - vocabulary_size(0)]


def read_merges(path: Path) -> list[str]:
    """What `write_merges` wrote."""
    return path.read_text(encoding="utf-8").splitlines()[1:]


def vocabulary_size(merges: int) -> int:
    """Tokens of a vocabulary of CLIP's layout: bytes, bytes that end a word, merges, start and end."""
    return 2 * 256 + merges + len((START, END))


def write_merges(path: Path, lines: Sequence[str]) -> None:
    """Write a list of merges, as OpenAI's is laid out."""
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m vtr.training.mini.vocabulary", description=__doc__)
    parser.add_argument("file", type=Path, help="file to write, .txt")
    parser.add_argument("--size", type=int, default=SIZE, help="tokens (default: %(default)s)")
    given = parser.parse_args(arguments)
    lines = learn_merges(corpus(load_world()), given.size)
    write_merges(given.file, lines)
    print(f"{len(lines)} merges in {given.file}")


if __name__ == "__main__":
    sys.exit(main())
