"""Fixtures shared by all folders: small exported models, small video files, the shared clips."""

import fcntl
import gc
import os
import signal
from pathlib import Path

# Before anything imports Triton, which decides then whether this process interprets kernels (or not: 0).
os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
from support import MODELS, SMALL, write_video

ROOT = Path(__file__).parents[1]

# A shell has what it puts into the background ignore Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def models(tmp_path_factory, worker_id):
    """``models(name)`` → (reference model, path of its bundle); each is exported once in a whole run."""
    from vtr.export import export_model
    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "bundles"
    folder.mkdir(exist_ok=True)
    made = {}

    def get(name: str):
        if name not in made:
            reference = build_model(random_checkpoint(**{**SMALL, **MODELS[name]}))
            with open(folder / f"{name}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (folder / name).exists():
                    export_model(reference, folder / name, name=name, trained=False)
            made[name] = reference, folder / name
        return made[name]

    return get


@pytest.fixture(scope="session")
def builtin_folder(models, tmp_path_factory):
    """A folder as `vtr.builtin` reads it, of models with random weights; "mini" is X-CLIP."""
    from vtr.builtin import HEADS
    from vtr.training.mini.package import package

    named = {"clip4clip": "clip4clip-meanP"}  # in MODELS; the others have their family's name
    bundles = [models(named.get(family, family))[1] for family in HEADS.values()]
    folder = tmp_path_factory.mktemp("builtin") / "models"
    package(bundles, folder, "xclip", untrained=True, limit=1 << 30)  # CLIP's vocabulary is large
    return folder


@pytest.fixture
def random_mini(builtin_folder, monkeypatch):
    """The built-in models' names lead to models with random weights."""
    monkeypatch.setenv("VTR_MODELS", str(builtin_folder))
    return builtin_folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder of eight small videos of 1 to 15 seconds: shorter and longer than 12 frames."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, seconds in enumerate([1, 2, 3, 4, 5, 8, 13, 15]):
        write_video(folder / f"clip{seed}.mp4", seconds, seed=seed)
    return folder


@pytest.fixture(scope="session")
def stand_in_driver(tmp_path_factory):
    """The stand-in for NVIDIA's driver, built and loaded."""
    import stand_in

    return stand_in.StandIn(stand_in.build(tmp_path_factory.mktemp("driver")))


@pytest.fixture
def gpu(stand_in_driver, monkeypatch):
    """One GPU of the stand-in, of compute capability 9.0 with 1 GiB, whose driver was never misused."""
    monkeypatch.setenv("VTR_CUDA_LIBRARY", str(stand_in_driver.path))
    stand_in_driver.reset()
    yield stand_in_driver
    gc.collect()
    assert stand_in_driver.misuses == []
