"""Baselines that are not installed are skipped by name, with the command that installs them."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = {
    "torch": "vtr[export]",
    "faiss": "faiss-cpu",
    "onnxruntime": "vtr[cpu]",
    "openvino": "vtr[cpu]",
    "cv2": "opencv-python-headless",
}
SLOW_TO_COMPILE = "torch.compile takes longer than a --quick run"


def missing(module: str) -> str | None:
    """Why a baseline that needs ``module`` is skipped; ``None`` if it is installed."""
    if find_spec(module) is not None:
        return None
    return f"{module} is not installed: pip install '{PACKAGES.get(module, module)}'"
