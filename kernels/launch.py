"""What the launchers share: the target at hand, and tensors that lie as the kernels read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vtr.errors import UsageError

if TYPE_CHECKING:
    import torch

INTERPRETED_AS = 90  # a tensor that is in no GPU is met only in Triton's interpreter


def arch_of(tensor: torch.Tensor) -> int:
    """Compute capability of the tensor's device, e.g. 90."""
    if tensor.device.type != "cuda":
        return INTERPRETED_AS
    import torch

    major, minor = torch.cuda.get_device_capability(tensor.device)
    return 10 * major + minor


def check(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    """Refuse another shape (``None`` is any size), and whatever is not contiguous."""
    got: tuple[Any, ...] = tuple(tensor.shape)
    if len(got) != len(shape) or any(want not in (None, have) for want, have in zip(shape, got, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise UsageError(f"expected {name} of shape [{wanted}], got {list(got)}: pack it for these kernels")
    if not tensor.is_contiguous():
        raise UsageError(f"expected {name} contiguous, got strides {tensor.stride()}: call .contiguous()")
