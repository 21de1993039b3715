"""Indexes of random videos, for the tests of banks."""

from pathlib import Path

import numpy as np
from native_cases import SIZES, head_of, rows_of, scorer_of

from vtr.bank import Bank
from vtr.columns import ColumnSpec
from vtr.index import IndexStore, VideoRecord
from vtr.native import NativeModel


class Index:
    """An index of random videos of one kind of scoring, without files or encoders.

    ``device`` is a GPU that the native banks are given; none at first.
    """

    def __init__(self, path, kind):
        self.kind, self.scorer = kind, scorer_of(kind)
        times = ColumnSpec((SIZES["frames"],), "float32")
        self.store = IndexStore.create(path, "ab" * 32, {}, {**self.scorer.columns, "timestamps": times})
        self.native = NativeModel(kind, head_of(kind, **SIZES), SIZES)
        self.device = None
        self.bank = None

    def add(self, names, seed=0):
        """Videos at these paths, of the content (name, seed); a content that is there is not stored again."""
        names = list(names)
        records = [
            VideoRecord(
                path=Path(f"/{name}"),
                sha256=f"{hash((name, seed)) % 16**12:064x}",
                size=1,
                mtime_ns=1,
                duration=10.0,
                width=8,
                height=8,
                fps=8.0,
                codec="h264",
                metadata={"even": name % 2 == 0},
            )
            for name in names
        ]
        parts = [rows_of(self.scorer, 1, seed=1000 * seed + name) for name in names]
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        rows["timestamps"] = np.tile(np.arange(SIZES["frames"], dtype=np.float32), (len(names), 1))
        with self.store.writer() as writer:
            writer.add(records, rows)

    def remove(self, names):
        with self.store.writer() as writer:
            writer.remove([Path(f"/{name}") for name in names])

    def now(self):
        """The native bank of the present, made from the one before; and NumPy's."""
        self.bank = Bank(self.store.snapshot(), self.scorer, self.native, self.bank, self.device)
        return self.bank, Bank(self.store.snapshot(), self.scorer)
