"""Ranking by libvtr: a model of the native core, and a snapshot's videos packed into its memory.

The core keeps the rows that scoring looks at in a layout of its own, so a search reads no segment. A newer
snapshot shares the memory of the one before: what went is taken out, what came is packed, nothing is loaded
again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import BackendError, UnsupportedError
from vtr.index import Snapshot
from vtr.ranking import Best, Positions, Scores, stored_rows
from vtr.types import TextFeatures

if TYPE_CHECKING:
    from vtr import _core

SIZES = {
    "holistic": ("dim",),
    "xclip": ("dim", "frames", "words"),
    "tcmgc": ("dim", "frames", "words", "keep"),
}
COLUMNS = {"holistic": ("video",), "xclip": ("frames", "video"), "tcmgc": ("frames", "gram", "video")}

LOAD_BYTES = 16 << 20  # of stored rows that are handed to the core in one go
TEXTS = 256  # made ready together: 80 MB for TC-MGC at L = 32, D = 512


class NativeModel:
    """A bundle's scorer in the native core.

    Args:
        scoring, head, sizes: as a bundle has them.
        threads: of a search; ``None`` takes every core. Models with equal ``threads`` share one pool.
        storage: "float16" or "bfloat16", of features in memory; ``None`` takes bfloat16 if ``fast``.
        fast: multiply in bfloat16 where there is a matrix unit.
        isa: instruction set, "auto" or one of ``vtr._core.isas()``.

    Raises:
        UnsupportedError: the core does not do this kind of scoring or these sizes.
        BackendError: the core was not built.
    """

    def __init__(
        self,
        scoring: str,
        head: Mapping[str, NDArray[Any]],
        sizes: Mapping[str, Any],
        *,
        threads: int | None = None,
        storage: str | None = None,
        fast: bool = False,
        isa: str = "auto",
    ) -> None:
        core = import_core()
        if scoring not in SIZES:
            raise UnsupportedError(
                f"expected a kind of scoring that the native core has ({', '.join(SIZES)}), got {scoring!r}: "
                "use scoring='numpy'"
            )
        chosen = {name: sizes[name] for name in SIZES[scoring]}
        storage = storage or ("bfloat16" if fast else "float16")
        self.core = core.Model(scoring, dict(head), **chosen, isa=isa, storage=storage, fast=fast)
        self.columns = COLUMNS[scoring]
        self.threads = threads

    def __repr__(self) -> str:
        return f"NativeModel({self.core.scoring}, {self.core.isa}, {self.core.storage})"

    def query(self, texts: TextFeatures) -> _core.Query:
        words = np.ascontiguousarray(texts.words, np.float32) if self.core.words else None
        sentence = np.ascontiguousarray(texts.sentence, np.float32)
        return import_core().Query(self.core, sentence, words, pool=shared_pool(self.threads))

    def load(self, snapshot: Snapshot, progress: Callable[[int], object] | None = None) -> _core.Bank:
        """All videos of a snapshot in a bank of their own.

        Args:
            progress: called with the number of videos that were packed since the last call.

        Raises:
            IndexStoreError: a block of rows does not match its checksum.
        """
        bank = import_core().Bank(self.core)
        self.append(bank, snapshot, None, progress)
        return bank

    def append(
        self,
        bank: _core.Bank,
        snapshot: Snapshot,
        positions: Positions | None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Pack videos of a snapshot, those at ``positions`` or all, into a bank, a block at a time."""
        row_bytes = sum(snapshot.columns[name].row_bytes for name in self.columns)
        at_once = max(1, LOAD_BYTES // row_bytes)
        for chosen, rows in stored_rows(snapshot, self.columns, positions, at_once):
            bank.append(snapshot.ids[chosen], rows)
            if progress is not None:
                progress(len(chosen))


class NativeRanking:
    """A snapshot's videos in the core. They are packed when they are first asked for.

    ``lineage`` is one object for all rankings whose banks were made from one another, once :meth:`bank` was
    called.

    Args:
        previous: the ranking of an earlier snapshot of the same index, to share memory with.
    """

    def __init__(self, model: NativeModel, snapshot: Snapshot, previous: NativeRanking | None = None) -> None:
        self._model = model
        self._snapshot = snapshot
        self._lock = threading.Lock()
        self._bank: _core.Bank | None = None
        self.lineage = object()  # the same as long as banks are made from one another
        self._last_id = -1  # the highest that the core bank, or one that it was cloned from, ever had
        self._previous = None if previous is None else previous._newest()

    def _newest(self) -> NativeRanking | None:
        """The last of this and its predecessors whose videos are packed, or being packed."""
        return self if self._bank is not None or self._lock.locked() else self._previous

    def bank(self) -> _core.Bank:
        """The core's bank; one thread makes it, the others wait."""
        with self._lock:
            if self._bank is None:
                bank = self._updated(self._previous) or self._model.load(self._snapshot)
                self._last_id = max([self._last_id, *self._snapshot.ids[-1:].tolist()])
                self._bank, self._previous = bank, None
            return self._bank

    def _updated(self, previous: NativeRanking | None) -> _core.Bank | None:
        """The predecessor's bank with what changed since; ``None`` if it cannot become this one."""
        if previous is None:
            return None
        with previous._lock:
            shared, last_id, lineage = previous._bank, previous._last_id, previous.lineage
        if (
            shared is None
            or (changes := changes_between(previous._snapshot, self._snapshot, last_id)) is None
        ):
            return None
        gone, came = changes
        bank = shared.clone()
        if len(gone):
            bank.remove(gone)
        if len(came):
            self._model.append(bank, self._snapshot, came)
        self._last_id, self.lineage = last_id, lineage
        return bank

    # ---- ranking --------------------------------------------------------------------------------

    def scores(self, texts: TextFeatures, positions: Positions | None) -> Scores:
        bank = self.bank()
        ids = None if positions is None else self._snapshot.ids[positions]
        scores = np.empty((len(texts), len(self._snapshot) if ids is None else len(ids)), np.float32)
        for part in parts_of(len(texts)):
            query = self._model.query(texts[part])
            scores[part] = bank.score(query, ids, pool=shared_pool(self._model.threads))
        return scores

    def best(
        self, texts: TextFeatures, k: int, candidates: int | None, positions: Positions | None
    ) -> list[Best]:
        bank = self.bank()
        among = len(self._snapshot) if positions is None else len(positions)
        candidates = among if candidates is None else min(candidates, among)
        k = min(k, candidates)
        if k == 0:
            return [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(texts)
        only = None if positions is None else self._snapshot.ids[positions]
        best: list[Best] = []
        for part in parts_of(len(texts)):
            answers = bank.search(
                self._model.query(texts[part]),
                k,
                candidates=candidates if candidates < among else 0,
                only=only,
                pool=shared_pool(self._model.threads),
            )
            best += best_of(self._snapshot, *answers)
        return best


def best_of(
    snapshot: Snapshot, ids: NDArray[np.int64], scores: NDArray[np.float32], found: list[int]
) -> list[Best]:
    """The core's answers ``ids, scores [T, k]``, ``found [T]``, as positions in a snapshot that has them."""
    return [
        (np.searchsorted(snapshot.ids, ids[row, :count]), scores[row, :count])
        for row, count in enumerate(found)
    ]


def changes_between(old: Snapshot, new: Snapshot, last_id: int) -> tuple[Positions, Positions] | None:
    """The ids that went, and the positions in ``new`` that came; ``None`` if that does not lead there.

    It leads there as long as ids grow and what is behind an id stays, which the store promises. An index
    that was replaced by another in the meantime keeps no promise.

    Args:
        last_id: the highest id that any snapshot up to ``old`` had.
    """
    at = np.searchsorted(old.ids, new.ids)
    known = at < len(old)
    known[known] = old.ids[at[known]] == new.ids[known]
    same = np.array_equal(old.contents[at[known]], new.contents[known])
    came = np.flatnonzero(~known)
    if new.version < old.version or not same or (len(came) and new.ids[came[0]] <= last_id):
        return None
    stayed = np.zeros(len(old), bool)
    stayed[at[known]] = True
    return old.ids[~stayed], came


def parts_of(texts: int) -> list[slice]:
    """Slices of so many texts that are made ready together."""
    return [slice(start, start + TEXTS) for start in range(0, texts, TEXTS)]


# ---- the core and its threads -----------------------------------------------------------------------


def import_core() -> Any:
    """The module ``vtr._core``, loaded on first use."""
    try:
        from vtr import _core
    except ImportError as error:
        raise BackendError(
            f"vtr's native core cannot be loaded ({error}): install vtr again with a C++20 compiler at hand, "
            "or use scoring='numpy'"
        ) from error
    return _core


_pools: dict[int, _core.Pool] = {}
_pools_lock = threading.Lock()


def shared_pool(threads: int | None) -> _core.Pool:
    """The process's pool of so many threads; ``None`` is one a core."""
    with _pools_lock:
        if (wanted := threads or 0) not in _pools:
            _pools[wanted] = import_core().Pool(wanted)
        return _pools[wanted]


def _forget_pools() -> None:
    """A forked process has none of its parent's threads, and nobody there will let go of the lock."""
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_pools)
