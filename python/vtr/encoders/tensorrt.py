"""Graphs on TensorRT or TensorRT-RTX: planned when they are first used, the plans kept for next time.

Every call takes an execution context with buffers of its own, so that a graph is callable from many threads.
Inputs are copied to the GPU once and outputs back once; inputs that lie there already are read in place.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.bundle import Bundle
from vtr.encoders.cuda_driver import Context, DeviceMemory, HostMemory, Stream
from vtr.encoders.device_array import DeviceArray
from vtr.encoders.plans import Key, Store, engine_folders
from vtr.encoders.tensorrt_apart import plan_apart
from vtr.encoders.tensorrt_build import BATCH, NO_INT8, Library
from vtr.errors import BackendError, UsageError
from vtr.files import content_hash

GRAPHS = ("text.onnx", "vision.onnx", "temporal.onnx", "cross.onnx")  # of a bundle; not all have the last
ALIGNMENT = 256  # bytes: what TensorRT asks of the addresses that it reads

Arrays = Mapping[str, NDArray[Any] | DeviceArray]


class Backend:
    """Computes in the precision of the graph, whatever was chosen, on the first GPU."""

    device_arrays = True

    def __init__(self, device: str, precision: str, threads: int | None, bundle: Bundle) -> None:
        self._library = Library.load()
        self._cuda = Context()
        self._planner = Planner(
            self._library, self._cuda.gpu.arch, self._cuda.gpu.name, engine_folders(bundle), frames_of(bundle)
        )

    def load(self, path: Path, exact: bool) -> Graph:
        with self._cuda.current():
            return Graph(self._planner.engine(path, self._cuda))


def frames_of(bundle: Bundle) -> int:
    """How many frames of a video come to the vision graph together: one by one unless they see each other."""
    return int(bundle.sizes["frames"]) if bundle.frame_coupling else 1


def plan_ahead(bundle: Bundle, arch: int) -> Iterator[Path]:
    """Plan a bundle's graphs for all GPUs of one compute capability (89 for 8.9), with no GPU here.

    Yields the file of each plan as it is written.

    Raises:
        BackendError: TensorRT-RTX is not what is installed, or cannot plan this bundle; or no folder can be
            written.
    """
    library = Library.load()
    if not library.is_rtx:
        raise BackendError(
            "TensorRT plans on the GPU that runs the plan, when it is first used; for plans ahead of time: "
            "pip uninstall tensorrt, and pip install tensorrt-rtx-cu13"
        )
    if bundle.manifest["precision"] == "int8":
        raise BackendError(NO_INT8)
    planner = Planner(library, arch, None, engine_folders(bundle), frames_of(bundle))
    for name in GRAPHS:
        if name in bundle.manifest["files"]:
            if (path := planner.make(bundle.graph(name))[1]) is None:
                raise BackendError(f"no plan of {name} could be written, see the warning")
            yield path


# ---- plans -------------------------------------------------------------------------------------------


class Planner:
    """Plans of graphs for one kind of GPU: from disk, else made and kept.

    ``gpu``, its name, may be ``None`` where TensorRT-RTX only plans, for all GPUs of one ``arch``.
    """

    def __init__(
        self, library: Library, arch: int, gpu: str | None, folders: list[Path], frames: int
    ) -> None:
        self.library, self.arch, self.gpu = library, arch, gpu
        self._folders, self._frames = folders, frames

    def key(self, kind: str, path: Path | None, gpu: str | None) -> Key:
        sizes = f"batch 1 and {BATCH}, frames {self._frames}" if path else None
        graph = content_hash(path) if path else None
        return Key(kind, self.library.name, self.library.version, self.arch, gpu, graph, sizes)

    def store(self, stem: str) -> Store:
        return Store(self._folders, stem)

    def plan_key(self, path: Path) -> Key:
        return self.key("plan", path, None if self.library.is_rtx else self.gpu)

    def make(self, path: Path) -> tuple[bytes, Path | None]:
        """A new plan, and where it is kept, if anywhere."""
        timings = None if self.library.is_rtx else Timings(self)
        known = timings.read() if timings else None
        plan, measured = plan_apart(self.library, path, self.arch, self._frames, known)
        if timings and measured is not None:
            timings.write(measured)
        return plan, self.store(path.stem).write(self.plan_key(path), plan)

    def engine(self, path: Path, cuda: Context) -> Engine:
        """A graph that is ready for execution contexts. ``cuda`` is current."""
        library, store = self.library, self.store(path.stem)
        runtime = library.trt.Runtime(library.logger)
        loaded = None
        if kept := store.read(self.plan_key(path)):
            loaded = runtime.deserialize_cuda_engine(kept[1])
            if loaded is None:
                store.warn(kept[0], f"{library.title} refuses it: {library.logger.problem()}")
        if loaded is None:
            loaded = runtime.deserialize_cuda_engine(self.make(path)[0])
        if loaded is None:
            raise BackendError(f"{library.title} refuses its own plan: {library.logger.problem()}")
        kernels = Kernels(self, path, loaded) if library.is_rtx else None
        return Engine(loaded, kernels, runtime, cuda, library)


class Timings:
    """What TensorRT measured on this GPU, for all graphs: planning the next one is faster."""

    def __init__(self, planner: Planner) -> None:
        self._key, self._store = planner.key("timing", None, planner.gpu), planner.store("all")

    def read(self) -> bytes:
        kept = self._store.read(self._key)
        return kept[1] if kept else b""

    def write(self, measured: bytes) -> None:
        self._store.write(self._key, measured)


class Kernels:
    """What TensorRT-RTX compiled at run time for one engine on this GPU."""

    def __init__(self, planner: Planner, path: Path, engine: Any) -> None:
        self._key, self._store = planner.key("kernels", path, planner.gpu), planner.store(path.stem)
        self._saved, self._lock = "", threading.Lock()
        self._config = engine.create_runtime_config()
        self.cache = self._config.create_runtime_cache()
        if kept := self._store.read(self._key):
            self.cache.deserialize(kept[1])  # what another driver compiled is refused, and made anew

    def save(self) -> None:
        """Write what is new since the last time."""
        with self._lock:
            content = bytes(self.cache.serialize())
            if (digest := hashlib.sha256(content).hexdigest()) != self._saved:
                self._store.write(self._key, content)
                self._saved = digest


# ---- runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """A plan that was loaded on a GPU, and what its execution contexts need.

    In the order in which they go: each is let go of before what it needs.
    """

    engine: Any
    kernels: Kernels | None
    runtime: Any
    cuda: Context
    library: Library

    def names(self, inputs: bool) -> list[str]:
        mode = self.library.trt.TensorIOMode
        wanted, engine = mode.INPUT if inputs else mode.OUTPUT, self.engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        return [name for name in names if engine.get_tensor_mode(name) == wanted]

    def most(self, name: str, profile: int) -> tuple[int, ...]:
        """The largest shape of an input that a profile plans for."""
        return tuple(self.engine.get_tensor_profile_shape(name, profile)[2])

    def dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self.library.trt.nptype(self.engine.get_tensor_dtype(name)))

    def check(self, done: Any, what: str) -> None:
        """Raise BackendError, with the library's reason, unless something was ``done``."""
        if not done:
            raise BackendError(f"{self.library.title} refuses {what}: {self.library.logger.problem()}")

    def new_context(self) -> Any:
        """An execution context that takes memory for its own profile alone."""
        strategy = self.library.trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        if self.kernels is None:
            context = self.engine.create_execution_context(strategy)
        else:
            config = self.engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.set_runtime_cache(self.kernels.cache)
            context = self.engine.create_execution_context(config)
        self.check(context is not None, "an execution context")
        return context


