"""How a command of vtr's tells of errors: one clear line and an exit status."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

import click

from vtr.errors import UsageError, VtrError
from vtr.files import printable

FAILED = 1  # exit status: the command could not do its work
INTERRUPTED = 130


class ReportingGroup(click.Group):
    """Commands whose errors are lines that begin with ``program``."""

    program = "vtr"
    interrupted = "interrupted"  # what is said after Ctrl-C

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of vtr's becomes one clear line and an exit status."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")  # of what a terminal that is no UTF-8 lacks
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(printable(str(error)), ctx=None) from error
        except VtrError as error:
            self._end(printable(str(error)), FAILED)
        except MemoryError as error:
            self._end(f"out of memory: {printable(str(error)) or 'there is not enough for this'}", FAILED)
        except KeyboardInterrupt:
            self._end(self.interrupted, INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when the reader of a pipe goes away
                raise
            self._end(printable(str(error)), FAILED)

    def _end(self, line: str, status: int) -> None:
        click.echo(f"{self.program}: {line}", err=True)
        sys.exit(status)
