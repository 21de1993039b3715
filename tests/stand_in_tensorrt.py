"""A stand-in for TensorRT's Python module: plans are an ONNX graph and its profiles, runs ONNX Runtime's.

It works on the stand-in driver's memory, through the addresses that it is given, and refuses what TensorRT
refuses: shapes beyond the profile, types of inputs, addresses that are not aligned, a run without addresses.
"""

import ctypes
import enum
import json
import types

import numpy as np
import onnx
import onnxruntime
from onnx.helper import tensor_dtype_to_np_dtype

from vtr.encoders.cuda_driver import Context, HostMemory, open_driver

MAGIC = b"stand-in plan"


def make_module(name: str = "tensorrt", version: str = "10.9.0", architectures=(89, 120)):
    """A module of that name; ``module.log`` counts builds, runs and what else tests ask for."""
    module = types.ModuleType(name)
    module.__version__ = version
    module.log = {"builds": 0, "contexts": 0, "runs": [], "timing": [], "kernels": []}
    module.fail_run = False  # the next run is refused
    for part in (ILogger, TensorIOMode, BuilderFlag, NetworkDefinitionCreationFlag):
        setattr(module, part.__name__, part)
    module.ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    names = {f"SM{arch}": arch for arch in architectures}
    module.ComputeCapability = enum.Enum("ComputeCapability", {"NONE": 0, "CURRENT": 1, **names})
    module.OnnxParser = OnnxParser
    module.nptype = lambda dtype: dtype
    module.Builder = lambda logger: Builder(module, logger)
    module.Runtime = lambda logger: Runtime(module, logger)
    return module


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2

    def __init__(self):
        pass


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = 1, 2


class BuilderFlag(enum.Enum):
    TF32, REFIT = 0, 1


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE = 0, 1


# ---- building ----------------------------------------------------------------------------------------


class Tensor:
    def __init__(self, value):
        self.name = value.name
        self.dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        self.dtype = tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)

    @property
    def shape(self):
        return tuple(-1 if isinstance(dim, str) else dim for dim in self.dims)

    def get_dimension_name(self, axis):
        return self.dims[axis] if isinstance(self.dims[axis], str) else ""


class Network:
    def __init__(self, flags):
        self.flags, self.model, self.tensors = flags, b"", []

    @property
    def num_inputs(self):
        return len(self.tensors)

    def get_input(self, number):
        return self.tensors[number]


class OnnxParser:
    """Refuses what TensorRT does: bytes in any layer but a cast."""

    def __init__(self, network, logger):
        self.network, self.errors = network, []

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, number):
        node, description = self.errors[number]
        said = {"node": number, "node_operator": node, "desc": description}
        return types.SimpleNamespace(**{name: lambda value=value: value for name, value in said.items()})

    def parse(self, model):
        try:
            graph = onnx.load_from_string(model).graph
        except Exception as error:
            self.errors.append(("", str(error)))
            return False
        self.network.model = model
        self.network.tensors = [Tensor(value) for value in graph.input]
        small = {tensor.name for tensor in self.network.tensors if tensor.dtype == np.uint8}
        for node in graph.node:
            if small.intersection(node.input) and node.op_type not in ("Cast", "Shape"):
                self.errors.append((node.op_type, "first input has type UInt8"))
            if node.op_type == "DynamicQuantizeLinear":
                self.errors.append((node.op_type, "not supported"))
        return not self.errors


class Builder:
    def __init__(self, module, logger):
        self.module, self.logger = module, logger

    def create_network(self, flags):
        return Network(flags)

    def create_builder_config(self):
        return Config(self.module)

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        assert network.flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        assert config.cleared == [BuilderFlag.TF32], "TF32 is off, and nothing else was set"
        if not config.profiles:
            self.logger.log(ILogger.Severity.ERROR, "no profile")
            return None
        self.module.log["builds"] += 1
        self.module.log["targets"] = config.targets
        if config.timing is not None:
            config.timing.content += b"+"
        return MAGIC + json.dumps([p.shapes for p in config.profiles]).encode() + b"\n" + network.model


class Config:
    def __init__(self, module):
        self.module, self.cleared, self.profiles, self.targets, self.timing = module, [], [], {}, None
        self.num_compute_capabilities = 0

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def set_compute_capability(self, target, number):
        assert number < self.num_compute_capabilities
        self.targets[number] = target.value
        return True

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    def create_timing_cache(self, content):
        self.module.log["timing"].append(content)
        return Cache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        self.timing = cache


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, best, most):
        self.shapes[name] = [least, best, most]