class Graph:
    """A planned graph with as many execution contexts as there were calls at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs = frozenset(inputs := engine.names(inputs=True))
        self.outputs = frozenset(engine.names(inputs=False))
        count = engine.engine.num_optimization_profiles
        self._most = [engine.most(inputs[0], profile)[0] for profile in range(count)]
        self._idle: list[list[Runner]] = [[] for _ in range(count)]  # append and pop are atomic
        # Frames that do not see each other, [B, n, ...], are planned as rows of one frame each. An axis that
        # all profiles plan for one size may be reported as open or as of that size.
        shapes = {name: tuple(engine.engine.get_tensor_shape(name)) for name in inputs}
        self._spread = [
            name
            for name, shape in shapes.items()
            if shape[1:2] in ((-1,), (1,)) and engine.most(name, count - 1)[1] == 1
        ]
        if engine.kernels is not None:
            weakref.finalize(self, engine.kernels.save)  # some are compiled while others run

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if not self._spread:
            return self._in_parts(inputs)
        videos, frames = inputs[self._spread[0]].shape[:2]
        rows = {name: array.reshape(videos * frames, 1, *array.shape[2:]) for name, array in inputs.items()}
        outputs = self._in_parts(rows)
        return {name: array.reshape(videos, frames, *array.shape[2:]) for name, array in outputs.items()}

    def _in_parts(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """As many runs as it takes with what is planned for."""
        count, step = len(next(iter(inputs.values()))), self._most[-1]
        parts = [
            self._run({name: array[start : start + step] for name, array in inputs.items()})
            for start in range(0, count, step)
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        rows = len(next(iter(inputs.values())))
        profile = next(number for number, most in enumerate(self._most) if rows <= most)
        runner = None
        with self._engine.cuda.current():
            with suppress(IndexError):
                runner = self._idle[profile].pop()
            known = runner is not None
            runner = runner or Runner(self._engine, profile)
            outputs = runner.run(inputs)  # after an error it is not used again
            self._idle[profile].append(runner)
        if not known and self._engine.kernels is not None:
            self._engine.kernels.save()
        return outputs


class Runner:
    """An execution context of one profile, its stream, and buffers for the most that it plans for."""

    def __init__(self, engine: Engine, profile: int) -> None:
        self._context = engine.new_context()  # the first to go, before what it works with
        self._engine = engine
        self._stream = Stream(engine.cuda)
        chosen = self._context.set_optimization_profile_async(profile, self._stream.handle)
        engine.check(chosen, f"profile {profile}")
        inputs, self._outputs = engine.names(inputs=True), engine.names(inputs=False)
        for name in inputs:
            self._set_shape(name, engine.most(name, profile))
        self._types = {name: engine.dtype(name) for name in (*inputs, *self._outputs)}
        sizes = {name: self._bytes(name) for name in self._types}
        self._memory = {name: DeviceMemory(engine.cuda, size) for name, size in sizes.items()}
        self._results = {name: HostMemory(engine.cuda, sizes[name]) for name in self._outputs}
        for name, memory in self._memory.items():
            self._set_address(name, memory.address)
        self._stream.synchronize()

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        try:
            for name, array in inputs.items():
                self._give(name, array)
            self._engine.check(self._context.execute_async_v3(self._stream.handle), "a run")
            for name in self._outputs:
                self._stream.download(self._memory[name].address, self._results[name], self._bytes(name))
        except BaseException:
            self._stream.drain()  # nothing may use the buffers when they are given back
            raise
        self._stream.synchronize()
        # Copies: the page-locked memory is written again by the next call.
        return {name: self._result(name).copy() for name in self._outputs}

    def _result(self, name: str) -> NDArray[Any]:
        return self._results[name].array(self._shape(name), self._types[name])

    def _give(self, name: str, array: NDArray[Any] | DeviceArray) -> None:
        """Make an array an input of the next run."""
        if array.dtype != self._types[name]:
            raise UsageError(f"expected {name} as {self._types[name]}, got {array.dtype}")
        self._set_shape(name, array.shape)
        if not isinstance(array, DeviceArray):
            self._set_address(name, self._memory[name].address)
            self._stream.upload(np.ascontiguousarray(array), self._memory[name].address)
            return
        if array.address % ALIGNMENT:
            raise UsageError(
                f"expected {name} on the GPU at an address that {ALIGNMENT} divides, got {array.address:#x}: "
                "give a copy"
            )
        array.finish()
        self._set_address(name, array.address)

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self._engine.check(
            self._context.set_input_shape(name, tuple(shape)), f"{name} of shape {list(shape)}"
        )

    def _set_address(self, name: str, address: int) -> None:
        self._engine.check(self._context.set_tensor_address(name, address), f"the address of {name}")

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._context.get_tensor_shape(name))

    def _bytes(self, name: str) -> int:
        return max(1, int(np.prod(self._shape(name))) * self._types[name].itemsize)
