"""The `vtr` command. Each subcommand is a module of its own, imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

import vtr
from vtr.cli.group import ReportingGroup

COMMANDS = {  # in the order in which a newcomer needs them
    "demo": "Index the clips that come with vtr and search them.",
    "train": "Train a model on your videos and captions.",
    "export": "Turn a trained checkpoint into a bundle.",
    "engines": "Plan a bundle's encoders for NVIDIA GPUs ahead of time.",
    "index": "Index video files and folders.",
    "search": "Search an index by text or by a video.",
    "remove": "Remove videos from an index, or compact it.",
    "info": "Describe a bundle, a built-in model or an index.",
    "verify": "Check a bundle, a built-in model or an index byte by byte.",
    "eval": "Measure retrieval quality with captions.",
    "serve": "Serve an index over HTTP.",
    "freeze": "Write an index to one file for programs in C.",
    "completion": "Print the completion script for a shell.",
}

SOME_FAILED = 3  # exit status of `vtr index`: the job is done, some files are not in it


class LazyGroup(ReportingGroup):
    """Knows its commands by name, so that `vtr search` does not import what `vtr export` needs."""

    interrupted = "interrupted; what was committed is kept"

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"vtr.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(vtr.__version__, prog_name="vtr")
def main() -> None:
    """Search video by text with CLIP4Clip-family models.

    Try `vtr demo` first. Then: vtr export CHECKPOINT -o BUNDLE; vtr index FOLDER --model BUNDLE
    --index DIR; vtr search "a man is cooking" --index DIR. Built-in models (--model mini) need no export.
    """
