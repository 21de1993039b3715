"""Showing how a long job goes: a bar on a terminal, plain lines elsewhere, or a callable of the caller's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from vtr.files import printable

LINE_EVERY = 5.0  # seconds between plain lines


class Progress:
    """Shows nothing. ``step`` is called for each finished item, with the item's name and outcome.

    The total is not known in advance where items are found while others are worked on, so it is told
    whenever it is known better.
    """

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def total(self, count: int) -> None:
        """There are ``count`` items in all."""

    def step(self, name: str, outcome: str, count: int = 1) -> None:
        """``count`` more items are done."""

    def close(self) -> None:
        """The job ended."""


class CallbackProgress(Progress):
    """Calls ``callback(done=…, total=…, name=…, outcome=…)`` after each item."""

    def __init__(self, callback: Callable[..., None]) -> None:
        self._callback = callback
        self._done = 0
        self._total = 0

    def total(self, count: int) -> None:
        self._total = count

    def step(self, name: str, outcome: str, count: int = 1) -> None:
        self._done += count
        self._callback(done=self._done, total=self._total, name=name, outcome=outcome)


class LineProgress(Progress):
    """A plain line every few seconds, for logs and pipes."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label, self._stream = label, stream
        self._done, self._total = 0, 0
        self._start = self._last = time.monotonic()

    def total(self, count: int) -> None:
        self._total = count

    def step(self, name: str, outcome: str, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            rate = self._done / (now - self._start)
            print(f"{self._label}: {self._done}/{self._total}, {rate:.1f}/s", file=self._stream, flush=True)


class BarProgress(Progress):
    """A bar with rate and remaining time, drawn by rich on standard error."""

    def __init__(self, label: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar: Any = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[name]}", markup=True),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._bar.add_task(label, total=None, name="")
        self._bar.start()

    def total(self, count: int) -> None:
        self._bar.update(self._task, total=count)

    def step(self, name: str, outcome: str, count: int = 1) -> None:
        from rich.markup import escape

        self._bar.update(self._task, advance=count, name=escape(printable(name[-40:])))

    def close(self) -> None:
        self._bar.stop()


def make_progress(choice: bool | Callable[..., None] | Progress, label: str) -> Progress:
    """``False``: silent; ``True``: bar or lines on standard error; a callable: called after each item."""
    if isinstance(choice, Progress):
        return choice
    if callable(choice):
        return CallbackProgress(choice)
    if not choice:
        return Progress()
    return BarProgress(label, sys.stderr) if sys.stderr.isatty() else LineProgress(label, sys.stderr)
