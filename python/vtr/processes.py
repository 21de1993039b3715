"""Processes of Python that vtr starts to have something done apart."""

from __future__ import annotations

import signal
import sys

_HERE = ("", ".")  # the working directory, in `sys.path`


def python_command(module: str, argument: int) -> list[str]:
    """The command that calls ``main(argument)`` of a module, which imports what this process would.

    Nothing is looked up in the working directory, where Python itself would look first: it may be a folder of
    downloads, with a ``json.py`` in it.
    """
    code = f"import sys; sys.path[:] = sys.argv[2:]; from {module} import main; main(int(sys.argv[1]))"
    return [sys.executable, "-c", code, str(argument), *(path for path in sys.path if path not in _HERE)]


def signal_name(number: int) -> str:
    """ "SIGKILL", or "signal 40" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
