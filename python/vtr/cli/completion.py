"""`vtr completion`: the script that makes a shell complete vtr's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    bash: eval "$(vtr completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc.
    fish: vtr completion fish > ~/.config/fish/completions/vtr.fish
    """
    from vtr.cli import main

    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(main, {}, "vtr", "_VTR_COMPLETE").source())
