"""The demo's stand-in for a trained model: a small CLIP4Clip with random weights."""

from __future__ import annotations

from pathlib import Path


def untrained_bundle(path: Path) -> Path:
    """Export the model to ``path``, unless it is there already; returns the path.

    Raises:
        ImportError: PyTorch or ONNX is not installed.
    """
    from vtr.bundle import Bundle
    from vtr.errors import BundleError
    from vtr.export import export_model
    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    try:
        Bundle.open(path)
        return path
    except BundleError:
        pass
    sizes = {"dim": 128, "vision_width": 192, "layers": 3, "image": 224, "patch": 32}
    model = build_model(random_checkpoint("clip4clip", **sizes))
    export_model(model, path, name="untrained", trained=False, force=True)
    return path
