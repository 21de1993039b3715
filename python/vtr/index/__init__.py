"""The index store: which videos there are, their metadata, and their features on disk."""

from vtr.columns import ColumnSpec
from vtr.index.records import FailedFile, Label, VideoRecord, check_metadata
from vtr.index.snapshot import Snapshot
from vtr.index.store import IndexStore
from vtr.index.verify import verify_index
from vtr.index.where import Where, compile_where, parse_where
from vtr.index.writer import Writer

__all__ = [
    "ColumnSpec",
    "FailedFile",
    "IndexStore",
    "Label",
    "Snapshot",
    "VideoRecord",
    "Where",
    "Writer",
    "check_metadata",
    "compile_where",
    "parse_where",
    "verify_index",
]
