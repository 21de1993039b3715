"""Reading a text file as what it is: a JSON value, JSON lines, a table, or plain lines. Never a pickle."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtr.errors import UsageError

PICKLE_HINT = (
    "is a pickle, which can run any code when it is read, so vtr does not. If you trust it, convert it once: "
    "python -c \"import json, pickle, sys; json.dump(pickle.load(open(sys.argv[1], 'rb')), "
    "open(sys.argv[2], 'w'))\" {name} captions.json"
)


@dataclass(frozen=True)
class Document:
    """A decoded file. ``value`` is its JSON value (a list for JSON lines), ``None`` if it is not JSON."""

    path: Path
    text: str
    value: Any = None
    json_lines: bool = False

    @property
    def lines(self) -> list[str]:
        """Lines that are not blank, without their ends. Only a line feed ends a line, not U+2028."""
        return [line.rstrip("\r") for line in self.text.split("\n") if line.strip()]

    @property
    def separator(self) -> str:
        """What separates the fields of a table: tabs if its first line has any, else commas."""
        return "\t" if "\t" in self.lines[0] else ","

    def _rows(self, text: str) -> Any:
        return csv.reader(io.StringIO(text, newline=""), delimiter=self.separator, strict=True)

    @property
    def header(self) -> list[str]:
        """The fields of the first line; none if the file is JSON."""
        if self.value is not None:
            return []
        try:
            return [name.strip() for name in next(self._rows(self.lines[0]))]
        except csv.Error:
            return []

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of a CSV file."""
        reader = self._rows(self.text)
        try:
            rows = [row for row in reader if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise UsageError(f"{self.path}, line {reader.line_num}: not a CSV file: {error}") from error
        names = [name.strip() for name in rows[0]]
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(names):
                raise UsageError(
                    f"{self.path}, row {number}: expected {len(names)} fields ({', '.join(names)}), "
                    f"got {len(row)}; quote texts that hold the separator"
                )
        return names, rows[1:]


def read_document(path: str | os.PathLike[str]) -> Document:
    """Read a UTF-8 file; ``UsageError`` for pickles, other encodings and broken JSON."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if path.suffix.lower() in (".pkl", ".pickle") or (data[:1] == b"\x80" and data[-1:] == b"."):
        raise UsageError(f"{path} {PICKLE_HINT.format(name=path.name)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: expected UTF-8 text, got byte {data[error.start]:#04x} at position {error.start}; "
            "convert it (iconv -t UTF-8)"
        ) from error
    if not text.strip():
        raise UsageError(f"{path} is empty")
    if text.lstrip()[0] not in "{[":
        return Document(path, text)
    try:
        return Document(path, text, json.loads(text))
    except (ValueError, RecursionError) as error:
        values = _json_lines(text)
        if values is None:
            raise UsageError(f"{path}: expected JSON or JSON lines: {error}") from error
        return Document(path, text, values, json_lines=True)


def _json_lines(text: str) -> list[Any] | None:
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return None


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of videos, each once: a JSON list, a table with a column video_id, or a name a line."""
    document = read_document(path)
    if document.value is not None:
        names = list(document.value) if isinstance(document.value, (list, dict)) else None
        if names is None or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{path}: expected a JSON list of video names")
    elif "video_id" in document.header:
        header, rows = document.table()
        names = [row[header.index("video_id")] for row in rows]
    else:
        names = document.lines
    names = [name.strip() for name in names]
    if not all(names):
        raise UsageError(f"{path}: expected video names, got an empty one")
    return list(dict.fromkeys(names))
