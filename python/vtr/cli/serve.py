"""`vtr serve`: an index over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import click

from vtr.cli.options import engine_options, index_option, open_engine
from vtr.errors import BackendError, UsageError

EVERY_ADDRESS = ("0.0.0.0", "::", "")  # of the machine, none of which is a name that requests give


@click.command()
@index_option
@engine_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Name that requests may be addressed to, or *; may be repeated  [default: localhost, 127.0.0.1, "
    "[::1] and --host]",
)
def command(index_dir: Path, host: str, port: int, allow_host: tuple[str, ...], **engine: Any) -> None:
    """Serve an index over HTTP: a page at /, JSON at /v1/search.

    There is no log-in: put a proxy in front before you listen on more than this machine, and name with
    --allow-host what requests are then addressed to; others are refused.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise BackendError("the HTTP service needs uvicorn: pip install 'vtr[serve]'") from error
    from vtr.service import LOCAL_HOSTS, make_app

    for name in allow_host:
        check_name(name)
    own = f"[{host}]" if ":" in host else host  # as addresses of version 6 stand in requests
    with listen(host, port) as listener:
        opened = open_engine(index_dir=index_dir, **engine)
        videos = len(opened.bank())
        opened.search("warm up", k=1)
        port = listener.getsockname()[1]
        click.echo(f"{videos} videos, {opened.description}: http://{own}:{port}", err=True)
        if host in EVERY_ADDRESS and not allow_host:
            told = ", ".join(LOCAL_HOSTS)
            click.echo(f"only requests to {told} are answered; name others with --allow-host", err=True)
        app = make_app(opened, allow_host or (*LOCAL_HOSTS, own))
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections to an address of this machine.

    Raises:
        UsageError: there is no such address, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error


def check_name(name: str) -> None:
    """Refuse what no request is addressed to by name."""
    rest = name[1:-1] if name[:1] + name[-1:] == "[]" else name.removeprefix("*.")
    if name != "*" and (not rest or "*" in rest or (":" in rest and rest == name)):
        raise UsageError(f"expected a name without a port, *.NAME or * as --allow-host, got {name!r}")
