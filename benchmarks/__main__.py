"""`python -m vtr.benchmarks`: the same as `vtr-bench`."""

from .cli import main

main(prog_name="vtr-bench")
