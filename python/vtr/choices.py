"""What ranks videos and what decodes them, for an engine: as asked for by name, or by what is there."""

from __future__ import annotations

import threading
from importlib.util import find_spec

from vtr.bundle import Bundle
from vtr.device import ON_THE_CPU, DeviceModel
from vtr.errors import BackendError, UnsupportedError, UsageError
from vtr.native import NativeModel


def choose_scoring(scoring: str, model: Bundle, threads: int | None) -> tuple[NativeModel | None, str]:
    """The native scorer of a model, ``None`` for NumPy's; and the choice in words."""
    if scoring not in ("auto", "native", "fast", "numpy"):
        raise UsageError(f"expected scoring as auto, native, fast or numpy, got {scoring!r}")
    if scoring == "numpy":
        return None, "numpy"
    try:
        native = NativeModel(model.scoring, model.head, model.sizes, threads=threads, fast=scoring == "fast")
    except UnsupportedError as error:
        if scoring != "auto":
            raise
        return None, f"numpy, for {error}"
    return native, f"{'fast' if native.core.fast else 'native'}, {native.core.isa}"


def choose_decoder(decoder: str) -> str:
    """What decodes videos to be indexed, "pyav" or "dali"."""
    if decoder not in ("auto", "pyav", "dali"):
        raise UsageError(f"expected decoder as auto, pyav or dali, got {decoder!r}")
    if decoder != "dali":
        return "pyav"
    try:
        installed = find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # not even the package that it lies in
        installed = False
    if not installed:
        raise BackendError("decoder dali is not installed: pip install nvidia-dali-cuda130")
    return decoder


# ---- GPUs --------------------------------------------------------------------------------------------


class DeviceChoice:
    """The GPU that ranks videos, or why there is none. It is opened when :meth:`opened` is first called.

    Args:
        native: the model's scorer in the core; ``None``: the core does not know the model.
        bundle: what has the kernels for that, or has none; ``None``: no GPU comes into question.
        required: the GPU was asked for by name: that it cannot be opened is an error, each time.
    """

    def __init__(
        self, native: NativeModel | None = None, bundle: Bundle | None = None, *, required: bool = False
    ) -> None:
        self._native, self._bundle, self._required = native, bundle, required
        self._lock = threading.Lock()
        self._model: DeviceModel | None = None
        self._reason: str | None = None  # why there is none
        self._lack = None if bundle is None else _lacking(native, bundle)
        if self._lack is not None:
            self._reason = f"not on a GPU: {self._lack[0]}"

    @property
    def description(self) -> str | None:
        """In words; ``None`` where no GPU comes into question."""
        if self._model is not None:
            return self._model.description
        if self._bundle is None or self._reason is not None:
            return self._reason
        return "searches on a GPU, which the first of them opens"

    def opened(self) -> DeviceModel | None:
        """The GPU, ``None`` if there is none that can be had.

        Raises:
            BackendError: it was asked for by name and cannot be had.
        """
        with self._lock:
            if self._model is None and (self._required or self._reason is None):
                try:
                    self._model = self._open()
                except BackendError as error:
                    # Its cause is without the remedies of who asked for a GPU.
                    self._reason = f"not on a GPU: {error.__cause__ or error}"
                    if self._required:
                        raise
            return self._model

    def _open(self) -> DeviceModel | None:
        if self._bundle is None:
            return None
        if self._lack is not None:
            raise BackendError(": ".join(self._lack))
        kernels = self._bundle.kernels
        assert self._native is not None and kernels is not None  # they are what may be lacking
        return DeviceModel(self._native, kernels, required=self._required)


def _lacking(native: NativeModel | None, bundle: Bundle) -> tuple[str, str] | None:
    """What a bundle lacks to be searched on any GPU, and what to do about it."""
    if native is None:
        return f"{bundle} is of sizes that libvtr does not know", "rank on the CPU with scoring='numpy'"
    if bundle.kernels is None:
        remedy = f"export it again with `vtr export --cuda`, or {ON_THE_CPU}"
        return f"{bundle} has no kernels for GPUs", remedy
    return None


def choose_device(device: str, scoring: str, native: NativeModel | None, bundle: Bundle) -> DeviceChoice:
    """What ranks a bundle's videos: a GPU where ``device`` allows it and all that it needs is there.

    Args:
        device: "auto", "cpu" or "cuda".
        scoring: "auto", or a way of the CPU that was asked for by name.
    """
    by_encoders = bundle.scoring == "cross"  # a graph, which runs where they do
    if device == "cpu" or scoring != "auto" or by_encoders:
        return DeviceChoice()
    if device == "auto" and _lacking(native, bundle) is not None:
        return DeviceChoice()
    return DeviceChoice(native, bundle, required=device == "cuda")
