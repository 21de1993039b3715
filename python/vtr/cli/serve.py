"""`vtr serve`: an index over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vtr.cli.options import engine_options, index_option, open_engine
from vtr.errors import BackendError

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

    opened = open_engine(index_dir=index_dir, **engine)
    videos = len(opened.bank())
    opened.search("warm up", k=1)
    click.echo(f"{videos} videos, {opened.description}: http://{host}:{port}", err=True)
    if host in EVERY_ADDRESS and not allow_host:
        click.echo(
            f"only requests to {', '.join(LOCAL_HOSTS)} are answered; name others with --allow-host", err=True
        )
    names = allow_host or (*LOCAL_HOSTS, host)
    uvicorn.run(make_app(opened, names), host=host, port=port, log_level="warning")
