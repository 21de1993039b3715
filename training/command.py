"""What the command lines of ``python -m vtr.training...`` share: a known error is one line and a status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps

from vtr.errors import VtrError

Main = Callable[[Sequence[str] | None], None]


def command(main: Main) -> Callable[..., int]:
    """Have a function of the command line's arguments return the exit status, and tell errors."""

    @wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            main(arguments)
        except VtrError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0

    return run
