"""`vtr export --cuda`: the kernels that a bundle's sizes need, compiled for GPUs that need not be here.

What is compiled depends on the kind of scoring and on F, L, D and K alone, not on any weight. The files lie
in the bundle's folder ``kernels``, listed with their hashes like all others; `vtr.kernels.aot` says what is
in them. They do not count for the fingerprint: another rounding of the same logits is no other model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vtr.errors import BackendError, UsageError
from vtr.manifest import KERNELS

if TYPE_CHECKING:
    from vtr.export.bundle import BundleWriter
    from vtr.kernels.config import Spec

STORAGE = "fp16"  # of features in an index, and so in a device's memory
FOLDER = PurePosixPath(KERNELS).parent


def check_arches(arches: Sequence[int]) -> tuple[int, ...]:
    """The architectures in order, each once.

    Raises:
        UsageError: none, or one that there are no kernels for.
        BackendError: Triton is not installed.
    """
    from vtr.kernels.config import ARCHES

    wanted = tuple(sorted(set(arches)))
    if not wanted or not set(wanted) <= set(ARCHES):
        known = ", ".join(map(str, ARCHES))
        raise UsageError(f"expected CUDA architectures out of {known}, got {list(wanted)}")
    if find_spec("triton") is None:
        raise BackendError("compiling kernels needs Triton: pip install 'vtr[gpu]'")
    return wanted


def kernel_spec(scoring: str, sizes: Mapping[str, Any]) -> Spec:
    """What to compile for a model.

    Raises:
        UsageError: there are no kernels for this kind of scoring, or not for these sizes.
    """
    from vtr.kernels.config import Spec

    if scoring == "cross":
        raise UsageError(
            "tightTransf has no kernels to compile: a cross encoder, which is a graph, scores every pair; "
            "export it without --cuda"
        )
    if scoring == "holistic":
        return Spec(scoring, 1, 1, sizes["dim"], 1, STORAGE)  # no kernel sees frames or words
    return Spec(scoring, sizes["frames"], sizes["words"], sizes["dim"], sizes["keep"] or 1, STORAGE)


def add_kernels(writer: BundleWriter, spec: Spec, arches: Sequence[int]) -> dict[str, Any]:
    """Compile, add the files to a bundle, and return its manifest's entry ``cuda``.

    Raises:
        UsageError: a kernel keeps registers in memory; the message says which.
    """
    import triton

    from vtr.kernels.aot import build

    with tempfile.TemporaryDirectory() as folder:
        build(spec, Path(folder), arches)
        for path in sorted(Path(folder).iterdir()):
            writer.add(f"{FOLDER}/{path.name}", path.read_bytes())
    return {"arches": list(arches), "triton": triton.__version__}
