"""Ranking on a GPU: a bundle's kernels, and the videos of an index copied into the GPU's memory.

The core's bank stays in main memory. It ranks what the GPU does not: the scores of given videos, searches
among candidates, and snapshots older than the one that the GPU has.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtr.errors import BackendError, DeviceError, IndexStoreError, UnsupportedError, UsageError
from vtr.index import Snapshot
from vtr.native import NativeModel, NativeRanking, best_of, import_core, parts_of, shared_pool
from vtr.ranking import Best, Positions, Scores
from vtr.types import TextFeatures

if TYPE_CHECKING:
    from vtr import _core

ON_THE_CPU = "rank on the CPU with scoring='native'"
FAILURES = (DeviceError, UnsupportedError, MemoryError)  # of a GPU, not of what it was asked


class DeviceModel:
    """A bundle's kernels on the first GPU, for a model of the native core.

    Args:
        kernels: folder that ``vtr export --cuda`` wrote.
        required: the GPU was asked for by name: what fails later is an error. Otherwise it is a warning,
            once, and the core ranks from then on.

    Raises:
        BackendError: there is no driver or no GPU, or the kernels are not for it or not for this model; the
            message names the remedy.
    """

    def __init__(self, native: NativeModel, kernels: Path, *, required: bool = False) -> None:
        self.native = native
        self.required = required
        self.failure: str | None = None
        self._kernels = kernels
        self._lock = threading.Lock()
        try:
            self._device = import_core().Device()
            self.name = self._device.name
            self.target = self.empty().target  # everything is loaded once, to see that it can be
        except (*FAILURES, IndexStoreError) as error:
            raise BackendError(f"{error}; or {ON_THE_CPU}") from error

    @property
    def description(self) -> str:
        """Where searches run, in words."""
        if self.failure is not None:
            return f"no longer on {self.name}: {self.failure}"
        return f"searches on {self.name}, {self.target}"

    def empty(self) -> _core.DeviceBank:
        """A copy of a bank without videos."""
        core = import_core()
        return core.DeviceBank(self._device, core.Bank(self.native.core), self._kernels)

    def fail(self, error: Exception) -> None:
        """Raise what a search met, or note that the GPU is of no use any more."""
        if self.required:
            raise DeviceError(
                f"{error}: start again with a GPU that has room and works, or {ON_THE_CPU}"
            ) from error
        with self._lock:
            if self.failure is not None:
                return
            self.failure = str(error)
        warnings.warn(
            f"{self.name} is not used any more ({error}); videos are ranked on the CPU",
            RuntimeWarning,
            stacklevel=2,
        )


class DeviceCopy:
    """The videos of one index in the GPU's memory, at one of its snapshots. Moves on to newer ones only."""

    def __init__(self, model: DeviceModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._bank: _core.DeviceBank | None = None
        self._lineage: object = None  # of the core's bank that was copied
        self._number = -1  # of the ranking that was copied
        self._holder: DeviceRanking | None = None  # whose videos these are; nobody's while they change

    def of(self, ranking: DeviceRanking) -> _core.DeviceBank | None:
        """The copy with the ranking's videos, uploaded if need be; ``None`` if a newer snapshot has it."""
        with self._lock:
            if self._holder is not ranking:
                if ranking.number < self._number:
                    return None
                self._take(ranking)
            return self._bank

    def still_of(self, ranking: DeviceRanking) -> bool:
        """Whether the copy has been the ranking's ever since `of` gave it: it never comes back to one."""
        return self._holder is ranking

    def drop(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._bank = self._holder = None

    def _take(self, ranking: DeviceRanking) -> None:
        self._holder = None
        videos = ranking.native.bank()
        lineage = ranking.native.lineage
        if self._bank is None or self._lineage is not lineage:
            self._bank = None  # its memory is free before the next copy takes some
            self._bank = self._model.empty()
        self._bank.follow(videos)
        self._lineage, self._number, self._holder = lineage, ranking.number, ranking


class DeviceRanking:
    """A snapshot's videos on the GPU. They are uploaded when they are first searched.

    Args:
        native: the same videos in the core.
        previous: the ranking of an earlier snapshot of the same index, whose copy moves on to this one.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        model: DeviceModel,
        snapshot: Snapshot,
        native: NativeRanking,
        previous: DeviceRanking | None = None,
    ) -> None:
        self.native = native
        self.number = next(self._numbers)
        self._model = model
        self._snapshot = snapshot
        self._copy: DeviceCopy = DeviceCopy(model) if previous is None else previous._copy

    def scores(self, texts: TextFeatures, positions: Positions | None) -> Scores:
        return self.native.scores(texts, positions)

    def best(
        self, texts: TextFeatures, k: int, candidates: int | None, positions: Positions | None
    ) -> list[Best]:
        among = len(self._snapshot) if positions is None else len(positions)
        found, refused = None, None
        if among and (candidates is None or candidates >= among) and self._model.failure is None:
            try:
                found = self._best(texts, min(k, among), positions)
            except FAILURES as error:
                self._model.fail(error)
                self._copy.drop()
            except UsageError as error:
                refused = error
        if found is None:  # the core refuses what is no number, and can hold what the GPU's float16 cannot
            found = self.native.best(texts, k, candidates, positions)
            if refused is not None and self._model.required:
                raise DeviceError(f"{refused}; {ON_THE_CPU}") from refused
        return found

    def _best(self, texts: TextFeatures, k: int, positions: Positions | None) -> list[Best] | None:
        """As `best`, on the GPU; ``None`` if a newer snapshot took the copy before or meanwhile."""
        bank = self._copy.of(self)
        if bank is None:
            return None
        only = None if positions is None else self._snapshot.ids[positions]
        pool = shared_pool(self._model.native.threads)
        best: list[Best] = []
        for part in parts_of(len(texts)):
            sentence = np.ascontiguousarray(texts.sentence[part], np.float32)
            words = None
            if self._model.native.core.words:
                words = np.ascontiguousarray(texts.words[part], np.float32)
            answers = bank.search(sentence, words, k, only=only, pool=pool)
            best += best_of(self._snapshot, *answers)
        return best if self._copy.still_of(self) else None
