"""Plans from ONNX graphs, by TensorRT or TensorRT-RTX: one interface, found under either name.

TensorRT plans on the GPU that is there and measures kernels on it. TensorRT-RTX plans for the architectures
that it knows without any GPU, and compiles the last part on the machine that runs the plan.

A network is strongly typed: it computes in the precisions that its ONNX file says, TF32 is off, and nothing
is ever refitted. A plan has two profiles, for one row (a query) and for many (indexing).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vtr.encoders.cast_first import cast_first
from vtr.errors import BackendError

MODULES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}  # by preference
INSTALL = "pip install tensorrt, or tensorrt-rtx-cu13 for GeForce RTX and RTX PRO cards"
NO_INT8 = (
    "TensorRT takes no int8 bundles, whose activations are quantised as they come: export with "
    "--precision fp16 or int8-static, or use backend onnxruntime"
)
BATCH = 48  # most rows of one run: as many frames as indexing sends at once

Extent = tuple[int, int, int]  # least, best and most of an axis


def module_name() -> str | None:
    """The module that is installed, the full TensorRT rather than TensorRT-RTX; ``None`` if neither is."""
    return next((name for name in MODULES if find_spec(name) is not None), None)


@dataclass(frozen=True)
class Library:
    """A TensorRT that was imported."""

    name: str
    trt: Any

    @staticmethod
    def load() -> Library:
        """Raises BackendError where none is installed or it cannot be imported."""
        if (name := module_name()) is None:
            raise BackendError(f"TensorRT is not installed: {INSTALL}")
        return _load(name)

    @staticmethod
    def named(name: str) -> Library:
        """One of the two. Raises BackendError where it cannot be imported."""
        return _load(name)

    @property
    def title(self) -> str:
        return MODULES[self.name]

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def is_rtx(self) -> bool:
        return self.name == "tensorrt_rtx"

    def architectures(self) -> list[int] | None:
        """What plans can be made for; ``None``: for the GPU that is there."""
        if not self.is_rtx:
            return None
        names = self.trt.ComputeCapability.__members__
        return sorted(int(name[2:]) for name in names if name.startswith("SM"))

    @cached_property
    def logger(self) -> Any:
        """Keeps the latest errors; ``problem()`` gives them in a line. TensorRT has one for all uses."""
        trt = self.trt

        class Logger(trt.ILogger):  # type: ignore[name-defined, misc, unused-ignore]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self._lines: deque[str] = deque(maxlen=4)

            def log(self, severity: Any, message: str) -> None:
                if int(severity) <= int(trt.ILogger.Severity.ERROR):
                    self._lines.append(" ".join(message.split()))

            def problem(self) -> str:
                text = "; ".join(dict.fromkeys(self._lines))
                self._lines.clear()
                return text[:1000] or "it does not say why"

        return Logger()


@cache
def _load(name: str) -> Library:
    try:
        return Library(name, import_module(name))
    except Exception as error:  # ImportError, OSError of its libraries, RuntimeError of its loader
        raise BackendError(f"{MODULES[name]} cannot be imported: {error}: {INSTALL}") from error


def build_plan(
    onnx_path: str | Path,
    compute_capability: int | Sequence[int],
    frames: int = 1,
    library: Library | None = None,
    prepare: Callable[[Any], None] | None = None,
) -> bytes:
    """Plan a graph of a bundle.

    Args:
        onnx_path: the graph's file.
        compute_capability: of the GPU that will run it, without its point: 89 for 8.9. TensorRT-RTX needs no
            GPU here, and may be given several; TensorRT plans for the GPU that is there, in whose context the
            caller must be.
        frames: how many frames of a video come together, which is 1 where they do not see each other.
        library: by default the one that is installed.
        prepare: called with the builder's configuration before planning begins.

    Raises:
        BackendError: the library cannot plan this graph, or not for such a GPU; the message has its reason.
    """
    library = library or Library.load()
    trt, logger = library.trt, library.logger
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(cast_first(Path(onnx_path).read_bytes())):
        raise BackendError(f"{library.title} cannot read {onnx_path}: {_parser_errors(parser)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    _set_targets(library, config, compute_capability)
    for extents in _profiles(network, frames):
        _add_profile(builder, network, config, extents, onnx_path)
    if prepare is not None:
        prepare(config)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(f"{library.title} cannot plan {onnx_path}: {logger.problem()}")
    return bytes(plan)


def plan_here(
    library: Library, path: Path, arch: int, frames: int, timings: bytes | None
) -> tuple[bytes, bytes | None]:
    """The plan of a graph for one kind of GPU, and what was measured for it.

    Args:
        path, arch, frames: see :func:`build_plan`.
        timings: what TensorRT measured for other graphs; ``None``: nothing is to be kept of this either.
    """
    caches: list[Any] = []

    def attach(config: Any) -> None:
        if (cache := config.create_timing_cache(timings)) is not None:
            config.set_timing_cache(cache, ignore_mismatch=False)
            caches.append(cache)

    plan = build_plan(path, arch, frames, library, None if timings is None else attach)
    return plan, bytes(caches[0].serialize()) if caches else None


def _set_targets(library: Library, config: Any, targets: int | Sequence[int]) -> None:
    if (known := library.architectures()) is None:
        return
    targets = [targets] if isinstance(targets, int) else targets
    config.num_compute_capabilities = len(targets)
    for number, target in enumerate(targets):
        if target not in known:
            raise BackendError(
                f"{library.title} {library.version} plans for sm_{', sm_'.join(map(str, known))}, not for "
                f"sm_{target}: pip install tensorrt"
            )
        config.set_compute_capability(getattr(library.trt.ComputeCapability, f"SM{target}"), number)


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(min(3, parser.num_errors))]
    return "; ".join(
        f"node {e.node()} ({e.node_operator()}): {' '.join(e.desc().split())[:300]}" for e in errors
    )


def _profiles(network: Any, frames: int) -> list[dict[str, Extent]]:
    """Sizes of the open axes, for one row alone and for many; a video's frames count as rows."""
    names = {name for tensor in _inputs(network) for name, size in _axes(tensor) if size < 0}
    most = max(1, BATCH // frames) if "frames" in names else BATCH
    together = (frames, frames, frames)
    return [{"batch": batch, "frames": together} for batch in ((1, 1, 1), (1, most, most))]


def _add_profile(
    builder: Any, network: Any, config: Any, extents: Mapping[str, Extent], path: str | Path
) -> None:
    profile = builder.create_optimization_profile()
    for tensor in _inputs(network):
        axes = []
        for name, size in _axes(tensor):
            if size < 0 and name not in extents:
                raise BackendError(
                    f"{path}: expected open axes of {', '.join(extents)}, got {name!r} in {tensor.name}; "
                    "export the bundle again"
                )
            axes.append(extents[name] if size < 0 else (size, size, size))
        profile.set_shape(tensor.name, *zip(*axes, strict=True))
    config.add_optimization_profile(profile)


def _inputs(network: Any) -> list[Any]:
    return [network.get_input(number) for number in range(network.num_inputs)]


def _axes(tensor: Any) -> list[tuple[str, int]]:
    """Names, of those that are open, and sizes, -1 where open."""
    return [(tensor.get_dimension_name(axis), int(size)) for axis, size in enumerate(tensor.shape)]
