"""What tests of several folders share: the models that are tested end to end, and small video files."""

import threading
from pathlib import Path

import numpy as np

# Families and variants that are tested end to end: name → arguments of random_checkpoint.
MODELS = {
    "clip4clip-meanP": {"family": "clip4clip"},
    "clip4clip-seqTransf": {"family": "clip4clip", "sim_header": "seqTransf"},
    "clip4clip-seqLSTM": {"family": "clip4clip", "sim_header": "seqLSTM"},
    "clip4clip-tightTransf": {"family": "clip4clip", "sim_header": "tightTransf"},
    "clip4clip-3d": {"family": "clip4clip", "linear_patch": "3d"},
    "ea": {"family": "ea", "variant": "excitation_aggregation"},
    "teachclip": {"family": "teachclip"},
    "xclip": {"family": "xclip"},
    "tcmgc": {"family": "tcmgc"},
}
TINY = {"vocab": 97, "layers": 1, "image": 32, "context": 32}  # of checkpoints that are only read
SMALL = {"dim": 64, "vision_width": 64, "layers": 2, "image": 64, "patch": 32}


def write_video(path: Path, seconds: float = 3, fps: int = 8, size=(96, 64), seed: int = 0) -> Path:
    """A small H.264 file of moving coloured noise, different for each seed."""
    import av

    rng = np.random.default_rng(seed)
    width, height = size
    base = rng.integers(0, 255, (height // 8, width // 8, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(max(1, round(seconds * fps))):
            tile = np.roll(base, number // fps, axis=1).repeat(8, 0).repeat(8, 1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(tile, format="rgb24")))
        container.mux(stream.encode())
    return path


def run_command(group, *arguments, status=0):
    """Run a command in this process, as a user types it; it ends with ``status``. Returns click's result."""
    from click.testing import CliRunner

    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    assert result.exit_code == status, f"{result.exit_code}: {result.output}\n{result.exception!r}"
    return result


def in_threads(work, count: int) -> None:
    """``work(number)`` in so many threads at once."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
