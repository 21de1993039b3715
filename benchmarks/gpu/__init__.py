"""The proof on a GPU: every kernel checked against float64, then timed beside the machine's own ceilings.

    python -m benchmarks.gpu                 all parts; writes benchmarks/results/gpu-NAME.json
    python -m benchmarks.gpu --only search   some parts; they replace those in the file
    python -m benchmarks.gpu --interpret     the Triton parts at tiny sizes in the interpreter, with no GPU
    python -m benchmarks.gpu table           the table of docs/gpu.md from the files that are there

A part is a module with a function ``measure(place)`` that yields records, plain dicts with a ``name``;
`parts` lists them. Each runs in a process of its own and measures the ceilings first. Its failure, or a
library that it misses, is written down in words while the rest goes on. `targets` is what records are held
against.

Bytes and operations are counted by `work` from the shapes alone: what any way of computing has to read, and
the matrix products that it has to do. What else a kernel reads or computes makes its fraction of the ceiling
smaller, never larger.
"""