class Cache:
    """Of timings, or of kernels."""

    def __init__(self, content=b""):
        self.content = content

    def serialize(self):
        return self.content

    def deserialize(self, content):
        self.content = content
        return True


# ---- running -----------------------------------------------------------------------------------------


class Runtime:
    def __init__(self, module, logger):
        self.module, self.logger = module, logger

    def deserialize_cuda_engine(self, plan):
        if not plan.startswith(MAGIC):
            self.logger.log(ILogger.Severity.ERROR, "magic tag does not match")
            return None
        return Engine(self.module, self.logger, plan[len(MAGIC) :])


class RuntimeConfig:
    def __init__(self, module):
        self.module, self.strategy, self.cache = module, None, None

    def create_runtime_cache(self):
        return Cache()

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def set_runtime_cache(self, cache):
        self.cache = cache
        self.module.log["kernels"].append(cache.content)
        return True


class Engine:
    def __init__(self, module, logger, plan):
        self.module, self.logger = module, logger
        profiles, model = plan.split(b"\n", 1)
        self.profiles = json.loads(profiles)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(model).graph
        self.inputs = {value.name: Tensor(value) for value in graph.input}
        self.outputs = {value.name: Tensor(value) for value in graph.output}
        self.tensors = {**self.inputs, **self.outputs}
        self.num_io_tensors, self.num_optimization_profiles = len(self.tensors), len(self.profiles)

    def get_tensor_name(self, number):
        return list(self.tensors)[number]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        """An open axis that every profile plans for one size is told as of that size."""
        shape = list(self.tensors[name].shape)
        for axis, size in enumerate(shape):
            planned = {extent[axis] for profile in self.profiles for extent in profile.get(name, ())}
            if size == -1 and len(planned) == 1:
                (shape[axis],) = planned
        return tuple(shape)

    def get_tensor_dtype(self, name):
        return self.tensors[name].dtype

    def get_tensor_profile_shape(self, name, profile):
        return self.profiles[profile][name]

    def create_runtime_config(self):
        return RuntimeConfig(self.module)

    def create_execution_context(self, how):
        cache = how.cache if isinstance(how, RuntimeConfig) else None
        strategy = how.strategy if isinstance(how, RuntimeConfig) else how
        assert strategy is ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self.module.log["contexts"] += 1
        return ExecutionContext(self, cache)


class ExecutionContext:
    def __init__(self, engine, cache):
        self.engine, self.cache = engine, cache
        self.profile, self.shapes, self.addresses = None, {}, {}

    def set_optimization_profile_async(self, profile, stream):
        assert stream, "the default stream"
        self.profile = profile
        return True

    def set_input_shape(self, name, shape):
        least, _, most = self.engine.profiles[self.profile][name]
        if len(shape) != len(most) or not all(
            a <= n <= b for a, n, b in zip(least, shape, most, strict=True)
        ):
            self.engine.logger.log(ILogger.Severity.ERROR, f"{name} is beyond profile {self.profile}")
            return False
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name):
        if name in self.shapes:
            return self.shapes[name]
        known = {
            dim: size
            for given, shape in self.shapes.items()
            for dim, size in zip(self.engine.inputs[given].dims, shape, strict=True)
        }
        return tuple(known.get(dim, dim) for dim in self.engine.outputs[name].dims)

    def set_tensor_address(self, name, address):
        assert address % 256 == 0, "an address that is not aligned"
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        engine, driver = self.engine, open_driver()
        if engine.module.fail_run:
            engine.logger.log(ILogger.Severity.ERROR, "as the stand-in was told")
            return False
        assert self.addresses.keys() == engine.tensors.keys(), "a tensor without an address"
        inputs, context = {}, Context()
        with context.current():
            for name, tensor in engine.inputs.items():
                shape = self.shapes[name]
                size = int(np.prod(shape)) * tensor.dtype.itemsize
                memory = HostMemory(context, size)
                driver.call("cuMemcpyDtoHAsync_v2", memory.address, self.addresses[name], size, stream)
                driver.call("cuStreamSynchronize", stream)
                inputs[name] = memory.array(shape, tensor.dtype).copy()
            results = engine.session.run(list(engine.outputs), inputs)
            for name, array in zip(engine.outputs, results, strict=True):
                assert array.shape == self.get_tensor_shape(name)
                array = np.ascontiguousarray(array)
                pointer = array.ctypes.data_as(ctypes.c_void_p)
                driver.call("cuMemcpyHtoDAsync_v2", self.addresses[name], pointer, array.nbytes, stream)
        engine.module.log["runs"].append({"profile": self.profile, **self.shapes})
        if self.cache is not None:
            self.cache.content = b"kernels of profile %d" % self.profile
        return True
