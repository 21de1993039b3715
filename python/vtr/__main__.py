"""`python -m vtr` is the `vtr` command."""

from vtr.cli import main

main(prog_name="vtr")
